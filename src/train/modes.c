/* erase    target <- neutral - guidance_scale (positive - unconditional)
 * enhance  target <- neutral + guidance_scale (positive - unconditional)
 *
 * x_t from a trajectory of the student on the target. Source: Gandikota et al., "Erasing concepts from diffusion
 * models" (2023), equation 7. */
#include "train/modes.h"

#include "train/source.h"

typedef leco_status (*mode)(const train_config *c, const train_prompt *p, arena *memory, objective *out,
                            leco_error *err);

/* target <- neutral + scale (positive - unconditional). */
static leco_status guide(const train_config *c, const train_prompt *p, double scale, arena *memory, objective *out,
                         leco_error *err)
{
    branch *b = arena_alloc(memory, 1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "the objectives");
    *b = (branch){.weight = p->weight, .multiplier = p->multiplier, .prompt = p->target};
    terms_add(&b->terms, 1, 0, p->neutral);
    terms_add(&b->terms, scale, 0, p->positive);
    terms_add(&b->terms, -scale, 0, p->unconditional);
    *out = (objective){.place = p->place,
                       .branches = b,
                       .branch_count = 1,
                       .source = {.row = &source_trajectory,
                                  .multiplier = p->multiplier,
                                  .prompt = p->target,
                                  .unconditional = p->unconditional,
                                  .guidance_scale = c->trajectory_guidance_scale},
                       .size = {p->batch_size, p->height, p->width}};
    return LECO_OK;
}

static leco_status erase(const train_config *c, const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    return guide(c, p, -p->guidance_scale, memory, out, err);
}

static leco_status enhance(const train_config *c, const train_prompt *p, arena *memory, objective *out, leco_error *err)
{
    return guide(c, p, p->guidance_scale, memory, out, err);
}

static const mode modes[] = {[ACTION_ERASE] = erase, [ACTION_ENHANCE] = enhance};

leco_status objectives_of_config(const train_config *config, arena *memory, objective_list *out, leco_error *err)
{
    const size_t count = config->prompt_count;
    objective *made = arena_alloc(memory, count, sizeof *made);
    if (!made) return error_memory(err, count * sizeof *made, "the objectives");
    for (size_t i = 0; i < count; i++) {
        const train_prompt *p = &config->prompt[i];
        LECO_TRY(modes[p->action](config, p, memory, &made[i], err));
    }
    *out = (objective_list){.item = made, .count = count};
    return LECO_OK;
}
