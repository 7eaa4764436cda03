/* Filling a leco_error. The library reports failures through these only; it never prints nor exits. */
#ifndef LECO_BASE_ERROR_H
#define LECO_BASE_ERROR_H

#include <stddef.h>

#include "leco/status.h"

/* Sets *err (may be NULL) to `status` and the formatted sentence, and returns `status`:
 *     return error_set(err, LECO_FORMAT, "%s: header is %llu bytes long, the file only %zu", path, ...);
 * A longer sentence is cut. What a terminal would act on, which names out of hostile files may hold, is replaced
 * (utf8_tidy). The arguments may point into *err. */
leco_status error_set(leco_error *err, leco_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the sentence already in *err. Returns err->status (or `status` where err is NULL). */
leco_status error_prefix(leco_error *err, leco_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "out of memory: could not allocate N bytes for WHAT". Returns LECO_MEMORY. */
leco_status error_memory(leco_error *err, size_t bytes, const char *what);

/* "PATH: ACTION: strerror(number)". Returns LECO_IO. */
leco_status error_errno(leco_error *err, const char *path, const char *action, int number);

#define LECO_TRY(call)                                                                                                 \
    do {                                                                                                               \
        leco_status try_status_ = (call);                                                                              \
        if (try_status_ != LECO_OK) return try_status_;                                                                \
    } while (0)

#endif
