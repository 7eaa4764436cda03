/* Modes: how an entry of a config becomes an objective. A new one is a function and a row in modes.c. */
#ifndef LECO_TRAIN_MODES_H
#define LECO_TRAIN_MODES_H

#include "train/config.h"
#include "train/objective.h"

typedef struct train_mode {
    const char *name; /* as `action` in configs, and in what is saved: "erase" */
    const char *help; /* what it does, said after its name: "takes the concept away"; NULL: no `action` asks for it */
    leco_status (*make)(const train_prompt *p, arena *memory, objective *out, leco_error *err);
    /* Of an entry none of whose branches moves anything, though weight and multiplier would let them: why, and what
     * would. *meant: it was asked for. */
    const char *(*remedy)(const train_prompt *p, bool *meant);
    bool mirrored;   /* it learns at minus the multiplier, too; `neutral` is `target` where there is none */
    bool unguided;   /* its trajectories have no guidance where the entry asks for none */
    bool of_teacher; /* it needs one, and is what an entry with one means */
    bool pictures;   /* its texts may be pictures before and after */
    bool no_neutral; /* its terms have none */
    bool negative;   /* what is trained is for negative prompts: an embedding */
} train_mode;

extern const train_mode mode_erase, mode_enhance, mode_negative, mode_transplant, mode_terms;
extern const train_mode *const train_modes[]; /* all that an `action` may ask for; ends with NULL */

/* Puts an entry's attributes before its texts, which are the arena's then; it has none any more. */
leco_status entry_join_attributes(train_prompt *p, arena *memory, leco_error *err);

/* The objectives of a config, one an entry, in memory of the arena; they borrow the config's texts. */
leco_status objectives_of_config(const train_config *config, arena *memory, objective_list *out, leco_error *err);

#endif
