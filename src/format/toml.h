/* TOML as the tree that YAML becomes, for format/document.c, which says what it is. */
#ifndef LECO_FORMAT_TOML_H
#define LECO_FORMAT_TOML_H

#ifdef __cplusplus
extern "C" {
#endif

#include "format/document.h"

/* text [size], which messages call `source`, as a map in `memory`. Numbers and booleans are unquoted scalars. Syntax
 * errors, dates, which nothing here is, and what is nested too deeply are LECO_FORMAT with the line. */
leco_status toml_parse(arena *memory, const char *source, const char *text, size_t size, doc_node **out,
                       leco_error *err);

#ifdef __cplusplus
}
#endif

#endif
