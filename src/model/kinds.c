#include "model/kinds.h"

/* Of two whose tensors are named alike the first stands first that the shapes fit. */
const trainable_kind *const trainable_kinds[] = {
    &kind_lora,  &kind_loha,       &kind_lokr,   &kind_lokr_whole,    &kind_lokr_thin, &kind_dora, &kind_dora_in,
    &kind_glora, &kind_glora_old,  &kind_oft_in, &kind_oft_in_scaled, &kind_oft,       &kind_ia3,  &kind_ia3_in,
    &kind_norm,  &kind_norm_whole, &kind_bias,   &kind_bias_of_norm,  &kind_embedding, NULL};
