#include "train/effect.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/guidance.h"
#include "train/effect_internal.h"

/* Of all that is random here; the training's seed is none of its business. */
enum { NOISE_SEED = 1000, WORDS_SEED = 2000 };

/* ---- planning ---- */

/* As many samples at a time as the trajectories' sessions have, which are there anyway, but no more than there are. */
static size_t batch_of(const effect_meter *m, int64_t pictures)
{
    size_t two = 2 * (size_t)pictures;
    if (two > EFFECT_MOST_BATCH) two = EFFECT_MOST_BATCH;
    return two < m->slots ? two : m->slots + m->slots % 2;
}

static leco_status plan_sessions(effect_meter *m, const training_setting *in, leco_error *err)
{
    const double start = m->config->network.kind == &kind_embedding ? 1 : 0;
    latent_size size = m->size;
    size.batch = (int64_t)m->batch;
    m->teacher = mem_calloc(m->frozen_count, sizeof *m->teacher);
    if (!m->teacher) return error_memory(err, m->frozen_count * sizeof *m->teacher, "the effect meter");
    LECO_TRY(setting_denoiser(in, 0, size, start, false, &m->base, err));
    for (size_t i = 0; i < m->terms; i++) {
        const size_t which = m->term[i].of->model;
        LECO_TRY(setting_denoiser(in, which, size, 0, false, &m->teacher[which], err));
    }
    for (size_t i = 0; i < m->slots; i++) {
        const effect_slot *s = &m->slot[i];
        const double multiplier = s->branch ? s->branch->multiplier : m->slot[0].branch->multiplier;
        LECO_TRY(setting_denoiser(in, 0, size, multiplier, false, &m->slot[i].student, err));
    }
    return LECO_OK;
}

static leco_status plan(effect_meter *m, const training_setting *in, const objective_list *objectives, leco_error *err)
{
    LECO_TRY(effect_choose(m, objectives, err));
    if (m->runs == 0) return LECO_OK;
    m->batch = batch_of(m, objectives->item[0].size.batch);
    m->questions = 2 * m->runs > m->slots ? 2 * m->runs : m->slots;
    if (m->terms > m->questions) m->questions = m->terms;
    return plan_sessions(m, in, err);
}

leco_status effect_plan(const training_setting *in, const objective_list *objectives, latent_size size,
                        effect_meter **out, leco_error *err)
{
    *out = NULL;
    if (!in->config->logging.effect) return LECO_OK;
    effect_meter *m = mem_calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m, "the effect meter");
    size.batch = 1;
    *m = (effect_meter){.config = in->config,
                        .frozen = in->frozen,
                        .frozen_count = in->frozen_count,
                        .size = size,
                        .stride = latent_count(size)};
    leco_status status = plan(m, in, objectives, err);
    if (status != LECO_OK || m->runs == 0)
        effect_destroy(m);
    else
        *out = m;
    return status;
}

void effect_destroy(effect_meter *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->runs; i++) phrases_destroy(m->run[i].phrases);
    denoising_destroy(m->denoising);
    mem_free(m->teacher);
    mem_free(m->run);
    mem_free(m->slot);
    mem_free(m->term);
    mem_free(m->question);
    mem_free(m->rngs);
    mem_free(m->x);
    mem_free(m->seen);
    mem_free(m->answers);
    mem_free(m->latents);
    mem_free(m->before);
    mem_free(m->asked);
    mem_free(m->input);
    mem_free(m->output);
    mem_free(m);
}

static size_t latents_held(const effect_meter *m)
{
    return 2 * m->runs + m->questions + m->kept_count * (m->runs + 2 * m->slots) + 2 * m->batch;
}

size_t effect_bytes(const effect_meter *m)
{
    return sizeof *m + denoising_bytes(m->denoising) + m->runs * (sizeof *m->run + sizeof *m->rngs) +
           m->slots * sizeof *m->slot + m->terms * sizeof *m->term + m->questions * sizeof *m->question +
           latents_held(m) * m->stride * sizeof(float);
}

int64_t effect_every(const effect_meter *m)
{
    return m->every;
}

bool effect_known(const effect_meter *m)
{
    return m->known;
}

char *effect_text(const effect_meter *m)
{
    const double percent = 100 * m->share;
    return mem_printf("every %lld steps, on %zu latents of %zu trajectories: %.*f%% of the time", (long long)m->every,
                      m->kept_count * m->runs, m->runs, percent < 9.95 ? 1 : 0, percent);
}

/* ---- taking ---- */

static leco_status allocate(effect_meter *m, leco_error *err)
{
    const size_t one = m->stride;
    m->question = mem_calloc(m->questions, sizeof *m->question);
    m->rngs = mem_calloc(m->runs, sizeof *m->rngs);
    m->x = mem_calloc(m->runs * one, sizeof(float));
    m->seen = mem_calloc(m->runs * one, sizeof(float));
    m->answers = mem_calloc(m->questions * one, sizeof(float));
    m->latents = mem_calloc(m->kept_count * m->runs * one, sizeof(float));
    m->before = mem_calloc(m->kept_count * m->slots * one, sizeof(float));
    m->asked = mem_calloc(m->kept_count * m->slots * one, sizeof(float));
    m->input = mem_calloc(m->batch * one, sizeof(float));
    m->output = mem_calloc(m->batch * one, sizeof(float));
    if (m->question && m->rngs && m->x && m->seen && m->answers && m->latents && m->before && m->asked && m->input &&
        m->output)
        return denoising_prepare(m->denoising, err);
    return error_memory(err, effect_bytes(m), "the effect meter");
}

static leco_status condition_run(effect_meter *m, size_t index, const training_setting *shared, leco_error *err)
{
    training_setting in = *shared;
    effect_run *r = &m->run[index];
    rng words;
    if (!(r->phrases = phrases_create())) return error_memory(err, 0, "the effect meter's prompts");
    in.phrases = r->phrases;
    LECO_TRY(setting_condition(&in, 0, r->prompt, m->size, &r->positive, err));
    LECO_TRY(setting_condition(&in, 0, r->unconditional, m->size, &r->negative, err));
    for (size_t i = 0; i < m->slots; i++)
        if (m->slot[i].run == index)
            LECO_TRY(setting_condition(&in, 0, m->slot[i].prompt, m->size, &m->slot[i].text, err));
    for (size_t i = 0; i < m->terms; i++) {
        effect_term *t = &m->term[i];
        if (m->slot[t->slot].run == index)
            LECO_TRY(setting_condition(&in, t->of->model, t->of->prompt, m->size, &t->text, err));
    }
    rng_seed(&words, RNG_CPU, WORDS_SEED + index);
    phrases_draw(r->phrases, &words);
    return phrases_resolve(r->phrases, err);
}

leco_status effect_prepare(effect_meter *m, const training_setting *in, leco_error *err)
{
    LECO_TRY(allocate(m, err));
    for (size_t i = 0; i < m->runs; i++) LECO_TRY(condition_run(m, i, in, err));
    return LECO_OK;
}

/* ---- asking ---- */

/* Takes up to a session's batch of questions that one can answer, from the first on; returns how many. */
static size_t gather(effect_meter *m, size_t first, size_t count, effect_question *chosen[])
{
    size_t found = 0;
    for (size_t i = first; i < count && found < m->batch; i++) {
        effect_question *q = &m->question[i];
        if (q->answered || q->from != m->question[first].from) continue;
        q->answered = true;
        memcpy(m->input + found * m->stride, q->x, m->stride * sizeof(float));
        denoiser_set_context(q->from, (int64_t)found, q->text);
        chosen[found++] = q;
    }
    return found;
}

/* Answers m->question [count], all at one timestep. A batch that isn't full asks its first once more. */
static leco_status answer(effect_meter *m, size_t count, double timestep, const effect_watch *w, leco_error *err)
{
    effect_question *chosen[EFFECT_MOST_BATCH];
    for (size_t first = 0; first < count; first++) {
        if (m->question[first].answered) continue;
        const size_t found = gather(m, first, count, chosen);
        for (size_t i = found; i < m->batch; i++) {
            memcpy(m->input + i * m->stride, m->input, m->stride * sizeof(float));
            denoiser_set_context(chosen[0]->from, (int64_t)i, chosen[0]->text);
        }
        LECO_TRY(denoiser_run(chosen[0]->from, m->input, timestep, m->output, err));
        for (size_t i = 0; i < found; i++)
            memcpy(chosen[i]->answer, m->output + i * m->stride, m->stride * sizeof(float));
        if (w->went && !w->went(w->user, m->batch)) return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

/* Texts that were encoded as they were asked for may be forgotten by now. */
static leco_status recall(effect_meter *m, leco_error *err)
{
    for (size_t i = 0; i < m->runs; i++) LECO_TRY(phrases_resolve(m->run[i].phrases, err));
    return LECO_OK;
}

/* ---- before the training ---- */

/* All runs one step further. */
static leco_status step(effect_meter *m, int64_t done, const effect_watch *w, leco_error *err)
{
    size_t count = 0;
    denoising_latent(m->denoising, done, m->x, m->seen);
    for (size_t i = 0; i < m->runs; i++) {
        const effect_run *r = &m->run[i];
        const float *x = m->seen + i * m->stride;
        m->question[count++] = (effect_question){m->base, &r->positive, x, m->answers + i * m->stride, false};
        if (r->guidance_scale != 1)
            m->question[count++] =
                (effect_question){m->base, &r->negative, x, m->answers + (m->runs + i) * m->stride, false};
    }
    LECO_TRY(answer(m, count, denoising_timestep(m->denoising, done), w, err));
    for (size_t i = 0; i < m->runs; i++) {
        float *said = m->answers + i * m->stride, *without = m->answers + (m->runs + i) * m->stride;
        if (m->run[i].guidance_scale != 1)
            guidance_apply(without, said, (float)m->run[i].guidance_scale, said, m->stride);
    }
    denoising_step(m->denoising, done, m->answers, m->x);
    return LECO_OK;
}

static leco_status draw_latents(effect_meter *m, const effect_watch *w, leco_error *err)
{
    int64_t done = 0;
    for (size_t i = 0; i < m->runs; i++) rng_seed(&m->rngs[i], RNG_CPU, NOISE_SEED + i);
    denoising_begin(m->denoising, 0, m->rngs, m->runs);
    denoising_noise(m->denoising, m->x);
    for (size_t i = 0; i < m->denoising->count; i++) m->x[i] *= m->denoising->noise_scale;
    for (size_t k = 0; k < m->kept_count; k++) {
        for (; done < m->kept[k]; done++) LECO_TRY(step(m, done, w, err));
        denoising_latent(m->denoising, done, m->x, m->latents + k * m->runs * m->stride);
    }
    return LECO_OK;
}

static const float *latent_of(const effect_meter *m, size_t k, size_t slot)
{
    return m->latents + (k * m->runs + m->slot[slot].run) * m->stride;
}

static double level_of(const effect_meter *m, size_t k)
{
    return denoising_level(m->denoising, m->kept[k]);
}

/* What frozen models say of the terms, into m->answers, as the trained one would say it. */
static leco_status ask_teachers(effect_meter *m, size_t k, const effect_watch *w, leco_error *err)
{
    const noise_schedule *own = m->frozen[0].schedule;
    for (size_t which = 0; which < m->frozen_count; which++) {
        const noise_schedule *theirs = m->frozen[which].schedule;
        const double timestep = schedule_same_noise(own, theirs, level_of(m, k));
        const double alpha_bar = schedule_alpha_bar(theirs, timestep);
        size_t count = 0;
        for (size_t i = 0; i < m->terms; i++)
            if (m->term[i].of->model == which)
                m->question[count++] =
                    (effect_question){m->teacher[which], &m->term[i].text, latent_of(m, k, m->term[i].slot),
                                      m->answers + i * m->stride, false};
        LECO_TRY(answer(m, count, timestep, w, err));
        for (size_t i = 0; i < m->terms; i++)
            if (m->term[i].of->model == which)
                prediction_convert(theirs->prediction, own->prediction, alpha_bar, latent_of(m, k, m->term[i].slot),
                                   m->answers + i * m->stride, m->stride);
    }
    return LECO_OK;
}

/* asked = what the branch is pulled to - before. */
static void sum_asked(effect_meter *m, size_t k, size_t slot)
{
    const effect_slot *s = &m->slot[slot];
    const branch *b = s->branch;
    const float *before = m->before + (k * m->slots + slot) * m->stride;
    float *asked = m->asked + (k * m->slots + slot) * m->stride;
    const size_t list = m->known && b->early && level_of(m, k) >= b->early_from ? 1 : 0;
    size_t place[TERMS_MAX];
    for (size_t i = 0; i < s->list[list]->count; i++) place[i] = s->first[list] + i;
    terms_sum(s->list[list], place, m->answers, asked, m->stride);
    if (m->known && b->like) match_moments(asked, m->answers + s->first[2] * m->stride, 1, m->stride);
    for (size_t i = 0; i < m->stride; i++) asked[i] -= before[i];
}

/* What all slots say by now, or before, to m->answers. */
static leco_status ask_students(effect_meter *m, size_t k, bool now, const effect_watch *w, leco_error *err)
{
    for (size_t i = 0; i < m->slots; i++)
        m->question[i] = (effect_question){now ? m->slot[i].student : m->base, &m->slot[i].text, latent_of(m, k, i),
                                           m->answers + i * m->stride, false};
    return answer(m, m->slots, level_of(m, k), w, err);
}

leco_status effect_begin(effect_meter *m, const effect_watch *w, leco_error *err)
{
    LECO_TRY(recall(m, err));
    LECO_TRY(draw_latents(m, w, err));
    for (size_t k = 0; k < m->kept_count; k++) {
        LECO_TRY(ask_students(m, k, false, w, err));
        memcpy(m->before + k * m->slots * m->stride, m->answers, m->slots * m->stride * sizeof(float));
        LECO_TRY(ask_teachers(m, k, w, err));
        for (size_t i = 0; i < m->slots; i++)
            if (m->slot[i].branch) sum_asked(m, k, i);
    }
    m->begun = true;
    return LECO_OK;
}

/* ---- now ---- */

/* Sums over all latents. */
typedef struct sums {
    double along, asked; /* of targets: the movement's length along what is asked, and that of what is asked */
    double moved[GROUP_COUNT];
    size_t count[GROUP_COUNT];
} sums;

static void add_slot(const effect_meter *m, size_t k, size_t slot, sums *s)
{
    const size_t at = (k * m->slots + slot) * m->stride;
    const float *now = m->answers + slot * m->stride, *before = m->before + at, *asked = m->asked + at;
    const effect_group group = m->run[m->slot[slot].run].group;
    double product = 0, way = 0, moved = 0;
    for (size_t i = 0; i < m->stride; i++) {
        const double d = (double)now[i] - (double)before[i];
        moved += d * d;
        product += d * (double)asked[i];
        way += (double)asked[i] * (double)asked[i];
    }
    s->moved[group] += sqrt(moved);
    s->count[group]++;
    if (group != GROUP_TARGET || way == 0) return;
    s->along += product / sqrt(way);
    s->asked += sqrt(way);
}

static double distance(const sums *s, effect_group group)
{
    const double unit = s->asked / (double)s->count[GROUP_TARGET];
    return s->count[group] && unit > 0 ? s->moved[group] / (double)s->count[group] / unit : (double)NAN;
}

leco_status effect_measure(effect_meter *m, const effect_watch *w, effect_figures *out, leco_error *err)
{
    sums s = {0};
    LECO_TRY(recall(m, err));
    for (size_t k = 0; k < m->kept_count; k++) {
        LECO_TRY(ask_students(m, k, true, w, err));
        for (size_t i = 0; i < m->slots; i++) add_slot(m, k, i, &s);
    }
    *out = (effect_figures){.effect = m->known && s.asked > 0 ? s.along / s.asked : (double)NAN,
                            .moved = distance(&s, GROUP_TARGET),
                            .kept = distance(&s, GROUP_KEPT),
                            .neighbours = distance(&s, GROUP_NEIGHBOURS),
                            .unrelated = distance(&s, GROUP_UNRELATED)};
    return LECO_OK;
}
