/* Opening files of adapters, whatever their names: PEFT's and those of old and new diffusers become kohya's. */
#ifndef LECO_MODEL_ADAPTER_OPEN_H
#define LECO_MODEL_ADAPTER_OPEN_H

#include "format/safetensors.h"

struct json_t;

#define ADAPTER_BUNDLE "bundle_emb." /* before the names of embeddings that come with a LoRA */

/* The same name as kohya's sd-scripts has it: "unet.mid_block.attentions.0.proj_in.lora_A.weight" becomes
 * "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"; and so do names of original checkpoints' blocks, as in
 * sd-scripts' LoRAs for SDXL, "lora_unet_middle_block_1_proj_in.lora_down.weight". mem_free it. NULL with LECO_OK: it
 * is none of those. */
leco_status adapter_kohya_name(const char *name, char **out, leco_error *err);

/* Makes of what LyCORIS writes besides what leco has kinds for: Tucker's form of LoCon, LoHa and LoKr becomes the plain
 * one, a whole difference of weights a LoRA, an OFT's blocks the matrix that they are, the scale of an (IA)^3 one whose
 * name says what it scales. Embeddings that are bundled with the LoRA (model/model.h loads them)
 * are left out. What is too large, or doesn't fit together, is LECO_FORMAT. */
leco_status adapter_fold(safetensors *file, leco_error *err);

/* A DoRA on a LoHa or LoKr, in plain forms, becomes one on a LoRA. */
leco_status adapter_fold_doras(safetensors *file, leco_error *err);

/* PEFT has a convolution's magnitudes of outputs as [1,out,1,1], as LyCORIS has those of inputs: they become
 * [out,1,1,1]. Under PEFT's names alone, before others are given. */
leco_status adapter_turn_magnitudes(safetensors *file, leco_error *err);

/* The file (adapter_find in adapter_config.h), its tensors under such names, in such forms, and those of eight-bit
 * floats as bfloat16. The alphas of diffusers' metadata (lora_adapter_metadata), and of PEFT's config where names are
 * PEFT's, are tensors of it, too. On failure *out is NULL. */
leco_status adapter_open(const char *path, safetensors **out, leco_error *err);

#endif
