/* Numbers in configs, files and messages are written with a point, and "I" is the capital of "i", whatever locale the
 * host program has set: each public call that reads, writes or says something runs in the C locale. Only the calling
 * thread's locale changes, until the call returns; the host's callbacks see the one that was there before. */
#ifndef LECO_API_LOCALE_H
#define LECO_API_LOCALE_H

#include <locale.h>

typedef struct locale_scope {
    locale_t before; /* of this thread */
    locale_t host;   /* of the call around this one */
} locale_scope;

locale_scope locale_enter_c(void);
locale_scope locale_enter_host(void);
void locale_leave(const locale_scope *scope);

/* The rest of the block runs in the C locale, or in the host's. */
#define IN_C_LOCALE __attribute__((cleanup(locale_leave))) const locale_scope locale_scope_ = locale_enter_c()
#define IN_HOST_LOCALE __attribute__((cleanup(locale_leave))) const locale_scope locale_scope_ = locale_enter_host()

#endif
