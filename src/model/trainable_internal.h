/* What a LoRA is, for src/model/adapter*.c only. */
#ifndef LECO_MODEL_ADAPTER_INTERNAL_H
#define LECO_MODEL_ADAPTER_INTERNAL_H

#include "model/adapter.h"

struct lora {
    lora_module *modules;
    size_t count;
    size_t *by_path; /* indices into modules, ordered by part, then path */
    dtype exact;     /* of values and gradients */
};

/* A LoRA of `count` modules whose part, path, in, out, rank, alpha, is_conv and kernel the caller then fills in. */
leco_status lora_allocate(size_t count, dtype exact, lora **out, leco_error *err);
/* Gives a filled-in module its path (copied), names and memory; trainable or with up_loaded. */
leco_status lora_module_allocate(lora *l, lora_module *m, const char *path, bool trainable, leco_error *err);
/* Call when all modules are there. */
void lora_index(lora *l);

/* The key of a module in files, without suffix: "lora_unet_down_blocks_0_...". mem_free it; NULL: out of memory. */
char *lora_key(model_part part, const char *path);

/* The suffix of a tensor's name where it is one of the three below, or NULL. */
const char *lora_suffix(const char *name);
/* Refuses a tensor of the file `path` that is for no layer of the model (has_text: with a text encoder), or isn't one
 * of those that a LoRA has: says what it is. */
leco_status lora_refuse(const char *path, const char *name, bool has_text, leco_error *err);

#define LORA_DOWN ".lora_down.weight"
#define LORA_UP ".lora_up.weight"
#define LORA_ALPHA ".alpha"

#endif
