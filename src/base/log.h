/* The log: messages go to the callback that the program sets; without one they are dropped. */
#ifndef LECO_BASE_LOG_H
#define LECO_BASE_LOG_H

#include <stdbool.h>

typedef enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING } log_level;

/* Every thread that logs calls it, perhaps at the same time as others and once more after it was replaced. It must not
 * keep `message`, one line that is fit to be shown (utf8_tidy). */
void log_set_callback(void (*callback)(void *user, log_level level, const char *message), void *user);
/* While on, debug messages come as information: what a config's logging.verbose asks for. */
void log_raise_debug(bool on);
void log_message(log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
