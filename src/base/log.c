#include "base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>

#include "base/utf8.h"

/* The callback and its user belong together, and any thread may log. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*log_callback)(void *user, log_level level, const char *message);
static void *log_user;
static atomic_bool debug_raised;

void log_set_callback(void (*callback)(void *user, log_level level, const char *message), void *user)
{
    pthread_mutex_lock(&lock);
    log_callback = callback;
    log_user = user;
    pthread_mutex_unlock(&lock);
}

void log_raise_debug(bool on)
{
    atomic_store(&debug_raised, on);
}

void log_message(log_level level, const char *format, ...)
{
    pthread_mutex_lock(&lock);
    void (*callback)(void *user, log_level level, const char *message) = log_callback;
    void *user = log_user;
    pthread_mutex_unlock(&lock); /* the callback may log, or set another one */
    if (!callback) return;
    char message[2048]; /* a longer one is cut: logging never allocates, so it can't fail */
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length < 0) return;
    utf8_tidy(message, false);
    if (level == LOG_DEBUG && atomic_load(&debug_raised)) level = LOG_INFO;
    callback(user, level, message);
}
