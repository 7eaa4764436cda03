/* What the files that read a config share. */
#ifndef LECO_TRAIN_CONFIG_INTERNAL_H
#define LECO_TRAIN_CONFIG_INTERNAL_H

#include "format/document.h"
#include "train/config.h"

/* LECO_INVALID "PLACE: KEY: ...", of the file's line or the --set where the key ("train.lr") is. */
__attribute__((format(printf, 4, 5))) leco_status config_wrong(const train_config *c, const char *key, leco_error *err,
                                                               const char *format, ...);

/* A relative path taken from the config's folder. */
leco_status config_beside(const train_config *c, const char *path, const char **out, leco_error *err);
/* Where a file that the config names is: beside it, beside its prompts file, or in the working directory. Found in
 * none, it is beside the config. */
leco_status config_find(train_config *c, const char *path, const char **out, leco_error *err);

/* The same of a model, which may also be in Hugging Face's cache (model/hub.h). */
leco_status config_find_model(train_config *c, const char *path, const char **out, leco_error *err);

/* What stands under `prompts` or in a prompts file, ours or another trainer's, as a list of entries. */
leco_status config_entries(arena *memory, doc_node *root, doc_node **list, leco_error *err);
/* Everything of prompts; c's other sections have been read. */
leco_status config_read_prompts(train_config *c, doc_node *list, leco_error *err);
leco_status config_read_preserved(train_config *c, const doc_node *root, leco_error *err);
leco_status config_check_preserved(const train_config *c, leco_error *err); /* after the prompts */
leco_status config_read_images(train_config *c, const doc_node *root, leco_error *err);
/* The pictures of an entry of prompts, of which the other keys have been read. */
leco_status config_read_pairs(train_config *c, const doc_node *entry, train_prompt *p, leco_error *err);
leco_status config_read_teachers(train_config *c, const doc_node *map, leco_error *err);
/* Before and after the keys of `logging` are read: its lists of texts, and what follows from what it says. */
leco_status config_join_logging(train_config *c, const doc_node *map, leco_error *err);
leco_status config_settle_logging(train_config *c, leco_error *err);
/* Those that an entry of prompts names; the config's teachers have been read. */
leco_status config_find_teachers(const train_config *c, const doc_node *entry, train_prompt *p, leco_error *err);

/* Reads the optimizer's arguments, and checks and tells what the keys of `train` that say how to learn mean together.
 */
leco_status config_settle_learning(train_config *c, leco_error *err);

/* Makes one text of what stands under a key of a map: a text stays; a list of texts becomes "{one|another}"; {file:
 * NAME} becomes that of the file's lines, without those that are empty or begin with #. Wildcards must be well formed.
 * Nothing happens where the key isn't there. section: for messages, "prompts"; of the file itself "". */
leco_status config_join_texts(train_config *c, const doc_node *map, const char *section, const char *key,
                              leco_error *err);

#endif
