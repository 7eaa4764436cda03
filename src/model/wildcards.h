/* Prompts that mean many, in the notation of dynamic prompts: "a {small|large} {red|blue} star" is one of four texts.
 *
 *     {a|b|c}   one of them, each as likely. An alternative may be empty, and may hold groups itself
 *     \{ \} \|  the characters themselves; any other backslash stays. Outside of braces | is plain, too
 *
 * The groups of several texts that belong together (a pair's) share their choices: the first "{red|blue}" of each of
 * them draws the same, and so does the second.
 *
 *     wildcards w = {.memory = arena};
 *     LECO_TRY(wildcards_read(&w, "a {small|large} star", &text, err));
 *     wildcards_draw(&w, &rng);
 *     wildcards_expand(&w, &text, buffer); */
#ifndef LECO_MODEL_WILDCARDS_H
#define LECO_MODEL_WILDCARDS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/rng.h"

enum { WILDCARDS_MAX = 4096, WILDCARDS_DEEPEST = 16 }; /* groups of one text, and how deep they are nested */

/* A choice to be made. */
typedef struct wildcard {
    const char *body; /* what stands between the braces; borrowed */
    size_t length;
    size_t occurrence;   /* how many groups with this body come before it in its text */
    size_t alternatives; /* at least 1 */
    size_t chosen;       /* below alternatives */
} wildcard;

/* The choices of texts that belong together. Zero-initialise but for memory, which holds the list
 * (and may be NULL where no text has a brace). */
typedef struct wildcards {
    arena *memory;
    wildcard *item;
    size_t count, capacity;
} wildcards;

/* A text whose groups are known. */
typedef struct wildcard_text {
    const char *text;    /* borrowed */
    const size_t *group; /* [count] the choice of each group, in the order of their opening braces */
    size_t count;        /* 0: the text means itself, but for escapes */
    bool plain;          /* and there are no escapes either */
} wildcard_text;

/* Adds a text's groups. A brace without its other half, or dynamic prompts' {2$$a|b} and {0.5::a|b}, are LECO_INVALID
 * with a message that quotes the place. The text outlives *w. */
leco_status wildcards_read(wildcards *w, const char *text, wildcard_text *out, leco_error *err);

/* Does a text begin with what {2$$a|b} and {0.5::a|b} are refused for? By itself it means what it says; as an
 * alternative it does with an empty group, {}, before it. */
bool wildcards_instruct(const char *text);

/* Chooses for all: one word of r for each choice of more than one alternative, in the order in which they were read. */
void wildcards_draw(wildcards *w, rng *r);

/* Writes the text that is chosen to out [strlen(text->text) + 1]. */
void wildcards_expand(const wildcards *w, const wildcard_text *text, char *out);

/* How many ways there are to choose for this text; SIZE_MAX where it is more than that. */
size_t wildcards_ways(const wildcards *w, const wildcard_text *text);
/* Goes to the next of these ways, beginning at all 0; false after the last, when all are 0 again. */
bool wildcards_next(wildcards *w, const wildcard_text *text);

typedef leco_status (*wildcards_visitor)(void *user, const char *text, leco_error *err);
/* Shows all that a text may become, or, where that is more than `most`, as many drawn ones, each time the same. What is
 * shown lasts for the call; the first that fails is the last. */
leco_status wildcards_visit(const char *text, size_t most, wildcards_visitor visit, void *user, leco_error *err);

#endif
