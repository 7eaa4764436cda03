/* What an effect meter looks at, so that it costs little. Costs are counted in samples of the U-Net: a student's
 * forward and backward pass are three. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "train/effect_internal.h"
#include "train/modes.h"
#include "train/pace.h"
#include "train/trajectory.h"

/* Of a training's time; how many figures a training should at least have, and at most needs; denoising steps of a
 * meter's trajectories. */
#define SHARE 0.05
#define LAST_SHARE 0.15 /* of a training too short for that, at its beginning and its end alone */
enum { FEWEST = 8, MOST = 50, LARGEST_LEVEL = 4, STEPS = 6 };

/* ---- what a training costs ---- */

static double step_cost(const train_config *c, const objective *o)
{
    const double samples = (double)c->samples_per_trajectory, batch = (double)o->size.batch;
    const sampling how = trajectory_sampling(c);
    double asked = 0;
    for (size_t i = 0; i < o->branch_count; i++) {
        asked += 3;
        for (size_t k = 0; k < BRANCH_LISTS; k++) asked += (double)branch_list(&o->branches[i], k)->count;
    }
    if (o->source.row != &source_trajectory) return batch * asked;
    const double steps = pace_mean_largest(0, sampling_runs(&how), c->samples_per_trajectory);
    return batch * (asked + steps * (double)guided_batch(1, (float)o->source.guidance_scale) / samples);
}

static double training_cost(const train_config *c, const objective_list *list)
{
    double sum = 0;
    for (size_t i = 0; i < list->count; i++) sum += objectives_probability(list, i) * step_cost(c, &list->item[i]);
    return sum * (double)(c->iterations * c->accumulation);
}

/* ---- what is looked at ---- */

/* Do pictures say what it is asked for? */
static bool shows(const objective *o)
{
    bool pictures = o->source.photo_count > 0 || o->source.row == &source_photographs;
    for (size_t i = 0; i < o->branch_count; i++)
        pictures = pictures || o->branches[i].added_noise || !o->branches[i].prompt;
    return pictures;
}

/* The index-th objective of those that are targets; NULL: no more. Where some are known, the others aren't looked at.
 */
static const objective *target_at(const objective_list *list, bool known, size_t index)
{
    for (size_t i = 0; i < list->count - list->held; i++)
        if (shows(&list->item[i]) != known && index-- == 0) return &list->item[i];
    return NULL;
}

static size_t count_targets(const objective_list *list, bool known)
{
    size_t count = 0;
    while (target_at(list, known, count)) count++;
    return count;
}

/* Adapters that are on in all that is drawn move everything; and embeddings nothing but texts that have them. */
static bool others_say_something(const train_config *c)
{
    bool unguided = false;
    for (size_t i = 0; i < c->prompt_count; i++)
        unguided = unguided || c->prompt[i].action->unguided || !*c->prompt[i].target;
    return c->network.kind != &kind_embedding && !unguided;
}

static const char *text_at(const train_config *c, effect_group group, size_t index)
{
    const logging_config *l = &c->logging;
    if (group == GROUP_KEPT) return c->preserve.prompt;
    if (!others_say_something(c)) return NULL;
    if (group == GROUP_NEIGHBOURS && l->effect_prompts) return l->effect_prompts;
    const logging_others none = {0}, *o = l->others ? l->others : &none;
    if (group == GROUP_NEIGHBOURS) return o->neighbours ? o->neighbour[index % o->neighbours] : NULL;
    return o->unrelateds ? o->unrelated[index % o->unrelateds] : NULL;
}

leco_status effect_visit_prompts(const train_config *c, leco_status (*visit)(void *user, const char *, leco_error *),
                                 void *user, leco_error *err)
{
    const logging_config *l = &c->logging;
    if (!l->effect) return LECO_OK;
    LECO_TRY(visit(user, "", err));
    if (!others_say_something(c)) return LECO_OK;
    if (l->effect_prompts) LECO_TRY(visit(user, l->effect_prompts, err));
    const logging_others none = {0}, *o = l->others ? l->others : &none;
    for (size_t i = 0; i < o->neighbours && !l->effect_prompts; i++) LECO_TRY(visit(user, o->neighbour[i], err));
    for (size_t i = 0; i < o->unrelateds; i++) LECO_TRY(visit(user, o->unrelated[i], err));
    return LECO_OK;
}

/* ---- runs and slots ---- */

static effect_run target_run(const effect_meter *m, const objective *o)
{
    const source_spec *s = &o->source;
    const branch *b = &o->branches[0];
    const char *own = b->prompt ? b->prompt : s->photos[0].prompt;
    const bool drawn = s->row == &source_trajectory && s->model == 0;
    return (effect_run){.group = GROUP_TARGET,
                        .of = o,
                        .prompt = drawn ? s->prompt : own,
                        .unconditional = drawn ? s->unconditional : "",
                        .guidance_scale = drawn ? s->guidance_scale : m->config->trajectory_guidance_scale};
}

static void add_target(effect_meter *m, const objective *o)
{
    for (size_t i = 0; i < o->branch_count; i++) {
        const branch *b = &o->branches[i];
        effect_slot s = {.run = m->runs, .branch = b, .prompt = b->prompt ? b->prompt : o->source.photos[0].prompt};
        for (size_t k = 0; k < BRANCH_LISTS; k++) {
            s.list[k] = m->known ? branch_list(b, k) : k == 0 ? &m->nothing : branch_list(&(branch){0}, 1);
            s.first[k] = m->terms;
            for (size_t t = 0; t < s.list[k]->count; t++)
                m->term[m->terms++] = (effect_term){.slot = m->slots, .of = &s.list[k]->item[t]};
        }
        m->slot[m->slots++] = s;
    }
    m->run[m->runs++] = target_run(m, o);
}

static void add_other(effect_meter *m, effect_group group, const char *text)
{
    m->slot[m->slots++] = (effect_slot){.run = m->runs, .prompt = text};
    m->run[m->runs++] = (effect_run){
        .group = group, .prompt = text, .unconditional = "", .guidance_scale = m->config->trajectory_guidance_scale};
}

/* All that is looked at on a level: 1 is the least. */
static void fill(effect_meter *m, const objective_list *list, size_t level)
{
    const size_t targets = count_targets(list, m->known), wanted = 2 * level;
    m->runs = m->slots = m->terms = 0;
    for (size_t i = 0; i < wanted; i++)
        add_target(m, target_at(list, m->known, targets > wanted ? i * targets / wanted : i % targets));
    for (int group = GROUP_KEPT; group < GROUP_COUNT; group++)
        for (size_t i = 0; i < level && text_at(m->config, (effect_group)group, i); i++)
            add_other(m, (effect_group)group, text_at(m->config, (effect_group)group, i));
}

/* ---- which latents ---- */

/* Those in the middle of what is trained, of as few steps as have one there: where most of a picture's contents is
 * decided, and a prompt makes the greatest difference. */
static leco_status choose_latents(effect_meter *m, leco_error *err)
{
    const train_config *c = m->config;
    const noise_schedule *schedule = m->frozen[0].schedule;
    latent_size all = m->size;
    all.batch = (int64_t)m->runs;
    for (int64_t steps = STEPS;; steps *= 2) {
        const sampling how = {&sampler_ddim, steps, c->spacing, false};
        denoising_destroy(m->denoising);
        m->denoising = NULL;
        LECO_TRY(denoising_plan(&how, schedule, all, &m->denoising, err));
        int64_t first = 0, end = m->denoising->steps;
        while (first < end && c->max_timestep && denoising_level(m->denoising, first) >= (double)c->max_timestep)
            first++;
        while (first < end && denoising_level(m->denoising, end - 1) < (double)c->min_timestep) end--;
        const bool none = first == end;
        if (none && 2 * steps <= schedule->train_timesteps / 2) continue;
        if (none) first = 1, end = STEPS;
        const int64_t count = end - first, before = count > EFFECT_LATENTS ? 1 : 0;
        m->kept_count = count < EFFECT_LATENTS ? (size_t)count : EFFECT_LATENTS;
        for (size_t i = 0; i < m->kept_count; i++) m->kept[i] = first + before + (int64_t)i;
        return LECO_OK;
    }
}

/* ---- how often ---- */

size_t effect_cost(const effect_meter *m)
{
    return m->kept_count * m->slots;
}

size_t effect_first_cost(const effect_meter *m)
{
    size_t cost = m->kept_count * (m->slots + m->terms);
    for (size_t i = 0; i < m->runs; i++)
        cost += (size_t)m->kept[m->kept_count - 1] * (size_t)guided_batch(1, (float)m->run[i].guidance_scale);
    return cost;
}

/* Steps between two figures: as many as cost no more than their share, in whole trajectories. */
static int64_t affordable(const effect_meter *m, double training)
{
    const train_config *c = m->config;
    const double left = SHARE * training - (double)effect_first_cost(m);
    const double wanted = (double)c->iterations * (double)effect_cost(m) / left;
    const double most = (double)((c->iterations + MOST - 1) / MOST), every = fmax(ceil(wanted), most);
    if (left <= 0 || every * FEWEST > (double)c->iterations) return 0;
    const int64_t k = c->samples_per_trajectory;
    return ((int64_t)every + k - 1) / k * k;
}

/* Room for what the highest level has. */
static leco_status make_room(effect_meter *m, const objective_list *list, leco_error *err)
{
    size_t branches = 1, terms = 1;
    for (size_t i = 0; i < list->count; i++) {
        size_t own = 1;
        for (size_t b = 0; b < list->item[i].branch_count; b++)
            for (size_t k = 0; k < BRANCH_LISTS; k++) own += branch_list(&list->item[i].branches[b], k)->count;
        if (list->item[i].branch_count > branches) branches = list->item[i].branch_count;
        if (own > terms) terms = own;
    }
    const size_t targets = 2 * LARGEST_LEVEL, others = (GROUP_COUNT - 1) * LARGEST_LEVEL;
    m->run = mem_calloc(targets + others, sizeof *m->run);
    m->slot = mem_calloc(targets * branches + others, sizeof *m->slot);
    m->term = mem_calloc(targets * terms * branches, sizeof *m->term);
    if (m->run && m->slot && m->term) return LECO_OK;
    return error_memory(err, (targets * branches + others) * sizeof *m->slot, "the effect meter");
}

leco_status effect_choose(effect_meter *m, const objective_list *list, leco_error *err)
{
    const train_config *c = m->config;
    const double training = training_cost(c, list);
    const bool asked = c->logging.effect_every > 0, needed = asked || c->stop_at_effect > 0;
    m->known = count_targets(list, true) > 0;
    terms_add(&m->nothing, 1, 0, "");
    if (c->stop_at_effect > 0 && !m->known)
        return error_set(err, LECO_INVALID,
                         "%s: train.stop_at_effect: pictures say what this training is to learn, so how much of it is "
                         "done can't be measured",
                         train_config_place(c, "train.stop_at_effect"));
    if (!m->known && count_targets(list, false) == 0) return LECO_OK;
    LECO_TRY(make_room(m, list, err));
    for (size_t level = LARGEST_LEVEL; level > 0; level--) {
        fill(m, list, level);
        LECO_TRY(choose_latents(m, err));
        m->every = affordable(m, training);
        if (m->every > 0) break;
    }
    if (m->every == 0 &&
        !needed) { /* is there room for one at the end? What a short training broke is seen there, too */
        fill(m, list, 1);
        LECO_TRY(choose_latents(m, err));
        const double both = (double)effect_first_cost(m) + (double)effect_cost(m);
        if (both <= LAST_SHARE * training) m->every = c->iterations;
    }
    if (m->every == 0 && needed) {
        fill(m, list, asked ? 2 : 1);
        LECO_TRY(choose_latents(m, err));
        m->every = c->iterations < FEWEST ? 1 : c->iterations / FEWEST;
    }
    if (asked) m->every = c->logging.effect_every;
    if (m->every == 0) m->runs = 0;
    const double figures = m->every ? ceil((double)c->iterations / (double)m->every) : 0;
    m->share = ((double)effect_first_cost(m) + figures * (double)effect_cost(m)) / training;
    for (size_t i = 0; i < m->runs; i++) m->counts[m->run[i].group]++;
    return LECO_OK;
}
