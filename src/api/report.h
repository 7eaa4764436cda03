/* A JSON document as text: for programs as JSON, for people as indented lines. */
#ifndef LECO_API_REPORT_H
#define LECO_API_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* A number of a document; null where it is no number, which JSON can't say. */
json_t *report_number(double value);

/* A text that may not be UTF-8, as a file's name needn't be: what is none becomes '?'. NULL: out of memory. */
json_t *report_string(const char *value);

/* *text: release with leco_free. What people get is fit for a terminal, whatever stands in the document (utf8_tidy);
 * JSON is exact. */
leco_status report_text(const json_t *document, bool json, char **text, leco_error *err);

#endif
