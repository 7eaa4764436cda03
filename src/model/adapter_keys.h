/* How the tensors of adapters are named in files, and what other names mean. */
#ifndef LECO_MODEL_ADAPTER_KEYS_H
#define LECO_MODEL_ADAPTER_KEYS_H

#include "format/safetensors.h"
#include "model/trainable.h"

#define ADAPTER_ALPHA ".alpha" /* of all kinds; a number */

/* The key of a layer, to which suffixes are added: "lora_unet_down_blocks_0_...". mem_free it; NULL: out of memory. */
char *adapter_key(const layer_info *layer);

/* Where the layer's path begins in a key, and of which part it is (part, is_first); NULL: the key is none of kohya's.
 */
const char *adapter_path(const char *key, layer_info *layer);
/* Has the path an original checkpoint's name of a block ("input_blocks_4_...")? adapter_open changes those it knows. */
bool adapter_path_is_original(const char *path);

/* Names of tensors for the U-Net's layers, as sd-scripts calls them in LoRAs for SDXL: an original checkpoint's names
 * with underscores for points ("lora_unet_input_blocks_4_1_proj_in.alpha"). From these to those with diffusers' names
 * of blocks, and back; mem_free *out. NULL: it is none of them. */
leco_status adapter_name_of_original(const char *name, char **out, leco_error *err);
leco_status adapter_original_name(const char *name, char **out, leco_error *err);

/* The name of a module's k-th tensor in files, and of its alpha; the caller's to mem_free, NULL: out of memory. */
char *adapter_tensor_name(const trainable_module *m, size_t k);
char *adapter_alpha_name(const trainable_module *m);

/* The suffix of a tensor's name where it is .alpha or one of a kind's (model/kinds.h), or NULL. */
const char *adapter_suffix(const char *name);

/* Of a text encoder's layers: how many there are, their numbers being part of their paths. */
int64_t adapter_text_depth(const layer_list *text);
/* Is the key one of a numbered layer of a text encoder? Then its part and number (INT64_MAX where that is larger), and
 * the key of the same thing in layer 0; mem_free *as_first, which is NULL where it is none. */
leco_status adapter_text_layer(const char *key, model_part *part, int64_t *number, char **as_first, leco_error *err);

/* Is it what trainers leave beside a LoRA, and nothing of it: counters of steps, the layer's own frozen weight? */
bool adapter_is_stray(const safetensors_entry *e);

/* Refuses a tensor of the file `path` that is for no layer of the model, which has so many text encoders, or has no
 * suffix that leco knows: says what it is. */
leco_status adapter_refuse(const char *path, const char *name, int texts, leco_error *err);

#endif
