/* A command line described by tables: each option's name, argument, help, range and default stand in one row, from
 * which the parser, its messages and --help are made.
 *
 * Understood: --name VALUE, --name=VALUE, -x VALUE, -xVALUE, flags, and "--" before operands that start with a dash.
 * Of an option that takes several, --name VALUE VALUE..., too.
 * Whatever is wrong is told on stderr in one sentence that names the option, what it got and what it takes; an unknown
 * option suggests the nearest known one. */
#ifndef LECO_CLI_OPTIONS_H
#define LECO_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

#define LIST_MAX 256
typedef struct text_list {
    const char *item[LIST_MAX]; /* borrowed from argv */
    size_t count;
} text_list;

typedef struct number_list {
    double item[LIST_MAX];
    size_t count;
} number_list;

typedef enum option_kind {                 /* and the type of the value at `offset` */
                           OPTION_FLAG,    /* bool */
                           OPTION_TEXT,    /* const char *, not empty */
                           OPTION_PROMPT,  /* const char *, may be empty */
                           OPTION_CHOICE,  /* const char *, one of `choices`, or of `choice_at`'s */
                           OPTION_WHOLE,   /* int64_t in [min, max] */
                           OPTION_NUMBER,  /* double in [min, max], finite */
                           OPTION_NUMBERS, /* number_list: separated by commas, each in [min, max], finite */
                           OPTION_BYTES,   /* uint64_t: 4096, 512M, 1.5G (of 1024), not 0 */
                           OPTION_TEXTS,   /* text_list: may be given several times */
                           OPTION_ANSWER,  /* none: `answer` prints something instead of running, as --help does */
                           OPTION_REFUSED  /* known but not there yet: `help` says so, --help doesn't list it */
} option_kind;

typedef struct option_spec {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* or 0 */
    option_kind kind;
    const char *argument; /* what --help calls the value; NULL for flags */
    size_t offset;        /* of the value in the group's struct */
    int64_t min, max;
    bool above;                             /* of OPTION_NUMBER: min itself is too small */
    bool several;                           /* of OPTION_TEXTS: it takes all words behind it up to the next option */
    const char *choices;                    /* "a|b|c" */
    const char *(*choice_at)(size_t index); /* instead: the names one by one, NULL after the last */
    const char *later;                      /* a choice that is known but not there yet, or NULL */
    const char *fallback;                   /* the default, as one would type it; NULL: the zero of its type */
    const char *help;                       /* "$names" stands for what a choice may be */
    int (*answer)(const char *value);       /* value: what stands behind "=", or NULL. Returns the exit status */
} option_spec;

typedef struct option_group {
    const char *title; /* NULL ends the list */
    const option_spec *options;
    void *values; /* the struct that the offsets are into */
} option_group;

typedef struct command_line {
    const char *program; /* "leco generate" */
    const char *summary; /* one sentence */
    const char *usage;   /* what follows the program's name */
    const char *details; /* a paragraph, or NULL */
    const char *examples;
    const char *unknown; /* said behind "there is no option --x" where none is like it; or NULL */
    const option_group *groups;
    const char *operand;        /* what stands without a dash, "CONFIG.yaml". NULL: nothing may */
    size_t fewest, most;        /* how many of these; 0: one. `most` LIST_MAX: as many as are given */
    const option_spec *watched; /* the options of a group, or NULL: */
    const char **given;         /* the name of that which was given last, or NULL where none was */
} command_line;

#define OPTIONS_READY (-1)
/* Fills the groups' values (zeroed here first, then the defaults, then argv[1..]) and *operand, for a command that
 * takes one. Returns OPTIONS_READY, or the exit status that the program should end with: EXIT_DONE after --help,
 * EXIT_USAGE after a mistake. */
int options_read(const command_line *line, int argc, char **argv, const char **operand);
/* The same for a command that takes several operands, each of them not empty. */
int options_read_several(const command_line *line, int argc, char **argv, text_list *operands);

/* "program: sentence" and where to read more, on stderr. Returns EXIT_USAGE. */
int options_mistake(const char *program, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes what an OPTION_CHOICE may be, "a, b, c"; what has no room is left out. */
void option_choices_text(const option_spec *spec, char *text, size_t size);

/* The last sections of --help: examples, with what they need where they don't work as they stand, and where docs/,
 * examples/ and models/ are, where they are found. */
void options_print_examples(FILE *to, const char *examples);

/* Where `path`, as the source tree has it ("models/shapes-probe"), lies of the program that runs: in the documentation
 * of an installed one, or in the tree that it was built in. The caller frees it. NULL: not there. */
char *options_find_file(const char *path);

/* Reads a finite decimal number (no hex, inf or nan) that takes up the whole text. */
bool number_read(const char *text, double *value);

#endif
