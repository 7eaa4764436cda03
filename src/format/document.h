/* A YAML or TOML file as a tree whose nodes know where they come from, so that every complaint can name file and line.
 *
 * Values stay text until somebody asks for a type: YAML 1.1 would read `1e-4` as a string and `no` as a boolean, and a
 * prompt may well be the word "no". */
#ifndef LECO_FORMAT_DOCUMENT_H
#define LECO_FORMAT_DOCUMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

typedef enum doc_kind { DOC_SCALAR, DOC_LIST, DOC_MAP } doc_kind;

typedef struct doc_node doc_node;

typedef struct doc_item {
    const char *key; /* NULL in a list */
    doc_node *value;
} doc_item;

struct doc_node {
    doc_kind kind;
    const char *place; /* "erase.yaml:12", or "--set train.lr=2": what messages start with */
    const char *text;  /* of a scalar; "" otherwise */
    bool quoted;       /* then it is never null */
    size_t count;      /* of a list or map */
    doc_item *item;
};

/* Reads one document of at most 4 MiB into `memory`: TOML where the name ends with .toml, else YAML. Syntax errors,
 * repeated keys, keys that are not scalars and aliases that blow up are LECO_FORMAT with file and line. An empty file
 * is an empty map. */
leco_status document_read(arena *memory, const char *path, doc_node **out, leco_error *err);

/* Applies "section.key=value" (list elements by their number: "prompts.0.action=erase") to a tree; the value is YAML.
 * Missing maps on the way are made. */
leco_status document_set(arena *memory, doc_node *root, const char *assignment, leco_error *err);

doc_node *doc_find(const doc_node *map, const char *key); /* NULL: not there */
bool doc_is_null(const doc_node *n);                      /* NULL, or an unquoted null, ~ or nothing */

/* LECO_INVALID "PLACE: KEY: expected ..., found ...". */
leco_status doc_wrong(const doc_node *n, const char *key, const char *expected, leco_error *err);

/* A scalar as a type. Another kind or text that doesn't parse is LECO_INVALID as above. */
leco_status doc_text(const doc_node *n, const char *key, const char **out, leco_error *err);
leco_status doc_int(const doc_node *n, const char *key, int64_t low, int64_t high, int64_t *out, leco_error *err);
leco_status doc_number(const doc_node *n, const char *key, double low, double high, double *out, leco_error *err);
leco_status doc_bool(const doc_node *n, const char *key, bool *out, leco_error *err);

#endif
