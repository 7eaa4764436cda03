/* Writing an adapter with what it should say about itself. */
#ifndef LECO_TRAIN_SAVE_H
#define LECO_TRAIN_SAVE_H

#include "base/lock.h"
#include "model/model.h"
#include "train/config.h"

/* Writes SAVE_PATH/NAME.safetensors where `last`, else NAME_<steps, six digits>.safetensors, making the folder; the
 * file is replaced atomically. An adapter with a value that isn't finite is LECO_INVALID, and nothing is written. The
 * date in it is today's, or SOURCE_DATE_EPOCH's. *path gets the file's name (mem_free it). */
leco_status save_adapter(const train_config *config, const model *m, dtype computed, trainable *t, int64_t steps,
                         bool last, char **path, leco_error *err);

/* The name of the file that a whole training writes; mem_free it; NULL: out of memory. */
char *save_name(const train_config *config);

/* Of the state that a training goes on from: SAVE_PATH/NAME.state.safetensors; as save_name. */
char *save_state_name(const train_config *config);

/* Removes the file that was saved on the way after so many steps; one that isn't there is fine. */
leco_status save_remove(const train_config *config, int64_t steps, leco_error *err);

/* Makes the folder and the files in it, and takes them away again, and looks at SOURCE_DATE_EPOCH, so that what keeps
 * an adapter from being saved is known before the training, not after it. What is there stays as it is. */
leco_status save_check(const train_config *config, leco_error *err);
/* Has the disk room for a file of so many values? LECO_IO where it hasn't. */
leco_status save_check_room(const train_config *config, size_t values, leco_error *err);

/* The right to write to SAVE_PATH/NAME: no other training, in this process or another, has it at the same time. It ends
 * with the process. */
typedef struct save_claim {
    lock *lock;
    char *folder; /* SAVE_PATH, ... */
    size_t kept;  /* ... and how much of it was there before */
} save_claim;

/* Makes the folder. LECO_IO, naming the process, where another training has the claim. */
leco_status save_claim_take(const train_config *config, save_claim *out, leco_error *err);
void save_claim_give_back(save_claim *c); /* a folder in which nothing was saved goes; safe on a zeroed one */

#endif
