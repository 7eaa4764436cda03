#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/utf8.h"

static void (*log_callback)(void *user, log_level level, const char *message);
static void *log_user;

void log_set_callback(void (*callback)(void *user, log_level level, const char *message), void *user)
{
    log_callback = callback;
    log_user = user;
}

void log_message(log_level level, const char *format, ...)
{
    if (!log_callback) return;
    char message[2048]; /* a longer one is cut: logging never allocates, so it can't fail */
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length < 0) return;
    utf8_tidy(message, false);
    log_callback(log_user, level, message);
}
