#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const char *const status_names[] = {
    [LECO_OK] = "ok",
    [LECO_INVALID] = "invalid",
    [LECO_IO] = "io",
    [LECO_FORMAT] = "format",
    [LECO_MEMORY] = "memory",
    [LECO_UNSUPPORTED] = "unsupported",
    [LECO_INTERRUPTED] = "interrupted",
    [LECO_INTERNAL] = "internal",
    [LECO_DEVICE] = "device",
};

const char *leco_status_name(leco_status status)
{
    size_t index = (size_t)status;
    return index < sizeof status_names / sizeof *status_names ? status_names[index] : "unknown";
}

/* Keeps a sentence that was cut from ending in the middle of a UTF-8 character, and see base/utf8.h. */
static void tidy(char *text, size_t capacity)
{
    size_t length = strlen(text);
    if (length + 1 == capacity) {
        size_t start = length;
        while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) start--;
        if (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0xc0) text[start - 1] = '\0';
    }
    utf8_tidy(text, false);
}

leco_status error_set(leco_error *err, leco_status status, const char *format, ...)
{
    if (!err) return status;
    char text[sizeof err->message]; /* not err->message itself: the arguments may point into it */
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = '\0';
    va_end(args);
    tidy(text, sizeof text);
    err->status = status;
    memcpy(err->message, text, strlen(text) + 1);
    return status;
}

leco_status error_prefix(leco_error *err, leco_status status, const char *format, ...)
{
    if (!err) return status;
    char prefix[sizeof err->message];
    va_list args;
    va_start(args, format);
    if (vsnprintf(prefix, sizeof prefix, format, args) < 0) prefix[0] = '\0';
    va_end(args);
    return error_set(err, err->status != LECO_OK ? err->status : status, "%s: %s", prefix, err->message);
}

leco_status error_memory(leco_error *err, size_t bytes, const char *what)
{
    return error_set(err, LECO_MEMORY, "out of memory: could not allocate %zu bytes for %s", bytes, what);
}

leco_status error_errno(leco_error *err, const char *path, const char *action, int number)
{
    char reason[256];
    if (strerror_r(number, reason, sizeof reason) != 0) snprintf(reason, sizeof reason, "error %d", number);
    return error_set(err, LECO_IO, "%s: %s: %s", path, action, reason);
}
