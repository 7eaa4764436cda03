#include "train/trainer_internal.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "train/albums.h"
#include "train/modes.h"
#include "train/sizes.h"
#include "train/still.h"
#include "train/teachers.h"
#include "train/token_check.h"
#include "train/trajectory.h"

static void drop_lessons(trainer *t)
{
    for (size_t i = 0; t->lessons && i < t->objectives.count; i++) lesson_free(&t->lessons[i]);
    mem_free(t->lessons);
    t->lessons = NULL;
    observer_free(&t->observer);
    denoiser_pool_free(&t->pool);
}

void trainer_destroy(trainer *t)
{
    if (!t) return;
    drop_lessons(t);
    photo_encoder_free(&t->photos);
    optimizer_destroy(t->optimizer);
    trainable_destroy(t->trainable);
    for (size_t i = 0; i < t->pool.given.count; i++) trainable_destroy(t->given[i].trainable);
    mem_free(t->given);
    teachers_close(t->frozen, t->frozen_count);
    device_close(&t->device);
    mem_free(t->x);
    mem_free(t->kept);
    mem_free(t->noise);
    mem_free(t->scratch);
    mem_free(t->kept_steps);
    mem_free(t->sum);
    mem_free(t->gathered);
    mem_free(t->average);
    mem_free(t->aside);
    mem_free(t->contents);
    state_free(&t->resumed);
    mem_free(t->resumed_from);
    arena_destroy(t->memory);
    mem_free(t);
}

/* ---- planning ---- */

static leco_status open_models(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    t->frozen = mem_calloc(1 + c->teacher_count, sizeof *t->frozen);
    if (!t->frozen) return error_memory(err, (1 + c->teacher_count) * sizeof *t->frozen, "the models");
    t->frozen_count = 1 + c->teacher_count;
    t->contents = mem_calloc(t->frozen_count + 1, sizeof *t->contents);
    if (!t->contents) return error_memory(err, (t->frozen_count + 1) * sizeof *t->contents, "the models");
    LECO_TRY(teachers_open(c, t->frozen, err));
    for (size_t i = 0; i < t->frozen_count; i++) {
        denoising *run;
        const noise_schedule *s = t->frozen[i].schedule;
        const sampling asked = trajectory_sampling(c);
        leco_status status = denoising_plan(&asked, s, (latent_size){0}, &run, err);
        denoising_destroy(run);
        if (status != LECO_OK)
            return error_prefix(err, status, "%s: train.max_denoising_steps",
                                train_config_place(c, "train.max_denoising_steps"));
    }
    return LECO_OK;
}

/* Where they aren't the caller's. */
static leco_status make_objectives(trainer *t, leco_error *err)
{
    if (t->objectives.item) return LECO_OK;
    t->memory = arena_create();
    if (!t->memory) return error_memory(err, 0, "the objectives");
    LECO_TRY(objectives_of_config(t->config, t->memory, &t->objectives, err));
    LECO_TRY(albums_add(t->config, t->frozen[0].model, t->memory, &t->objectives, err));
    return sizes_add(t->config, t->frozen[0].model, t->memory, &t->objectives, err);
}

/* Configs come from other machines: a precision that this one lacks is no reason to stop. */
static leco_status open_device(trainer *t, const char *name, leco_error *err)
{
    const char *precision = t->config->precision;
    leco_error why = {0};
    leco_status status = device_open(name, precision, &t->device, &why);
    if (status != LECO_UNSUPPORTED || !precision)
        return status == LECO_OK ? LECO_OK : error_set(err, status, "%s", why.message);
    LECO_TRY(device_open(name, NULL, &t->device, err));
    log_message(LOG_WARNING, "train.precision: %s; using %s", why.message, dtype_name(t->device.compute));
    return LECO_OK;
}

static leco_status keep_narrow(const trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    leco_status status = LECO_OK;
    for (size_t i = 0; i < t->frozen_count && c->int8 && status == LECO_OK; i++)
        status = device_narrow(&t->device, t->frozen[i].model, err);
    return status == LECO_OK ? LECO_OK
                             : error_prefix(err, status, "%s: train.int8", train_config_place(c, "train.int8"));
}

static training_setting setting_of(trainer *t)
{
    return (training_setting){t->config, t->frozen, t->frozen_count, &t->pool, NULL, &t->photos};
}

static leco_status plan_lessons(trainer *t, double recompute, leco_error *err)
{
    const size_t count = t->objectives.count;
    const training_setting setting = setting_of(t);
    t->pool.device = &t->device;
    t->pool.trainable = t->trainable;
    t->pool.recompute = recompute;
    t->pool.huber = t->config->loss != LOSS_MSE;
    t->pool.dropout = &t->rng;
    t->pool.scale = &t->scale;
    t->lessons = mem_calloc(count, sizeof *t->lessons);
    if (!t->lessons) return error_memory(err, count * sizeof *t->lessons, "the objectives");
    for (size_t i = 0; i < count; i++) {
        LECO_TRY(lesson_create(&setting, &t->objectives.item[i], &t->lessons[i], err));
        const lesson *l = &t->lessons[i];
        const size_t latents = latent_count(l->size), kept = l->source[0]->views * latents;
        if (latents > t->largest) t->largest = latents;
        if (kept > t->largest_kept) t->largest_kept = kept;
    }
    if (!t->memory) return LECO_OK; /* the objectives are a test's */
    return observer_plan(&t->observer, &setting, &t->objectives, t->lessons[0].size, err);
}

/* Within a budget, more and more of the activations are computed again instead of kept, until it fits or all are. */
static leco_status plan_within(trainer *t, uint64_t budget, leco_error *err)
{
    enum { LEVELS = 4 };
    for (int level = 0; level <= LEVELS; level++) {
        drop_lessons(t);
        LECO_TRY(plan_lessons(t, (double)level / LEVELS, err));
        trainer_plan_photos(t);
        const memory_use use = trainer_planned(t);
        if (budget == 0 || memory_total(&use) <= budget) break;
    }
    return LECO_OK;
}

static leco_status load_embeddings(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    t->given = mem_calloc(c->embedding_count, sizeof *t->given);
    if (!t->given) return error_memory(err, c->embedding_count * sizeof *t->given, "the embeddings");
    t->pool.given.use = t->given;
    for (size_t i = 0; i < c->embedding_count; i++) {
        adapter_use use = {.multiplier = 1};
        LECO_TRY(trainable_load_embedding(c->embeddings[i], t->frozen[0].model, c->network.exact, &use.trainable, err));
        t->given[t->pool.given.count++] = use;
    }
    return LECO_OK;
}

/* The tokenizer knows its token, where it has one, from then on. */
static leco_status plan_trainable(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    leco_status status = trainable_plan(t->frozen[0].model, &c->network, &t->trainable, err);
    if (!c->network.token) return status;
    if (status != LECO_OK) return error_prefix(err, status, "%s: network", train_config_place(c, "network.token"));
    return token_check(&t->objectives, t->frozen, c->network.token, err);
}

/* Everything but memory: nothing of the weights is read but the files' headers. */
static leco_status plan(trainer *t, const char *device_name, uint64_t budget, leco_error *err)
{
    LECO_TRY(open_models(t, err));
    if (t->config->logging.find)
        LECO_TRY(t->config->logging.find(t->config, t->frozen[0].model->tokenizer, t->config->logging.others, err));
    LECO_TRY(load_embeddings(t, err));
    LECO_TRY(make_objectives(t, err));
    LECO_TRY(plan_trainable(t, err));
    if (t->memory) LECO_TRY(still_check(t->config, t->frozen[0].model->tokenizer, err));
    LECO_TRY(open_device(t, device_name, err));
    LECO_TRY(keep_narrow(t, err));
    for (size_t i = 0; i < t->frozen_count; i++) LECO_TRY(trainer_plan_texts(t, i, err));
    for (size_t i = 0; i < t->frozen_count; i++) LECO_TRY(model_map(t->frozen[i].model, MODEL_UNET, err));
    t->photos = (photo_encoder){.model = t->frozen[0].model, .device_name = device_name};
    return plan_within(t, budget, err);
}

/* ---- taking what was planned ---- */

/* [trainable_count]; NULL, and good, where it isn't wanted. */
static bool take_values(const trainer *t, bool wanted, float **out)
{
    if (wanted) *out = mem_calloc(trainable_count(t->trainable), sizeof **out);
    return !wanted || *out;
}

static leco_status make_buffers(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    const size_t samples = (size_t)c->samples_per_trajectory, largest = t->largest;
    t->x = mem_calloc(largest, sizeof(float));
    t->noise = mem_calloc(largest, sizeof(float));
    t->scratch = mem_calloc(largest, sizeof(float));
    t->kept = mem_calloc(samples * t->largest_kept, sizeof(float));
    t->kept_steps = mem_calloc(samples, sizeof *t->kept_steps);
    if (!t->x || !t->noise || !t->scratch || !t->kept || !t->kept_steps ||
        !take_values(t, trainer_has_sums(t), &t->sum) || !take_values(t, c->accumulation > 1, &t->gathered) ||
        !take_values(t, c->ema_decay > 0, &t->average) || !take_values(t, trainer_has_average(c), &t->aside))
        return error_memory(err, trainer_buffer_bytes(t), "the latents");
    return LECO_OK;
}

leco_status trainer_prepare(trainer *t, leco_error *err)
{
    const training_setting setting = setting_of(t);
    LECO_TRY(trainer_know_models(t, err));
    for (size_t i = 0; i < t->frozen_count; i++) LECO_TRY(trainer_encode_texts(t, i, err));
    LECO_TRY(trainer_encode_photos(t, err));
    LECO_TRY(trainer_know_photos(t, err));
    for (size_t i = 0; i < t->frozen_count; i++) LECO_TRY(model_load(t->frozen[i].model, MODEL_UNET, err));
    rng_seed(&t->rng, RNG_CPU, t->config->seed);
    LECO_TRY(trainable_start(t->trainable, t->frozen[0].model, &t->rng, err));
    LECO_TRY(workspace_reserve(t->device.workspace, trainer_arena_bytes(t), err));
    LECO_TRY(denoiser_pool_prepare(&t->pool, err));
    for (size_t i = 0; i < t->objectives.count; i++) LECO_TRY(lesson_prepare(&t->lessons[i], &setting, err));
    LECO_TRY(observer_prepare(&t->observer, &setting, err));
    LECO_TRY(make_buffers(t, err));
    const flat_params on = flat_params_of(t->trainable);
    return optimizer_create(&t->config->optimizer, &on, &t->optimizer, err);
}

/* ---- making ---- */

static leco_status plan_for(const train_config *config, const objective_list *objectives, const char *device_name,
                            uint64_t budget, trainer **out, leco_error *err)
{
    *out = NULL;
    trainer *t = mem_calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t, "the trainer");
    t->config = config;
    t->scale = loss_scale_start();
    if (objectives) t->objectives = *objectives;
    leco_status status = plan(t, device_name, budget, err);
    if (status != LECO_OK) {
        trainer_destroy(t);
        return status;
    }
    *out = t;
    return LECO_OK;
}

leco_status trainer_plan(const train_config *config, const char *device_name, uint64_t budget, trainer **out,
                         leco_error *err)
{
    return plan_for(config, NULL, device_name, budget, out, err);
}

leco_status trainer_create_for(const train_config *config, const objective_list *objectives, const char *device_name,
                               trainer **out, leco_error *err)
{
    LECO_TRY(plan_for(config, objectives, device_name, 0, out, err));
    leco_status status = trainer_prepare(*out, err);
    if (status == LECO_OK) return LECO_OK;
    trainer_destroy(*out);
    *out = NULL;
    return status;
}

/* ---- looking ---- */

trainable *trainer_trainable(trainer *t)
{
    return t->trainable;
}

rng *trainer_rng(trainer *t)
{
    return &t->rng;
}

latent_size trainer_latents(const trainer *t, size_t index)
{
    return t->lessons[index].size;
}

int64_t trainer_steps(const trainer *t)
{
    return optimizer_steps(t->optimizer);
}
