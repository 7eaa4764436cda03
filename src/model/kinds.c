#include "model/kinds.h"

/* Of two whose tensors are named alike the first stands first that the shapes fit. */
const trainable_kind *const trainable_kinds[] = {&kind_lora,       &kind_loha,      &kind_lokr,
                                                 &kind_lokr_whole, &kind_lokr_thin, &kind_dora,
                                                 &kind_dora_in,    &kind_embedding, NULL};
