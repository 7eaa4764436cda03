/* LoRAs for models that have only configs: the layers are listed for the call. */
#ifndef TEST_LORA_H
#define TEST_LORA_H

#include "model/kinds.h"
#include "model/model.h"

/* The params of a LoRA's module. */
enum { DOWN, UP };

/* trainable_create on the U-Net's layers. */
leco_status test_lora_create(const unet_config *config, const trainable_options *options, rng *r, trainable **out,
                             leco_error *err);
/* trainable_load. text may be NULL. */
leco_status test_lora_load(const char *path, const unet_config *config, const text_config *text, dtype exact,
                           trainable **out, leco_error *err);

#endif
