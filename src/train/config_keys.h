/* The keys of a training config (train/config.h): for config.c, which reads files by them, and for help. */
#ifndef LECO_TRAIN_CONFIG_KEYS_H
#define LECO_TRAIN_CONFIG_KEYS_H

#include "train/keys.h"

/* Ends with a NULL name. The first is the file itself. Values of teachers go into a teacher_config each, those of
 * prompts, their pairs and their terms into a train_prompt and a train_term, those of network.ranks into a rank_rule
 * each, all others into the train_config. */
extern const key_section config_sections[];

extern const key_row config_network_keys[], config_rank_keys[];
extern const key_row config_preserve_keys[], config_images_keys[], config_regularisation_keys[], config_logging_keys[],
    config_other_keys[];

/* Of keys of `train`, in config_names.c. */
extern const choice_list config_optimizers, config_lr_schedules, config_losses, config_huber_schedules;
void config_tell_arguments(FILE *out); /* of optimizers, with their defaults */
leco_status config_read_arguments(const doc_node *n, const char *name, void *values, leco_error *err);
char *config_show_arguments(const void *values);

/* A size, or [height, width]; and how it is shown (mem_free it). */
leco_status config_read_size(const doc_node *n, const char *name, int64_t *height, int64_t *width, leco_error *err);
char *config_show_size(int64_t height, int64_t width);

enum {
    SECTION_FILE,
    SECTION_NETWORK = 2,
    SECTION_SAVE = 4, /* those before it decide what comes out of a training */
    SECTION_PRESERVE = 7,
    SECTION_IMAGES,
    SECTION_REGULARISATION,
    SECTION_TEACHERS,
    SECTION_PROMPTS,
    SECTION_TERMS,
    SECTION_PAIRS,
    SECTION_RANKS
};

#endif
