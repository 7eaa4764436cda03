#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/family.h"
#include "train/save.h"
#include "train/stage.h"

struct trainer {
    const train_config *config;
    device device;
    model *model;
    noise_schedule *schedule;
    text_bank *bank;
    rng rng;
    trainable *trainable;
    optimizer *optimizer;
    denoiser_pool pool;
    stage *stages;     /* one a pair */
    size_t text_bytes; /* the most that the text encoder's phase took of the workspace */
    float *x, *kept;   /* of the largest pair: [B,h,w,C], [samples_per_trajectory, B,h,w,C] */
    float *noise, *scratch;
    int64_t *kept_steps; /* [samples_per_trajectory] */
};

void trainer_destroy(trainer *t)
{
    if (!t) return;
    for (size_t i = 0; t->stages && i < t->config->prompt_count; i++) stage_free(&t->stages[i]);
    mem_free(t->stages);
    denoiser_pool_free(&t->pool);
    optimizer_destroy(t->optimizer);
    trainable_destroy(t->trainable);
    text_bank_destroy(t->bank);
    mem_free(t->schedule);
    model_close(t->model);
    device_close(&t->device);
    mem_free(t->x);
    mem_free(t->kept);
    mem_free(t->noise);
    mem_free(t->scratch);
    mem_free(t->kept_steps);
    mem_free(t);
}

/* ---- getting ready ---- */

static leco_status open_model(trainer *t, const char *device_name, leco_error *err)
{
    const train_config *c = t->config;
    LECO_TRY(model_open(c->model, &t->model, err));
    schedule_config schedule = t->model->schedule;
    bool is_v = schedule.prediction == PREDICT_V;
    if (c->v_prediction >= 0 && c->v_prediction != is_v)
        return error_set(err, LECO_INVALID, "%s: pretrained_model.v_pred is %s, but %s says %s", c->path,
                         c->v_prediction ? "true" : "false", c->model, is_v ? "v_prediction" : "epsilon");
    if (c->compat == TIMESTEPS_P1ATDEV) { /* the scheduler that P makes, whatever the model's files say */
        schedule.steps_offset = 0;
        schedule.set_alpha_to_one = true;
    }
    LECO_TRY(noise_schedule_create(&schedule, &t->schedule, err));
    denoising *run;
    leco_status status = denoising_create(&sampler_ddim, t->schedule, c->denoising_steps, (latent_size){0}, &run, err);
    denoising_destroy(run);
    if (status != LECO_OK) return error_prefix(err, status, "%s: train.max_denoising_steps", c->path);
    status = device_open(device_name, c->precision, &t->device, err);
    if (status != LECO_UNSUPPORTED || !c->precision || strcmp(c->precision, "bfloat16") != 0) return status;
    log_message(LOG_WARNING, "this processor can't compute in bfloat16; using float32");
    return device_open(device_name, "float32", &t->device, err);
}

static leco_status encode_prompts(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    LECO_TRY(model_load(t->model, MODEL_TEXT_ENCODER, err));
    if (c->clip_skip > t->model->text.layers)
        return error_set(err, LECO_INVALID,
                         "%s: pretrained_model.clip_skip is %lld, but the text encoder has %lld layers", c->path,
                         (long long)c->clip_skip, (long long)t->model->text.layers);
    text_options options = t->model->family->text;
    if (c->clip_skip > 1) options.skip_layers = c->clip_skip - 1;
    LECO_TRY(text_bank_create(&t->device, t->model, NULL, options, &t->bank, err));
    for (size_t i = 0; i < c->prompt_count; i++) {
        const train_prompt *p = &c->prompt[i];
        const char *const texts[] = {p->target, p->positive, p->neutral, p->unconditional};
        for (int k = 0; k < 4; k++) {
            const float *states;
            leco_status status = text_bank_get(t->bank, texts[k], &states, err);
            if (status != LECO_OK) return error_prefix(err, status, "%s", p->place);
        }
    }
    t->text_bytes = workspace_bytes(t->device.workspace);
    text_bank_release_encoder(t->bank);
    model_unload(t->model, PART_TEXT_ENCODER);
    return LECO_OK;
}

static leco_status pair_size(const trainer *t, const train_prompt *p, latent_size *out, leco_error *err)
{
    int64_t factor = vae_factor(&t->model->vae);
    int64_t width = p->width ? p->width : t->model->unet.sample_width * factor;
    int64_t height = p->height ? p->height : t->model->unet.sample_height * factor;
    if (width % factor || height % factor)
        return error_set(err, LECO_INVALID, "%s: resolution: %lldx%lld is not a multiple of %lld pixels", p->place,
                         (long long)width, (long long)height, (long long)factor);
    *out = (latent_size){p->batch_size, height / factor, width / factor, t->model->unet.in_channels};
    return LECO_OK;
}

static leco_status make_buffers(trainer *t, size_t largest, leco_error *err)
{
    size_t samples = (size_t)t->config->samples_per_trajectory;
    t->x = mem_calloc(largest, sizeof(float));
    t->noise = mem_calloc(largest, sizeof(float));
    t->scratch = mem_calloc(largest, sizeof(float));
    t->kept = mem_calloc(samples * largest, sizeof(float));
    t->kept_steps = mem_calloc(samples, sizeof *t->kept_steps);
    if (!t->x || !t->noise || !t->scratch || !t->kept || !t->kept_steps)
        return error_memory(err, (3 + samples) * largest * sizeof(float), "the latents");
    return LECO_OK;
}

static leco_status make_stages(trainer *t, leco_error *err)
{
    const train_config *c = t->config;
    t->pool = (denoiser_pool){
        .device = &t->device, .model = t->model, .trainable = t->trainable, .tokens = text_bank_tokens(t->bank)};
    t->stages = mem_calloc(c->prompt_count, sizeof *t->stages);
    if (!t->stages) return error_memory(err, c->prompt_count * sizeof *t->stages, "the pairs");
    size_t largest = 0;
    for (size_t i = 0; i < c->prompt_count; i++) {
        latent_size size;
        LECO_TRY(pair_size(t, &c->prompt[i], &size, err));
        LECO_TRY(stage_create(&t->pool, t->bank, c, i, size, t->schedule, &t->stages[i], err));
        if (latent_count(size) > largest) largest = latent_count(size);
    }
    return make_buffers(t, largest, err);
}

static leco_status make_optimizer(trainer *t, leco_error *err)
{
    size_t count;
    param *params = trainable_params(t->trainable, &count);
    return optimizer_create(&t->config->optimizer, params, count, &t->optimizer, err);
}

static leco_status prepare(trainer *t, const char *device_name, leco_error *err)
{
    LECO_TRY(open_model(t, device_name, err));
    LECO_TRY(encode_prompts(t, err));
    LECO_TRY(model_load(t->model, MODEL_UNET, err));
    rng_seed(&t->rng, RNG_CPU, t->config->seed);
    const layer_list *layers;
    LECO_TRY(model_layers(t->model, PART_UNET, &layers, err));
    LECO_TRY(trainable_create(layers, &t->config->network, &t->rng, &t->trainable, err));
    LECO_TRY(make_stages(t, err));
    return make_optimizer(t, err);
}

leco_status trainer_create(const train_config *config, const char *device_name, trainer **out, leco_error *err)
{
    *out = NULL;
    trainer *t = mem_calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t, "the trainer");
    t->config = config;
    leco_status status = prepare(t, device_name, err);
    if (status != LECO_OK) {
        trainer_destroy(t);
        return status;
    }
    *out = t;
    return LECO_OK;
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

const noise_schedule *trainer_schedule(const trainer *t)
{
    return t->schedule;
}

latent_size trainer_latents(const trainer *t, size_t prompt)
{
    return t->stages[prompt].size;
}

uint64_t memory_total(const memory_use *use)
{
    return use->weights + use->activations + use->adapter + use->optimizer;
}

static memory_use memory_of(const trainer *t, size_t activations)
{
    return (memory_use){.weights = weights_packed_bytes(t->model->weights[PART_UNET]),
                        .activations = activations,
                        .adapter = trainable_bytes(t->trainable),
                        .optimizer = optimizer_bytes(t->optimizer)};
}

memory_use trainer_planned(const trainer *t)
{
    size_t sessions = denoiser_pool_arena_bytes(&t->pool);
    return memory_of(t, sessions > t->text_bytes ? sessions : t->text_bytes);
}

memory_use trainer_allocated(const trainer *t)
{
    return memory_of(t, workspace_bytes(t->device.workspace));
}

char *trainer_summary(const trainer *t)
{
    const double mib = 1024.0 * 1024.0;
    const memory_use use = trainer_planned(t);
    const train_config *c = t->config;
    const latent_size size = t->stages[0].size;
    const long long factor = vae_factor(&t->model->vae);
    return mem_printf("model      %s (%s, %s)\n"
                      "adapter    LoRA rank %lld, alpha %g, %zu modules, %lld parameters\n"
                      "prompts    %zu (\"%s\"%s), %lldx%lld pixels, batch %lld\n"
                      "training   %lld steps, lr %g, %lld of %lld denoising steps kept a trajectory\n"
                      "memory     %.1f MiB = weights %.1f + activations %.1f + adapter %.1f + optimizer %.1f\n",
                      c->model, dtype_name(t->device.compute), t->device.backend->name, (long long)c->network.rank,
                      (double)c->network.alpha, trainable_module_count(t->trainable),
                      (long long)trainable_parameters(t->trainable), c->prompt_count, c->prompt[0].target,
                      c->prompt_count > 1 ? ", ..." : "", size.width * factor, size.height * factor,
                      (long long)size.batch, (long long)c->iterations, c->lr, (long long)c->samples_per_trajectory,
                      (long long)c->denoising_steps, (double)memory_total(&use) / mib, (double)use.weights / mib,
                      (double)use.activations / mib, (double)use.adapter / mib, (double)use.optimizer / mib);
}

/* ---- training ---- */

leco_status trainer_follow(trainer *t, const trajectory *plan, const float *noise, size_t limit, double *losses,
                           bool (*go_on)(void *user), void *user, leco_error *err)
{
    const train_config *c = t->config;
    stage *s = &t->stages[plan->prompt];
    const float weight_of_pair = (float)c->prompt[plan->prompt].weight;
    const size_t count = latent_count(s->size);
    stage_begin(s);
    denoising_begin(s->run, plan->jitter, &t->rng, 1);
    for (size_t i = 0; i < count; i++) t->x[i] = noise[i] * s->run->noise_scale;
    if (!trajectory_run(&s->generate, s->run, plan, t->x, t->kept, go_on, user))
        return error_set(err, LECO_INTERRUPTED, "stopped");
    for (size_t i = 0; i < plan->kept_count && i < limit; i++) {
        double timestep = trajectory_timestep(s->run, c->compat, plan->kept[i]);
        double loss = stage_learn(s, t->kept + i * count, timestep);
        int64_t done = optimizer_steps(t->optimizer);
        if (!isfinite(loss))
            return error_set(
                err, LECO_INVALID,
                "the loss became %g after %lld steps: train.lr (%g) is too high, or the model overflows in "
                "%s; nothing was saved since",
                loss, (long long)done, c->lr, dtype_name(t->device.compute));
        optimizer_step(t->optimizer, lr_at(c->lr_schedule, c->lr, done, c->iterations), weight_of_pair);
        if (losses) losses[i] = loss * (double)weight_of_pair;
    }
    return LECO_OK;
}

/* The state of one trainer_run. */
typedef struct training_run {
    trainer *t;
    train_callback callback;
    void *user;
    double start;
    train_progress progress;
    train_result *result;
    double first_sum, last_sum;
    int64_t first_count, last_count;
} training_run;

static bool report(training_run *r, const char *saved)
{
    train_progress *p = &r->progress;
    p->seconds = cpu_seconds() - r->start;
    p->seconds_left = p->done > 0 ? p->seconds / (double)p->done * (double)(p->total - p->done) : -1;
    p->saved = saved;
    return !r->callback || r->callback(r->user, p);
}

static bool go_on_denoising(void *user)
{
    return report(user, NULL);
}

static void note_losses(training_run *r, const double *losses, size_t count)
{
    int64_t tenth = (r->progress.total + 9) / 10;
    for (size_t i = 0; i < count; i++) {
        if (r->progress.done < tenth) {
            r->first_sum += losses[i];
            r->first_count++;
        }
        if (r->progress.done >= r->progress.total - tenth) {
            r->last_sum += losses[i];
            r->last_count++;
        }
        r->progress.done++;
        r->progress.loss = losses[i];
    }
}

static leco_status save(training_run *r, bool last, leco_error *err)
{
    char *path = NULL;
    LECO_TRY(save_adapter(r->t->config, r->t->model, r->t->trainable, r->progress.done, last, &path, err));
    mem_free(r->result->path);
    r->result->path = path;
    return LECO_OK;
}

static leco_status run_trajectories(training_run *r, double *losses, leco_error *err)
{
    trainer *t = r->t;
    const train_config *c = t->config;
    int64_t saved_at = 0;
    while (r->progress.done < r->progress.total) {
        trajectory plan = trajectory_draw(&t->rng, c, denoising_jitter_range(t->stages[0].run), t->kept_steps);
        latents_draw(&t->rng, t->scratch, t->noise, t->stages[plan.prompt].size);
        size_t limit = (size_t)(r->progress.total - r->progress.done);
        if (limit > plan.kept_count) limit = plan.kept_count;
        LECO_TRY(trainer_follow(t, &plan, t->noise, limit, losses, go_on_denoising, r, err));
        note_losses(r, losses, limit);
        const char *saved = NULL;
        bool due = c->save_every > 0 && r->progress.done / c->save_every > saved_at / c->save_every;
        if (due && r->progress.done < r->progress.total) {
            LECO_TRY(save(r, false, err));
            saved = r->result->path;
            saved_at = r->progress.done;
        }
        if (!report(r, saved) && r->progress.done < r->progress.total)
            return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

leco_status trainer_run(trainer *t, train_callback callback, void *user, train_result *result, leco_error *err)
{
    *result = (train_result){.first_loss = NAN, .last_loss = NAN};
    LECO_TRY(save_check(t->config, err));
    training_run r = {.t = t, .callback = callback, .user = user, .start = cpu_seconds(), .result = result};
    r.progress = (train_progress){.total = t->config->iterations, .loss = NAN};
    double *losses = mem_calloc((size_t)t->config->samples_per_trajectory, sizeof *losses);
    if (!losses) return error_memory(err, (size_t)t->config->samples_per_trajectory * sizeof *losses, "the losses");

    leco_status status = run_trajectories(&r, losses, err);
    mem_free(losses);
    bool stopped = status == LECO_INTERRUPTED;
    if (status == LECO_OK || (stopped && r.progress.done > 0)) {
        leco_status saved = save(&r, !stopped, err);
        if (saved != LECO_OK) status = saved;
    }
    if (status == LECO_OK) report(&r, result->path);
    result->iterations = r.progress.done;
    result->seconds = cpu_seconds() - r.start;
    if (r.first_count > 0) result->first_loss = r.first_sum / (double)r.first_count;
    if (r.last_count > 0) result->last_loss = r.last_sum / (double)r.last_count;
    return status;
}
