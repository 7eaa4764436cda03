#include "model/kinds.h"

const trainable_kind *const trainable_kinds[] = {&kind_lora, &kind_loha, &kind_embedding, NULL};
