/* What a config says of watching a training: none of it changes what comes out. */
#ifndef LECO_TRAIN_CONFIG_LOGGING_H
#define LECO_TRAIN_CONFIG_LOGGING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct train_config;
struct tokenizer;

enum { PREVIEW_MOST_WEIGHTS = 16, PREVIEW_MOST_PROMPTS = 16, OTHERS_MOST = 8 };

typedef struct logging_config {
    bool use_wandb, use_xformers; /* other programs' keys, of which a line is said */
    /* the log */
    const char *log; /* the file, found; NULL: none */
    int64_t log_every;
    /* TensorBoard */
    const char *tensorboard; /* the folder, found; NULL: none */
    const char *run_name;    /* of its folder in there */
    /* the effect */
    bool effect;
    int64_t effect_every;       /* 0: as often as costs little */
    const char *effect_prompts; /* what is taken for neighbours, with wildcards; NULL: whoever trains finds some */
    /* previews */
    const char *prompts; /* "{one|another}", or one text, with wildcards; NULL: none */
    const char *negative_prompt;
    int64_t interval; /* steps; 0: at the beginning and at the end alone */
    double weight[PREVIEW_MOST_WEIGHTS];
    size_t weight_count; /* 0: what suits the entries */
    int64_t steps;
    double guidance_scale;
    uint64_t seed;
    int64_t height, width; /* pixels; 0: the model's own size */
    /* Who starts the training may find texts to compare with: when the model's tokenizer is there, `find` (NULL: nobody
     * does) fills in what `others` (the caller's; NULL: none) points to. */
    struct logging_others *others;
    leco_status (*find)(const struct train_config *config, const struct tokenizer *t, struct logging_others *out,
                        leco_error *err);
} logging_config;

/* Texts that the training is none of the business of. */
typedef struct logging_others {
    const char *neighbour[OTHERS_MOST]; /* with near words in the place of the concept */
    const char *unrelated[OTHERS_MOST]; /* of something else */
    size_t neighbours, unrelateds;
} logging_others;

#endif
