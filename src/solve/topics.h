/* What a concept may be (a color, a style, an artist, ...), and in which texts such words stand: where nobody says in
 * which contexts a concept is to be erased, these are what it is solved on. The texts are leco's own and fit any CLIP;
 * words that a model's tokenizer doesn't have as a token are left out of them (contexts.h). */
#ifndef LECO_SOLVE_TOPICS_H
#define LECO_SOLVE_TOPICS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct topic {
    const char *name;           /* "color" */
    const char *words;          /* others of its kind, "red|orange|..." */
    const char *const *context; /* texts with {} for the word and, of the lists below, $size, $color, $object, $ground,
                                   $style; NULL ends them */
} topic;

extern const topic topics[]; /* a name of NULL ends them */

/* The topic that lists a word, or lists one that begins or ends with it, as "vincent van gogh" does with "van gogh";
 * NULL: none. */
const topic *topic_listing(const char *word);

/* Are its words names, of artists or persons, which texts have no article for? */
bool topic_is_names(const topic *about);

/* The words of the list that "$name" stands for, up to a character that isn't a letter; NULL: there is no such list. */
const char *topic_list(const char *name, size_t *length);

#endif
