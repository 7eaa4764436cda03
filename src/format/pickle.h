/* Python's pickles, as data: texts, numbers, lists, tuples, dicts, and what the caller makes of the few functions that
 * it knows. Nothing is imported or run: a pickle that names anything else is refused by that name.
 *
 * Protocols 2 to 5; the opcodes that only older ones have, and those for other code's extensions, are refused by their
 * names. Source: Python's Lib/pickletools.py. A pickle is hostile until read: the stack, the memo, sizes and the number
 * of values are checked, nothing recurses, and every value costs at least a byte of the pickle. Values may contain
 * themselves: who walks through them must stop. */
#ifndef LECO_FORMAT_PICKLE_H
#define LECO_FORMAT_PICKLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

typedef enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_WHOLE, /* that fits 64 bits; others are PICKLE_LARGE */
    PICKLE_LARGE,
    PICKLE_NUMBER,
    PICKLE_TEXT,
    PICKLE_BYTES, /* texts with NUL, or that are no UTF-8, too */
    PICKLE_TUPLE,
    PICKLE_LIST, /* sets, too */
    PICKLE_DICT,
    PICKLE_GLOBAL, /* something with a name, not called */
    PICKLE_OBJECT  /* what the caller's rules made */
} pickle_kind;

/* A name that pickles may mention; `what` is the caller's. */
typedef struct pickle_global {
    const char *module, *name; /* NULL name: every name of the module */
    int what;
} pickle_global;

typedef struct pickle_value pickle_value;
struct pickle_value {
    pickle_kind kind;
    size_t count; /* of items; of a dict keys and values together; of bytes */
    union {
        bool flag;
        int64_t whole;
        double number;
        const char *text;           /* NUL-terminated, valid UTF-8, no other NUL */
        const unsigned char *bytes; /* [count] */
        struct {
            pickle_value **item; /* of a dict key, value, key, value, ... */
            size_t room;
        };
        const pickle_global *global;
        const void *object;
    };
};

typedef struct pickle_rules {
    const pickle_global *globals; /* ends with a NULL module */
    /* What global(arguments) is. Before, *out is PICKLE_NONE. */
    leco_status (*call)(void *user, const pickle_global *global, const pickle_value *arguments, pickle_value *out,
                        leco_error *err);
    /* What becomes of something when its state is set; NULL: nothing, states are passed over. */
    leco_status (*build)(void *user, pickle_value *of, const pickle_value *state, leco_error *err);
    /* What the persistent id stands for. NULL: there are none. */
    leco_status (*persistent)(void *user, const pickle_value *id, pickle_value *out, leco_error *err);
    void *user;
} pickle_rules;

/* The pickle at the beginning of data [size], which messages call `source`, into `memory`. *used (may be NULL) gets its
 * length. */
leco_status pickle_read(const pickle_rules *rules, arena *memory, const char *source, const unsigned char *data,
                        size_t size, size_t *used, const pickle_value **out, leco_error *err);

/* The value of a text key of a dict; NULL: not there, or no dict. */
const pickle_value *pickle_find(const pickle_value *dict, const char *key);

#endif
