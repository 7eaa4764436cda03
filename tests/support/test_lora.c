#include "test_lora.h"

leco_status test_lora_create(const unet_config *config, const trainable_options *options, rng *r, trainable **out,
                             leco_error *err)
{
    model m = {.unet = *config};
    leco_status status = trainable_create(&m, options, r, out, err);
    model_free_layers(&m);
    return status;
}

leco_status test_lora_load(const char *path, const unet_config *config, const text_config *text, dtype exact,
                           trainable **out, leco_error *err)
{
    model m = {.unet = *config};
    adapter_layers layers = {0};
    *out = NULL;
    leco_status status = model_layers(&m, PART_UNET, &layers.part[PART_UNET], err);
    if (text) m.text = *text;
    if (text && status == LECO_OK) status = model_layers(&m, PART_TEXT_ENCODER, &layers.part[PART_TEXT_ENCODER], err);
    if (status == LECO_OK) status = model_norms(&m, PART_UNET, &layers.norms[PART_UNET], err);
    if (text && status == LECO_OK) status = model_norms(&m, PART_TEXT_ENCODER, &layers.norms[PART_TEXT_ENCODER], err);
    if (status == LECO_OK) status = trainable_load(path, &layers, exact, out, err);
    model_free_layers(&m);
    return status;
}
