#include "api/locale.h"

#include <pthread.h>
#include <stddef.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static locale_t c_locale;                  /* of the process; never freed */
static _Thread_local locale_t host_locale; /* while this thread is in a call of the library */

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* uselocale changes nothing where it gets no locale. */
locale_scope locale_enter_c(void)
{
    pthread_once(&once, make_c_locale);
    const locale_scope scope = {uselocale(c_locale), host_locale};
    host_locale = scope.before;
    return scope;
}

locale_scope locale_enter_host(void)
{
    return (locale_scope){uselocale(host_locale), host_locale};
}

void locale_leave(const locale_scope *scope)
{
    uselocale(scope->before);
    host_locale = scope->host;
}
