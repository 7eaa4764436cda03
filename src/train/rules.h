/* What may stand in a map of a config file: one row a key. */
#ifndef LECO_TRAIN_RULES_H
#define LECO_TRAIN_RULES_H

#include <stddef.h>

#include "train/document.h"

typedef enum rule_kind {
    RULE_TEXT,   /* const char * */
    RULE_INT,    /* int64_t in [low, high] */
    RULE_NUMBER, /* double in [low, high] */
    RULE_BOOL,   /* bool */
    RULE_FLAG,   /* int: 0 or 1 */
    RULE_CHOICE, /* int (an enum): one of `choices` */
    RULE_NODE,   /* const doc_node *: left to the caller */
    RULE_IGNORED /* accepted, means nothing here */
} rule_kind;

typedef struct choice {
    const char *name; /* NULL ends a list */
    int value;
    const char *refusal; /* why this known name can't be used, or NULL */
} choice;

typedef struct rule {
    const char *key; /* NULL ends a table */
    rule_kind kind;
    size_t offset; /* of the value in the caller's struct */
    double low, high;
    const choice *choices;
    /* A key that P has and leco hasn't: any value but null, false, 0 or "none" is refused with this sentence. */
    const char *refusal;
} rule;

/* The map called `name` ("train"; "" is the file itself) and what may stand in it. */
typedef struct rule_section {
    const char *name; /* NULL ends a list */
    const rule *rules;
} rule_section;

/* Reads the map into `values`, whose fields hold the defaults: absent and null keys leave them. A NULL or null map is
 * fine. Unknown keys are LECO_INVALID and suggest a known one, be it of another one of `all` sections. */
leco_status rules_read(const doc_node *map, const rule_section *section, const rule_section *all, void *values,
                       leco_error *err);

#endif
