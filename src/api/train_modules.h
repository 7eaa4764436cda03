/* What a training moves, layer by layer, as JSON. */
#ifndef LECO_API_TRAIN_MODULES_H
#define LECO_API_TRAIN_MODULES_H

#include "model/trainable.h"

/* leco_train_report.modules; mem_free it. */
leco_status train_modules_text(trainable *t, char **text, leco_error *err);

#endif
