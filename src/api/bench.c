/* Timing a U-Net against the machine's own matrix rate. */
#include "api/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/room.h"
#include "diffusion/denoiser.h"
#include "model/kinds.h"
#include "train/optimizer.h"

enum {
    TOKENS = 77,
    RANK = 4,
    MAX_RUNS = 20,
    MOST_PIXELS = 4096,
    STAGES = 3 /* a precision: forward, training step, the end */
};

/* A bench at work. */
typedef struct bench {
    const leco_bench_options *options;
    bench_result *result;
    int64_t stages_done, stages;
    double start;
    model *model;
    device device;
    rng rng;
    loss_scale scale;
    float *states, *pooled, *x, *target; /* text of one sample; latents of two */
} bench;

static bool ask(const leco_bench_options *o, const leco_progress *p)
{
    IN_HOST_LOCALE;
    return o->progress(o->user, p);
}

static leco_status step_on(bench *b, leco_error *err)
{
    const leco_bench_options *o = b->options;
    const double seconds = cpu_seconds() - b->start;
    const leco_progress p = {.what = "timing",
                             .done = b->stages_done,
                             .total = b->stages,
                             .seconds = seconds,
                             .seconds_left = b->stages_done > 0 ? seconds / (double)b->stages_done *
                                                                      (double)(b->stages - b->stages_done)
                                                                : -1,
                             .loss = NAN};
    b->stages_done++;
    if (!o->progress || ask(o, &p)) return LECO_OK;
    return error_set(err, LECO_INTERRUPTED, "stopped");
}

/* ---- memory of the process ---- */

/* Linux forgets the peak so far when a 5 is written there; elsewhere the peak stays that of the whole process. */
static void reset_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

/* ---- timing ---- */

static leco_status run_once(const bench *b, denoiser *n, bool training, leco_error *err)
{
    double loss;
    return training ? denoiser_run_training(n, b->x, 500, b->target, &loss, err)
                    : denoiser_run(n, b->x, 500, b->target, err);
}

static void add_time(op_time *o, double seconds, double flops)
{
    o->count++;
    o->seconds += seconds;
    o->flops += flops;
}

static shape shape_or_none(const tensor *t)
{
    return t ? t->shape : (shape){0};
}

static void add_to_group(timing *t, const node *n, double seconds, double flops)
{
    const shape_time new = {.op = n->op,
                            .first = shape_or_none(n->input[0]),
                            .second = shape_or_none(n->input[1]),
                            .out = shape_or_none(n->output[0])};
    for (int i = 0; i < t->groups; i++) {
        shape_time *g = &t->group[i];
        if (g->op != new.op || !shape_equal(&g->first, &new.first) || !shape_equal(&g->second, &new.second) ||
            !shape_equal(&g->out, &new.out))
            continue;
        add_time(&g->time, seconds, flops);
        return;
    }
    if (t->groups == MOST_GROUPS) return;
    t->group[t->groups] = new;
    add_time(&t->group[t->groups++].time, seconds, flops);
}

static leco_status time_denoiser(const bench *b, denoiser *n, bool training, timing *t, leco_error *err)
{
    const double enough = 4.0; /* seconds */
    const conditioning text = {.states = b->states, .pooled = b->pooled};
    for (int64_t i = 0; i < denoiser_size(n).batch; i++) denoiser_set_context(n, i, &text);
    LECO_TRY(run_once(b, n, training, err)); /* touches all memory */
    const double begin = cpu_seconds();
    t->batch = denoiser_size(n).batch;
    for (t->runs = 0; t->runs < MAX_RUNS && cpu_seconds() - begin < enough; t->runs++) {
        double start = cpu_seconds();
        LECO_TRY(run_once(b, n, training, err));
        double seconds = cpu_seconds() - start;
        if (t->runs == 0 || seconds < t->seconds) t->seconds = seconds;
    }
    session *s = denoiser_session(n);
    LECO_TRY(session_profile(s, true, err));
    LECO_TRY(run_once(b, n, training, err));
    const double *seconds = session_seconds(s);
    const graph *g = denoiser_graph(n);
    for (size_t i = 0; i < graph_node_count(g); i++) {
        const node *at = graph_node_at(g, i);
        double flops = node_flops(at);
        add_time(&t->op[at->op], seconds[i], flops);
        add_to_group(t, at, seconds[i], flops);
        t->flops += flops;
    }
    return session_profile(s, false, err);
}

static leco_status fill_inputs(bench *b, latent_size pair, leco_error *err)
{
    const size_t states = TOKENS * (size_t)unet_context_width(&b->model->unet), latents = latent_count(pair);
    const size_t pooled = (size_t)unet_pooled_width(&b->model->unet); /* stays 0: a preset has no second encoder */
    b->states = mem_calloc(states, sizeof *b->states);
    if (pooled > 0) b->pooled = mem_calloc(pooled, sizeof *b->pooled);
    b->x = mem_calloc(latents, sizeof *b->x);
    b->target = mem_calloc(latents, sizeof *b->target);
    if (!b->states || (pooled > 0 && !b->pooled) || !b->x || !b->target)
        return error_memory(err, latents * sizeof *b->x, "inputs");
    rng_normal(&b->rng, b->states, states);
    rng_normal(&b->rng, b->x, latents);
    return LECO_OK;
}

/* Both timings with sessions as a training has them: sharing weights and one workspace. */
static leco_status time_both(bench *b, bench_run *run, latent_size one, trainable *t, leco_error *err)
{
    latent_size pair = one;
    pair.batch = 2;
    LECO_TRY(fill_inputs(b, pair, err));
    const adapter_use use = {t, 1.0f};
    const adapter_set adapters = {&use, 1, NULL};
    const denoiser_options forward_options = {.size = pair, .tokens = TOKENS};
    const denoiser_options step_options = {
        .size = one, .tokens = TOKENS, .adapters = &adapters, .trainable = true, .scale = &b->scale};
    denoiser *forward = NULL, *step = NULL;
    leco_status status = denoiser_create(&b->device, b->model, &forward_options, &forward, err);
    if (status == LECO_OK) status = time_denoiser(b, forward, false, &run->forward, err);
    if (status == LECO_OK) status = step_on(b, err);
    if (status == LECO_OK) status = denoiser_create(&b->device, b->model, &step_options, &step, err);
    if (status == LECO_OK) status = time_denoiser(b, step, true, &run->step, err);
    if (status == LECO_OK) {
        uint64_t largest = denoiser_arena_bytes(forward);
        if (denoiser_arena_bytes(step) > largest) largest = denoiser_arena_bytes(step);
        run->weights = weights_packed_bytes(b->model->weights[PART_UNET]);
        run->activations = largest;
        run->adapter = trainable_bytes(t);
        run->allocated = run->weights + workspace_bytes(b->device.workspace) + run->adapter;
    }
    denoiser_destroy(forward);
    denoiser_destroy(step);
    return status;
}

/* With an optimizer, whose states are part of what a training takes. */
static leco_status time_training(bench *b, bench_run *run, latent_size one, leco_error *err)
{
    const trainable_options options = {.kind = &kind_lora, .rank = RANK, .alpha = 1.0f, .exact = DTYPE_F32};
    trainable *t;
    LECO_TRY(trainable_create(b->model, &options, &b->rng, &t, err));
    const flat_params on = flat_params_of(t);
    optimizer *o = NULL;
    const optimizer_options adamw = optimizer_defaults(OPTIMIZER_ADAMW);
    leco_status status = optimizer_create(&adamw, &on, &o, err);
    if (status == LECO_OK) status = time_both(b, run, one, t, err);
    if (status == LECO_OK) {
        run->optimizer = optimizer_bytes(o);
        run->allocated += run->optimizer;
    }
    optimizer_destroy(o);
    trainable_destroy(t);
    return status;
}

static leco_status picture_size(const bench *b, latent_size *one, leco_error *err)
{
    const unet_config *u = &b->model->unet;
    const int factor = (int)vae_factor(&b->model->vae);
    const int width = b->options->width ? b->options->width : (int)u->sample_width * factor;
    const int height = b->options->height ? b->options->height : (int)u->sample_height * factor;
    const int side[] = {width, height}, least = factor > LECO_SMALLEST_SIDE ? factor : LECO_SMALLEST_SIDE;
    for (int i = 0; i < 2; i++)
        if (side[i] < least || side[i] > MOST_PIXELS || side[i] % factor)
            return error_set(err, LECO_INVALID, "a %s of %d pixels: expected a multiple of %d from %d to %d",
                             i == 0 ? "width" : "height", side[i], factor, least, MOST_PIXELS);
    b->result->width = width;
    b->result->height = height;
    *one = (latent_size){1, height / factor, width / factor, b->model->unet.in_channels};
    return LECO_OK;
}

static double matrix_rate(const bench *b, dtype compute)
{
    const backend *on = b->device.backend;
    return on->matrix_rate ? on->matrix_rate(compute) : 0;
}

static leco_status measure(bench *b, bench_run *run, leco_error *err)
{
    LECO_TRY(step_on(b, err));
    reset_peak();
    LECO_TRY(b->options->preset ? model_preset(b->options->preset, &b->model, err)
                                : model_open(b->options->model, &b->model, err));
    LECO_TRY(device_open(b->options->device, dtype_name(run->compute), &b->device, err));
    if (b->options->int8) LECO_TRY(device_narrow(&b->device, b->model, err));
    LECO_TRY(model_load(b->model, MODEL_UNET, err));
    latent_size one = {0};
    LECO_TRY(picture_size(b, &one, err));
    rng_seed(&b->rng, RNG_CPU, 0);
    LECO_TRY(room_for_threads(err));
    LECO_TRY(room_for_kernels(err));
    if (b->device.backend->device_name) b->result->device = b->device.backend->device_name();
    run->rate_before = matrix_rate(b, run->compute);
    LECO_TRY(time_training(b, run, one, err));
    LECO_TRY(step_on(b, err));
    run->peak_resident = mem_peak_resident();
    LECO_TRY(room_for_kernels(err));
    run->rate_after = matrix_rate(b, run->compute);
    return LECO_OK;
}

static void clear(bench *b)
{
    model_close(b->model);
    device_close(&b->device);
    mem_free(b->states);
    mem_free(b->pooled);
    mem_free(b->x);
    mem_free(b->target);
    b->model = NULL;
    b->states = b->pooled = b->x = b->target = NULL;
}

/* The precisions to time; beside float32 what the device likes best, where that is another. device_open refuses one
 * that it hasn't. */
static leco_status choose_precisions(const leco_bench_options *o, bench_result *result, leco_error *err)
{
    device d;
    if (!o->precision) {
        LECO_TRY(device_open(o->device, NULL, &d, err));
        result->run[result->count++].compute = DTYPE_F32;
        if (d.compute != DTYPE_F32) result->run[result->count++].compute = d.compute;
        device_close(&d);
        return LECO_OK;
    }
    LECO_TRY(device_precision(o->precision, &result->run[0].compute, err));
    result->count = 1;
    return LECO_OK;
}

leco_status leco_bench(const leco_bench_options *options, char **text, leco_error *err)
{
    IN_C_LOCALE;
    if (!options->model == !options->preset)
        return error_set(err, LECO_INVALID, "a bench needs either a model's folder or a preset");
    bench_result result = {.model = options->preset ? options->preset : options->model,
                           .device = cpu_level_name(cpu_detect())};
    LECO_TRY(choose_precisions(options, &result, err));
    bench b = {.options = options,
               .result = &result,
               .stages = (int64_t)result.count * STAGES,
               .start = cpu_seconds(),
               .scale = loss_scale_start()};
    for (int i = 0; i < result.count; i++) {
        leco_status status = measure(&b, &result.run[i], err);
        clear(&b);
        if (status != LECO_OK) return status;
    }
    return bench_report(&result, options->json, text, err);
}
