/* Status codes and the error record that every fallible call of leco fills.
 *
 * A fallible call returns LECO_OK or a failure code. On failure the caller's leco_error (which may be NULL) holds the
 * same code and one sentence that names the file, key, tensor or line at fault and what was expected. */
#ifndef LECO_STATUS_H
#define LECO_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define LECO_API __attribute__((visibility("default")))

typedef enum leco_status {
    LECO_OK = 0,
    LECO_INVALID,     /* a value, option or configuration is wrong */
    LECO_IO,          /* a file could not be read or written */
    LECO_FORMAT,      /* a file's contents are not what they claim to be */
    LECO_MEMORY,      /* memory ran out, or a budget is too small */
    LECO_UNSUPPORTED, /* well-formed, but leco can't do it (yet) */
    LECO_INTERRUPTED, /* the caller's progress callback asked to stop; what was finished is saved */
    LECO_INTERNAL,    /* a library underneath failed, or a bug in leco */
    LECO_DEVICE       /* a device can't be used, or failed while it computed; what was finished is saved */
} leco_status;

typedef struct leco_error {
    leco_status status;
    char message[1024]; /* one sentence, UTF-8, no trailing newline; "" when status is LECO_OK */
} leco_error;

/* The code's name: "ok", "invalid", "io", ... Never NULL; static. */
LECO_API const char *leco_status_name(leco_status status);

#ifdef __cplusplus
}
#endif
#endif
