/* The difference of two models as a LoRA. */
#ifndef LECO_SOLVE_EXTRACT_H
#define LECO_SOLVE_EXTRACT_H

#include "model/model.h"
#include "solve/thin.h"
#include "solve/work.h"

/* tuned - base in the layers of `parts` (1 << part, of those that adapters attach to, mapped in both), each as well as
 * this rank can hold it; a 3x3 convolution's is one (LoCon). Layers that don't differ are left out. LECO_INVALID where
 * the models' shapes differ, none of these layers does, or no layer can have that rank. The report counts what else
 * differs; it borrows base's layers. *out is the caller's. */
leco_status extract_lora(model *base, model *tuned, int parts, int64_t rank, work *w, trainable **out,
                         thin_report *report, leco_error *err);

#endif
