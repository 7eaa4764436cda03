#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/family.h"
#include "train/pace.h"
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
    stage *stages;           /* one a pair */
    size_t text_arena_bytes; /* what the text encoder's phase took of the workspace */
    size_t encoding_bytes;   /* and all in all */
    size_t largest;          /* floats of the largest pair's latents */
    float *x, *kept;         /* of that size: [B,h,w,C], [samples_per_trajectory, B,h,w,C] */
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
    LECO_TRY(train_config_check_model(c, t->model, err));
    if (c->compat == TIMESTEPS_P1ATDEV) { /* the scheduler that P makes, whatever the model's files say */
        schedule.steps_offset = 0;
        schedule.set_alpha_to_one = true;
    }
    LECO_TRY(noise_schedule_create(&schedule, &t->schedule, err));
    denoising *run;
    leco_status status = denoising_create(c->sampler, t->schedule, c->denoising_steps, (latent_size){0}, &run, err);
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
    t->text_arena_bytes = workspace_bytes(t->device.workspace);
    t->encoding_bytes =
        t->text_arena_bytes + text_bank_bytes(t->bank) + weights_packed_bytes(t->model->weights[PART_TEXT_ENCODER]);
    text_bank_release_encoder(t->bank);
    model_unload(t->model, PART_TEXT_ENCODER);
    tokenizer_close(t->model->tokenizer);
    t->model->tokenizer = NULL;
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

static leco_status make_buffers(trainer *t, leco_error *err)
{
    const size_t samples = (size_t)t->config->samples_per_trajectory, largest = t->largest;
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
    for (size_t i = 0; i < c->prompt_count; i++) {
        latent_size size;
        LECO_TRY(pair_size(t, &c->prompt[i], &size, err));
        LECO_TRY(stage_create(&t->pool, t->bank, c, i, size, t->schedule, &t->stages[i], err));
        if (latent_count(size) > t->largest) t->largest = latent_count(size);
    }
    return make_buffers(t, err);
}

static leco_status make_optimizer(trainer *t, leco_error *err)
{
    size_t count;
    param *params = trainable_params(t->trainable, &count);
    return optimizer_create(&t->config->optimizer, params, count, &t->optimizer, err);
}

static leco_status prepare(trainer *t, const char *device_name, leco_error *err)
{
    LECO_TRY(terms_check(t->config, err));
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
    const uint64_t training =
        use->weights + use->activations + use->texts + use->latents + use->graphs + use->adapter + use->optimizer;
    return training > use->encoding ? training : use->encoding;
}

static memory_use memory_of(const trainer *t, size_t activations)
{
    const size_t largest = t->largest, samples = (size_t)t->config->samples_per_trajectory;
    memory_use use = {.weights = weights_packed_bytes(t->model->weights[PART_UNET]),
                      .activations = activations,
                      .texts = text_bank_bytes(t->bank),
                      .latents = (3 + samples) * largest * sizeof(float) + samples * sizeof *t->kept_steps,
                      .graphs = denoiser_pool_bytes(&t->pool),
                      .adapter = trainable_bytes(t->trainable),
                      .optimizer = optimizer_bytes(t->optimizer),
                      .encoding = t->encoding_bytes,
                      .mapped = weights_mapped_bytes(t->model->weights[PART_UNET])};
    for (size_t i = 0; i < t->config->prompt_count; i++) use.latents += stage_bytes(&t->stages[i]);
    return use;
}

memory_use trainer_planned(const trainer *t)
{
    size_t sessions = denoiser_pool_arena_bytes(&t->pool);
    return memory_of(t, sessions > t->text_arena_bytes ? sessions : t->text_arena_bytes);
}

memory_use trainer_allocated(const trainer *t)
{
    return memory_of(t, workspace_bytes(t->device.workspace));
}

char *memory_text(const memory_use *use)
{
    const double mib = 1024.0 * 1024.0, total = (double)memory_total(use) / mib;
    char encoding[96] = "";
    if (memory_total(use) == use->encoding)
        snprintf(encoding, sizeof encoding, "%.1f MiB while the texts are encoded, then ", total);
    return mem_printf(
        "%s%.1f MiB = weights %.1f + activations %.1f + texts %.1f + latents %.1f + graphs %.1f + adapter "
        "%.1f + optimizer %.1f",
        encoding,
        (double)(use->weights + use->activations + use->texts + use->latents + use->graphs + use->adapter +
                 use->optimizer) /
            mib,
        (double)use->weights / mib, (double)use->activations / mib, (double)use->texts / mib,
        (double)use->latents / mib, (double)use->graphs / mib, (double)use->adapter / mib,
        (double)use->optimizer / mib);
}

char *trainer_summary(const trainer *t)
{
    const memory_use use = trainer_planned(t);
    const train_config *c = t->config;
    const latent_size size = t->stages[0].size;
    const long long factor = vae_factor(&t->model->vae);
    char *memory = memory_text(&use);
    if (!memory) return NULL;
    char *text = mem_printf(
        "model      %s (%s, %s)\n"
        "adapter    LoRA rank %lld, alpha %g, %zu modules, %lld parameters\n"
        "prompts    %zu (\"%s\"%s), %lldx%lld pixels, batch %lld\n"
        "training   %lld steps, lr %g, %lld of %lld denoising steps kept a trajectory\n"
        "memory     %s\n"
        "           not counted: the U-Net's file, %.1f MiB of it mapped, which the system takes back where memory is "
        "short;\n"
        "           and what the program and its libraries take for themselves: some 50 MiB, more with a large model\n",
        c->model, dtype_name(t->device.compute), t->device.backend->name, (long long)c->network.rank,
        (double)c->network.alpha, trainable_module_count(t->trainable), (long long)trainable_parameters(t->trainable),
        c->prompt_count, c->prompt[0].target, c->prompt_count > 1 ? ", ..." : "", size.width * factor,
        size.height * factor, (long long)size.batch, (long long)c->iterations, c->lr,
        (long long)c->samples_per_trajectory, (long long)c->denoising_steps, memory,
        (double)use.mapped / (1024.0 * 1024.0));
    mem_free(memory);
    return text;
}

/* ---- training ---- */

static bool all_finite(const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* What is known of a loss that isn't finite: which of the numbers that go into it was the first to be no number. */
static leco_status blame(const trainer *t, const trajectory *plan, const float *x, double loss, leco_error *err)
{
    const train_config *c = t->config;
    const stage *s = &t->stages[plan->prompt];
    const size_t count = latent_count(s->size);
    const long long done = (long long)optimizer_steps(t->optimizer);
    const char *value = isnan(loss) ? "not a number" : "infinite";
    const char *what = !all_finite(x, count)           ? "the latents denoised with the adapter on are not finite"
                       : !all_finite(s->wanted, count) ? "what the model itself predicts is not finite"
                                                       : "the prediction with the adapter on is not finite, or too far "
                                                         "from its target";
    if (done == 0)
        return error_set(err, LECO_INVALID, "%s: the loss of the first step is %s: %s in %s; nothing was trained",
                         c->prompt[plan->prompt].place, value, what, dtype_name(t->device.compute));
    return error_set(err, LECO_INVALID,
                     "%s: the loss is %s after %lld step%s with train.lr %g: %s in %s; the adapter as it is now was "
                     "not saved",
                     c->prompt[plan->prompt].place, value, done, done == 1 ? "" : "s", c->lr, what,
                     dtype_name(t->device.compute));
}

leco_status trainer_follow(trainer *t, const trajectory *plan, const float *noise, size_t limit, double *losses,
                           const train_watch *watch, leco_error *err)
{
    const train_config *c = t->config;
    stage *s = &t->stages[plan->prompt];
    const train_watch nobody = {0}, *w = watch ? watch : &nobody;
    const float weight_of_pair = (float)c->prompt[plan->prompt].weight;
    const size_t count = latent_count(s->size);
    stage_begin(s);
    denoising_begin(s->run, plan->jitter, &t->rng, 1);
    for (size_t i = 0; i < count; i++) t->x[i] = noise[i] * s->run->noise_scale;
    if (!trajectory_run(&s->generate, s->run, plan, t->x, t->kept, w->denoised, w->user))
        return error_set(err, LECO_INTERRUPTED, "stopped");
    for (size_t i = 0; i < plan->kept_count && i < limit; i++) {
        const float *x = t->kept + i * count;
        double loss = stage_learn(s, x, trajectory_timestep(s->run, c->compat, plan->kept[i]));
        if (!isfinite(loss)) return blame(t, plan, x, loss, err);
        optimizer_step(t->optimizer, lr_at(c->lr_schedule, c->lr, optimizer_steps(t->optimizer), c->iterations),
                       weight_of_pair);
        loss *= (double)weight_of_pair;
        if (losses) losses[i] = loss;
        if (w->learnt && !w->learnt(w->user, loss)) return error_set(err, LECO_INTERRUPTED, "stopped");
    }
    return LECO_OK;
}

/* The state of one trainer_run. */
typedef struct training_run {
    trainer *t;
    train_callback callback;
    void *user;
    double start, mark; /* when the run began; when the last piece of work was done */
    pace pace;
    int64_t trajectory_end; /* optimizer steps done when this trajectory is through */
    train_progress progress;
    train_result *result;
    double first_sum, last_sum;
    int64_t first_count, last_count;
} training_run;

/* What is left of this trajectory, and of those to come: as long as they are on average. */
static double seconds_left(const training_run *r)
{
    const train_config *c = r->t->config;
    const train_progress *p = &r->progress;
    const double mean = pace_mean_largest(trajectory_first_step(c), c->denoising_steps, c->samples_per_trajectory);
    double trajectories = (double)(p->total - r->trajectory_end) / (double)c->samples_per_trajectory;
    return pace_seconds(&r->pace, (double)(p->denoised_total - p->denoised) + trajectories * mean,
                        (double)(p->total - p->done));
}

static bool report(training_run *r, const char *saved)
{
    train_progress *p = &r->progress;
    p->seconds = cpu_seconds() - r->start;
    p->seconds_left = seconds_left(r);
    p->saved = saved;
    return !r->callback || r->callback(r->user, p);
}

/* Seconds since the last piece of work. */
static double lap(training_run *r)
{
    double now = cpu_seconds(), seconds = now - r->mark;
    r->mark = now;
    return seconds;
}

static bool on_denoised(void *user)
{
    training_run *r = user;
    r->pace.denoising += lap(r);
    r->pace.denoised++;
    r->progress.denoised++;
    return report(r, NULL);
}

static bool on_learnt(void *user, double loss)
{
    training_run *r = user;
    train_progress *p = &r->progress;
    const int64_t tenth = (p->total + 9) / 10;
    r->pace.learning += lap(r);
    r->pace.learnt++;
    if (p->done < tenth) {
        r->first_sum += loss;
        r->first_count++;
    }
    if (p->done >= p->total - tenth) {
        r->last_sum += loss;
        r->last_count++;
    }
    p->done++;
    p->loss = loss;
    return report(r, NULL) || p->done == p->total; /* after the last step there is nothing to stop */
}

static leco_status save(training_run *r, bool last, leco_error *err)
{
    char *path = NULL;
    LECO_TRY(save_adapter(r->t->config, r->t->model, r->t->trainable, r->progress.done, last, &path, err));
    mem_free(r->result->path);
    r->result->path = path;
    return LECO_OK;
}

static leco_status run_trajectories(training_run *r, leco_error *err)
{
    trainer *t = r->t;
    const train_config *c = t->config;
    train_progress *p = &r->progress;
    const train_watch watch = {on_denoised, on_learnt, r};
    int64_t saved_at = 0;
    while (p->done < p->total) {
        trajectory plan = trajectory_draw(&t->rng, c, denoising_jitter_range(t->stages[0].run), t->kept_steps);
        latents_draw(&t->rng, t->scratch, t->noise, t->stages[plan.prompt].size);
        size_t limit = (size_t)(p->total - p->done);
        if (limit > plan.kept_count) limit = plan.kept_count;
        p->denoised = 0;
        p->denoised_total = plan.kept[plan.kept_count - 1];
        r->trajectory_end = p->done + (int64_t)limit;
        r->mark = cpu_seconds();
        if (p->done == 0 && !report(r, NULL)) return error_set(err, LECO_INTERRUPTED, "stopped");
        LECO_TRY(trainer_follow(t, &plan, t->noise, limit, NULL, &watch, err));
        bool due = c->save_every > 0 && p->done / c->save_every > saved_at / c->save_every;
        if (due && p->done < p->total) {
            LECO_TRY(save(r, false, err));
            saved_at = p->done;
            if (!report(r, r->result->path)) return error_set(err, LECO_INTERRUPTED, "stopped");
        }
    }
    return LECO_OK;
}

leco_status trainer_run(trainer *t, train_callback callback, void *user, train_result *result, leco_error *err)
{
    *result = (train_result){.first_loss = NAN, .last_loss = NAN};
    training_run r = {.t = t, .callback = callback, .user = user, .start = cpu_seconds(), .result = result};
    r.progress = (train_progress){.total = t->config->iterations, .loss = NAN};

    leco_status status = run_trajectories(&r, err);
    bool stopped = status == LECO_INTERRUPTED;
    if (status == LECO_OK || (stopped && r.progress.done > 0)) {
        leco_status saved = save(&r, !stopped, err);
        if (saved != LECO_OK) status = saved;
    }
    if (status == LECO_OK) report(&r, result->path);
    if (status == LECO_INTERRUPTED && r.progress.done == 0)
        error_set(err, status, "stopped before the first step was done: there is nothing to save");
    else if (status == LECO_INTERRUPTED)
        error_set(err, status, "stopped after %lld of %lld steps", (long long)r.progress.done,
                  (long long)r.progress.total);
    result->iterations = r.progress.done;
    result->seconds = cpu_seconds() - r.start;
    if (r.first_count > 0) result->first_loss = r.first_sum / (double)r.first_count;
    if (r.last_count > 0) result->last_loss = r.last_sum / (double)r.last_count;
    return status;
}
