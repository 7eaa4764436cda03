/* Collecting the layers of a module by building it over blank weights, so that names can't diverge from the builder's.
 */
#ifndef LECO_MODEL_WALK_H
#define LECO_MODEL_WALK_H

#include "model/module.h"
#include "model/text_encoder.h"
#include "model/unet.h"

typedef struct layer_list {
    layer_info *layer; /* paths are mem_strdup'd */
    size_t count, capacity;
    bool out_of_memory;
} layer_list;

void layer_list_free(layer_list *list); /* safe on a zeroed list */

/* All linear and conv layers, in PyTorch's order of registration for the U-Net (unet_walk), in the order of building
 * for the text encoder. On failure the list is empty. */
leco_status walk_unet(const unet_config *config, layer_list *list, leco_error *err);
leco_status walk_text_encoder(const text_config *config, layer_list *list, leco_error *err);

#endif
