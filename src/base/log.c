#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "base/utf8.h"

static void (*log_callback)(void *user, log_level level, const char *message);
static void *log_user;
static atomic_bool debug_raised;

void log_set_callback(void (*callback)(void *user, log_level level, const char *message), void *user)
{
    log_callback = callback;
    log_user = user;
}

void log_raise_debug(bool on)
{
    atomic_store(&debug_raised, on);
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
    if (level == LOG_DEBUG && atomic_load(&debug_raised)) level = LOG_INFO;
    log_callback(log_user, level, message);
}
