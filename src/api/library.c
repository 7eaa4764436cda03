#include <pthread.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"

const char *leco_version(void)
{
    return LECO_VERSION;
}

/* The public log levels are the internal ones under other names, so that no other header leaks out. The callback and
 * its user belong together, whichever thread asks for them. */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_callback)(void *user, leco_log_level level, const char *message);
static void *log_user;

static void forward_log(void *nobody, log_level level, const char *message)
{
    (void)nobody;
    leco_log_level public_level = level == LOG_DEBUG  ? LECO_LOG_DEBUG
                                  : level == LOG_INFO ? LECO_LOG_INFO
                                                      : LECO_LOG_WARNING;
    pthread_mutex_lock(&log_lock);
    void (*callback)(void *user, leco_log_level level, const char *message) = log_callback;
    void *user = log_user;
    pthread_mutex_unlock(&log_lock);
    IN_HOST_LOCALE;
    if (callback) callback(user, public_level, message);
}

void leco_set_log(void (*callback)(void *user, leco_log_level level, const char *message), void *user)
{
    pthread_mutex_lock(&log_lock);
    log_callback = callback;
    log_user = user;
    pthread_mutex_unlock(&log_lock);
    log_set_callback(callback ? forward_log : NULL, NULL);
}

void leco_set_threads(int count)
{
    cpu_set_threads(count);
}

const char *leco_suggest(const char *word, const char *const *known, size_t count)
{
    return suggest(word, known, count);
}

void leco_free(void *memory)
{
    mem_free(memory);
}

const char *leco_mapped_file(const void *address)
{
    return file_mapped_at(address);
}
