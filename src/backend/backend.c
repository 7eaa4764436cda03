#include "backend/backend.h"

#include <stdatomic.h>
#include <string.h>

#include "base/log.h"

const backend *backend_at(size_t index)
{
#define BACKEND_ROW(name) &backend_##name,
    static const backend *const all[] = {BACKENDS(BACKEND_ROW)};
#undef BACKEND_ROW
    return index < sizeof all / sizeof *all ? all[index] : NULL;
}

const backend *backend_find(const char *name)
{
    const backend *b;
    for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
        if (strcmp(b->name, name) == 0) return b;
    }
    return NULL;
}

leco_status backend_open(const backend *b, leco_error *err)
{
    return b->open ? b->open(err) : LECO_OK;
}

/* That there is none is no news; that there is one, and why it is of no use, is. */
static void say_passed_over(const backend *b, const leco_error *why)
{
    static atomic_flag warned = ATOMIC_FLAG_INIT;
    const bool warn = why->status == LECO_DEVICE && !atomic_flag_test_and_set(&warned);
    log_message(warn ? LOG_WARNING : LOG_DEBUG, "device \"%s\" is not used: %s", b->name, why->message);
}

const backend *backend_default(void)
{
    const backend *b;
    for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
        leco_error why = {0};
        if (backend_open(b, &why) == LECO_OK) return b;
        say_passed_over(b, &why);
    }
    return NULL;
}

const char *backend_names(void)
{
#define BACKEND_ROW(name) ", \"" #name "\""
    return &BACKENDS(BACKEND_ROW)[2];
#undef BACKEND_ROW
}
