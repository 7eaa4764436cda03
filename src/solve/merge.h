/* Joining LoRAs into one, and into a model. */
#ifndef LECO_SOLVE_MERGE_H
#define LECO_SOLVE_MERGE_H

#include "model/model.h"
#include "solve/change.h"
#include "solve/thin.h"
#include "solve/work.h"

/* One LoRA that does what the changes do. rank 0: exactly that, with the sum of their ranks in each layer; else the
 * best that this rank can do, in layers that have more; above what there is, that is exact, and logged. LECO_INVALID
 * where there is nothing to join, or where no exact joining is possible (LoHa) and no rank given. *out is the caller's;
 * the report borrows layers. */
leco_status merge_loras(const change_list *changes, int64_t rank, work *w, trainable **out, thin_report *report,
                        leco_error *err);

/* Of a checkpoint in one file a copy of that, in the file `to`; else a copy of a model's folder, in the new folder
 * `to`, whose weights hold the changes: each of those tensors in its own type, everything else byte for byte. The parts
 * that are changed are mapped. Files beside theirs that hold the same weights in another form are left out, with a
 * warning. What the report calls lost is what the rounding of these types makes of the change: a small one may vanish
 * in a 16-bit model. */
leco_status merge_into_model(const model *m, const change_list *changes, const char *to, work *w, thin_report *report,
                             leco_error *err);

#endif
