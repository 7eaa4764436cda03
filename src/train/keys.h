/* What may stand in a map of a config file: one row a key, with its default and what it means. Files are read by these
 * rows; the tables of docs/config.md and `leco train --help-config` are made from them.
 *
 *     #define KEYS_OF train_config      (the struct that the values go into)
 *     static const key_row network_keys[] = {
 *         INT("rank", network.rank, 1, 1024, "4", "how many ..."),
 *         KEYS_END};
 *
 * Each row writes its field directly; a row whose field is of another type doesn't compile. */
#ifndef LECO_TRAIN_KEYS_H
#define LECO_TRAIN_KEYS_H

#include <stddef.h>
#include <stdio.h>

#include "format/document.h"

typedef enum key_kind {              /* and what the field is */
                        KEY_TEXT,    /* const char * */
                        KEY_INT,     /* int64_t in [low, high] */
                        KEY_UINT,    /* uint64_t in [low, high] */
                        KEY_NUMBER,  /* double in [low, high] */
                        KEY_FLOAT,   /* float in [low, high] */
                        KEY_BOOL,    /* bool */
                        KEY_CLAIM,   /* int: 0 or 1 as the file says, -1 where it doesn't */
                        KEY_CHOICE,  /* what the choices' `store` writes */
                        KEY_OWN,     /* fields that `read` writes */
                        KEY_NODE,    /* none: the map or list under it is read by the caller */
                        KEY_NOTHING, /* none: accepted, means nothing here */
                        KEY_LATER    /* none: other programs have it and leco hasn't yet; only a value that says no is
                                        accepted */
} key_kind;

/* A name that a value may have. */
typedef struct choice {
    const char *name;
    bool alias;      /* another name of the one before it: understood, but not listed */
    int value;       /* of an enum, ... */
    const void *row; /* ... or a row of the table that owns the name */
} choice;

typedef struct choice_list {
    choice (*at)(size_t index); /* in order; name is NULL behind the last one */
    void (*store)(void *field, const choice *chosen);
    const char *(*name)(const void *field); /* what is stored, by its name; NULL: nothing */
    const char *const *refused; /* names that people know from other programs, ended by NULL; or NULL. One that `at` */
    const char *why;            /* has, too, is no longer refused. "is not supported yet" */
} choice_list;

typedef struct key_row {
    const char *name; /* NULL ends a table */
    key_kind kind;
    size_t offset; /* of the field */
    double low, high;
    const choice_list *choices;
    leco_status (*read)(const doc_node *n, const char *key, void *values, leco_error *err); /* of KEY_OWN */
    char *(*show)(const void *values); /* of KEY_OWN: what was read, as text; mem_free it; NULL: no memory */
    const char *fallback;              /* the default, as one would write it; NULL: the field is left at zero, ... */
    const char *other;                 /* another default, of files that follow another program; NULL: the same */
    const char *unset;                 /* ... which means this: "the model's own" */
    const char *help; /* a sentence or two, names and values in `backticks`; "$names" stands for the choices, ... */
    void (*tell)(FILE *out); /* ... "$more" for what this writes. NULL: nothing */
    const char *refusal;     /* of KEY_LATER */
} key_row;

/* The map called `name` ("train"; "" is the file itself) and what may stand in it. */
typedef struct key_section {
    const char *name; /* NULL ends a list */
    const key_row *keys;
    bool aside; /* what a wrong key in another section means only where nothing else is near */
} key_section;

/* Sets all fields to their defaults, the other ones where `others`. */
void keys_defaults(const key_section *section, bool others, void *values);

/* Reads the map into `values`: absent and null keys leave their fields. A NULL or null map is fine. Unknown keys are
 * LECO_INVALID and suggest a known one, be it of another one of `all` sections. */
leco_status keys_read(const doc_node *map, const key_section *section, const key_section *all, void *values,
                      leco_error *err);

/* Tells each key's value, as it is now, in an exact text: those that other programs have and that mean nothing here are
 * left out, as are claims about the model and keys that are not set. */
typedef leco_status (*key_visit)(void *user, const char *key, const char *value, leco_error *err);
leco_status keys_tell(const key_section *section, const void *values, key_visit visit, void *user, leco_error *err);

/* All keys with defaults and meanings: lines of at most 100 columns, or tables in Markdown, each between comments that
 * name its section. Where there is another default, `when` says when: "with a prompts_file". mem_free *text. */
leco_status keys_text(const key_section *all, const char *when, bool markdown, char **text, leco_error *err);

/* ---- rows: name, field, range or choices, default (or EITHER of two, or UNSET("meaning")), help ---- */

#define FIELD(type, field) _Generic(((const KEYS_OF *)0)->field, type : offsetof(KEYS_OF, field))
#define UNSET(meaning) NULL, .unset = meaning
#define EITHER(usual, other_) usual, .other = other_

#define TEXT(name_, field_, default_, help_)                                                                           \
    {                                                                                                                  \
        .name = name_, .kind = KEY_TEXT, .offset = FIELD(const char *, field_), .fallback = default_, .help = help_    \
    }
#define RANGED(kind_, type_, name_, field_, low_, high_, ...)                                                          \
    {                                                                                                                  \
        .name = name_, .kind = kind_, .offset = FIELD(type_, field_), .low = low_, .high = high_, __VA_ARGS__          \
    }
#define INT(name_, field_, low_, high_, default_, help_)                                                               \
    RANGED(KEY_INT, int64_t, name_, field_, low_, high_, .fallback = default_, .help = help_)
#define UINT(name_, field_, low_, high_, default_, help_)                                                              \
    RANGED(KEY_UINT, uint64_t, name_, field_, low_, high_, .fallback = default_, .help = help_)
#define NUMBER(name_, field_, low_, high_, default_, help_)                                                            \
    RANGED(KEY_NUMBER, double, name_, field_, low_, high_, .fallback = default_, .help = help_)
#define FLOAT(name_, field_, low_, high_, default_, help_)                                                             \
    RANGED(KEY_FLOAT, float, name_, field_, low_, high_, .fallback = default_, .help = help_)
#define BOOL(name_, field_, default_, help_)                                                                           \
    {                                                                                                                  \
        .name = name_, .kind = KEY_BOOL, .offset = FIELD(bool, field_), .fallback = default_, .help = help_            \
    }
#define CLAIM(name_, field_, unset_, help_)                                                                            \
    {                                                                                                                  \
        .name = name_, .kind = KEY_CLAIM, .offset = FIELD(int, field_), .unset = unset_, .help = help_                 \
    }
#define CHOICE(name_, field_, type_, choices_, default_, help_)                                                        \
    {                                                                                                                  \
        .name = name_, .kind = KEY_CHOICE, .offset = FIELD(type_, field_), .choices = &(choices_),                     \
        .fallback = default_, .help = help_                                                                            \
    }
#define OWN(name_, read_, show_, unset_, help_)                                                                        \
    {                                                                                                                  \
        .name = name_, .kind = KEY_OWN, .read = read_, .show = show_, .unset = unset_, .help = help_                   \
    }
#define NODE(name_, help_)                                                                                             \
    {                                                                                                                  \
        .name = name_, .kind = KEY_NODE, .help = help_                                                                 \
    }
#define NOTHING(name_, help_)                                                                                          \
    {                                                                                                                  \
        .name = name_, .kind = KEY_NOTHING, .help = help_                                                              \
    }
#define LATER(name_, default_, more_)                                                                                  \
    {                                                                                                                  \
        .name = name_, .kind = KEY_LATER, .unset = default_, .help = "not supported yet" more_,                        \
        .refusal = "is not supported yet" more_                                                                        \
    }
#define KEYS_END                                                                                                       \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* LIST_name: the name of what a field of that type holds. */
#define NAME_OF(list, type, expression)                                                                                \
    static const char *list##_name(const void *field)                                                                  \
    {                                                                                                                  \
        type const *stored = field;                                                                                    \
        return expression;                                                                                             \
    }

/* TYPE_choices for a field of an enum, from the table TYPE_names, which ends with an empty row. */
#define ENUM_CHOICES(type, refused_, why_)                                                                             \
    static choice type##_at(size_t index)                                                                              \
    {                                                                                                                  \
        return type##_names[index];                                                                                    \
    }                                                                                                                  \
    static void type##_store(void *field, const choice *chosen)                                                        \
    {                                                                                                                  \
        *(type *)field = (type)chosen->value;                                                                          \
    }                                                                                                                  \
    static const char *type##_name(const void *field)                                                                  \
    {                                                                                                                  \
        size_t i = 0;                                                                                                  \
        while (type##_names[i].name && type##_names[i].value != (int)*(const type *)field) i++;                        \
        return type##_names[i].name;                                                                                   \
    }                                                                                                                  \
    static const choice_list type##_choices = {type##_at, type##_store, type##_name, refused_, why_};

#endif
