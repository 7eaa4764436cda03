/* The prompts of previews, as the config has them: one text of all. */
#ifndef LECO_TRAIN_PREVIEWS_TEXTS_H
#define LECO_TRAIN_PREVIEWS_TEXTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

/* "{one|another {x|y}}" as its two alternatives; any other text is one, and borrowed. Memory is the arena's. More than
 * PREVIEW_MOST_PROMPTS, or none, are LECO_INVALID. */
leco_status previews_split(const char *joined, arena *memory, const char ***out, size_t *count, leco_error *err);
/* A text with its wildcards drawn by that seed, as phrases_draw draws those of a text that is read first. */
leco_status previews_draw_text(const char *text, uint64_t seed, arena *memory, const char **out, leco_error *err);

#endif
