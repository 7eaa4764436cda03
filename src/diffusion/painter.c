#include "diffusion/painter.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "diffusion/decoder.h"
#include "diffusion/guidance.h"

/* Sessions that draw `size.batch` pictures of one size. */
typedef struct easel {
    latent_size size;       /* of the pictures */
    int64_t denoiser_batch; /* guided_batch of them */
    denoiser *denoiser;
    decoder *decoder;
    uint64_t budget;
    planned_memory planned; /* with the text encoders, and whatever else was wanted of the model before */
} easel;

enum { EASELS = 2 };         /* a full batch and the rest of the pictures */
enum { SMALLEST_TILE = 16 }; /* latents along a side: with less, tiles tell too little of what is around them */

struct painter {
    const device *device;
    model *model;
    const noise_schedule *schedule;
    adapter_use *use;
    adapter_set adapters;
    conditioner *conditioner;
    easel easel[EASELS];
    int next_easel;
};

static void easel_clear(easel *e)
{
    denoiser_destroy(e->denoiser);
    decoder_destroy(e->decoder);
    *e = (easel){0};
}

void painter_destroy(painter *p)
{
    if (!p) return;
    for (int i = 0; i < EASELS; i++) easel_clear(&p->easel[i]);
    conditioner_destroy(p->conditioner);
    mem_free(p->use);
    mem_free(p);
}

static leco_status copy_adapters(painter *p, const adapter_set *adapters, leco_error *err)
{
    if (!adapters || adapters->count == 0) return LECO_OK;
    p->use = mem_calloc(adapters->count, sizeof *p->use);
    if (!p->use) return error_memory(err, adapters->count * sizeof *p->use, "the LoRAs");
    memcpy(p->use, adapters->use, adapters->count * sizeof *p->use);
    p->adapters = (adapter_set){.use = p->use, .count = adapters->count};
    return LECO_OK;
}

leco_status painter_create(const device *d, model *m, const noise_schedule *schedule, const adapter_set *adapters,
                           text_options options, painter **out, leco_error *err)
{
    *out = NULL;
    LECO_TRY(model_load(m, MODEL_ALL, err));
    painter *p = mem_calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "a painter");
    *p = (painter){.device = d, .model = m, .schedule = schedule};
    leco_status status = copy_adapters(p, adapters, err);
    if (status == LECO_OK) status = conditioner_create(d, m, &p->adapters, options, &p->conditioner, err);
    if (status != LECO_OK) {
        painter_destroy(p);
        return status;
    }
    *out = p;
    return LECO_OK;
}

void painter_forget_texts(painter *p)
{
    conditioner_clear(p->conditioner);
}

/* ---- sessions ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static planned_memory count_memory(const painter *p, const easel *e)
{
    const model *m = p->model;
    return (planned_memory){
        .weights = weights_planned_bytes(m->weights[PART_UNET]) + weights_planned_bytes(m->weights[PART_VAE]) +
                   model_text_bytes(m, weights_planned_bytes),
        .activations = larger(conditioner_arena_bytes(p->conditioner),
                              larger(denoiser_arena_bytes(e->denoiser), decoder_arena_bytes(e->decoder))),
        .graphs = conditioner_encoder_bytes(p->conditioner) + denoiser_bytes(e->denoiser) + decoder_bytes(e->decoder)};
}

/* Beyond the budget pictures are decoded in tiles, as small as it takes. */
static leco_status keep_to_budget(const painter *p, easel *e, leco_error *err)
{
    const double mib = 1024.0 * 1024.0;
    const size_t whole = planned_total(&e->planned);
    int64_t tile = e->size.height > e->size.width ? e->size.height : e->size.width;
    while (e->budget && planned_total(&e->planned) > e->budget && tile > SMALLEST_TILE) {
        decoder_destroy(e->decoder);
        e->decoder = NULL;
        tile = tile > 2 * SMALLEST_TILE ? tile / 2 : SMALLEST_TILE;
        LECO_TRY(decoder_plan(p->device, p->model, e->size, tile, &e->decoder, err));
        e->planned = count_memory(p, e);
    }
    const size_t needed = planned_total(&e->planned);
    if (e->budget && needed > e->budget) {
        char parts[PLANNED_ROOM];
        planned_parts(&e->planned, parts);
        return error_set(err, LECO_MEMORY,
                         "the budget of %.1f MiB is %.1f MiB too little: this drawing needs %.1f MiB = %s; a smaller "
                         "size or batch needs less",
                         floor(10 * (double)e->budget / mib) / 10, ceil(10 * (double)(needed - e->budget) / mib) / 10,
                         ceil(10 * (double)needed / mib) / 10, parts);
    }
    if (needed < whole)
        log_message(LOG_INFO,
                    "to stay within the budget, pictures are decoded in tiles of %lld pixels: %.1f MiB instead of %.1f",
                    (long long)(tile * vae_factor(&p->model->vae)), (double)needed / mib, (double)whole / mib);
    return LECO_OK;
}

/* Plans; nothing is taken yet. */
static leco_status make_easel(painter *p, latent_size size, float scale, uint64_t budget, easel *e, leco_error *err)
{
    *e = (easel){.size = size, .denoiser_batch = guided_batch(size.batch, scale), .budget = budget};
    denoiser_options options = {.size = size, .tokens = conditioner_tokens(p->conditioner), .adapters = &p->adapters};
    options.size.batch = e->denoiser_batch;
    leco_status status = denoiser_plan(p->device, p->model, &options, &e->denoiser, err);
    if (status == LECO_OK) status = decoder_plan(p->device, p->model, size, 0, &e->decoder, err);
    if (status == LECO_OK) {
        e->planned = count_memory(p, e);
        status = keep_to_budget(p, e, err);
    }
    if (status != LECO_OK) easel_clear(e);
    return status;
}

static leco_status get_easel(painter *p, latent_size size, float scale, uint64_t budget, easel **out, leco_error *err)
{
    for (int i = 0; i < EASELS; i++) {
        easel *e = &p->easel[i];
        if (e->denoiser && e->denoiser_batch == guided_batch(size.batch, scale) &&
            memcmp(&e->size, &size, sizeof size) == 0 && e->budget == budget) {
            *out = e;
            return LECO_OK;
        }
    }
    easel *e = &p->easel[p->next_easel];
    p->next_easel = (p->next_easel + 1) % EASELS;
    easel_clear(e);
    LECO_TRY(make_easel(p, size, scale, budget, e, err));
    *out = e;
    return LECO_OK;
}

/* ---- drawing ---- */

/* One batch on its way: pictures [first, first + size.batch). */
typedef struct batch_run {
    painter *painter;
    const painting *what;
    easel *easel;
    guided guided;
    denoising *run;
    size_t first;
    rng *rng; /* [batch] one a picture */
    float *x;
    uint8_t *rgb;
} batch_run;

static leco_status get_negative(batch_run *b, const picture_text *text, conditioning *out, leco_error *err)
{
    conditioner *c = b->painter->conditioner;
    return text->negative ? conditioner_get(c, text->negative, out, err) : conditioner_get_none(c, out, err);
}

static leco_status set_texts(batch_run *b, leco_error *err)
{
    conditioning negative, positive;
    for (int64_t i = 0; i < b->easel->size.batch; i++) {
        const picture_text *text = &b->what->text[b->first + (size_t)i];
        LECO_TRY(get_negative(b, text, &negative, err));
        LECO_TRY(conditioner_get(b->painter->conditioner, text->prompt, &positive, err));
        conditioning_set_size(&negative, b->what->height, b->what->width, (picture_crop){0});
        conditioning_set_size(&positive, b->what->height, b->what->width, (picture_crop){0});
        guided_set_context(&b->guided, i, &negative, &positive);
    }
    return LECO_OK;
}

static void start_latents(batch_run *b)
{
    const painting *what = b->what;
    const int64_t batch = b->easel->size.batch;
    for (int64_t i = 0; i < batch; i++) rng_seed(&b->rng[i], what->rng, what->seed + b->first + (size_t)i);
    denoising_begin(b->run, 0, b->rng, (size_t)batch);
    if (what->latents)
        memcpy(b->x, what->latents + b->first * latent_stride(b->easel->size), b->run->count * sizeof *b->x);
    else
        denoising_noise(b->run, b->x);
    for (size_t i = 0; i < b->run->count; i++) b->x[i] *= b->run->noise_scale;
}

static leco_status denoise(batch_run *b, leco_error *err)
{
    const painting *what = b->what;
    for (int64_t step = 0; step < b->run->steps; step++) {
        if (what->go_on && !what->go_on(what->user, b->first, b->easel->size.batch, step))
            return error_set(err, LECO_INTERRUPTED, "stopped");
        LECO_TRY(guided_step(&b->guided, b->run, step, b->x, err));
    }
    const size_t bad = number_first_bad(b->x, b->run->count);
    if (bad == b->run->count) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "the latents became %g: the model overflows in %s, or a LoRA's weight is too large",
                     number_shown(b->x[bad]), dtype_name(b->painter->device->compute));
}

static leco_status run_batch(batch_run *b, size_t *done, leco_error *err)
{
    const painting *what = b->what;
    LECO_TRY(set_texts(b, err));
    start_latents(b);
    LECO_TRY(denoise(b, err));
    LECO_TRY(decoder_run(b->easel->decoder, b->x, b->rgb, err));
    const size_t bytes = 3 * (size_t)what->width * (size_t)what->height;
    for (size_t i = 0; i < (size_t)b->easel->size.batch; i++) {
        LECO_TRY(what->keep(what->user, b->first + i, b->rgb + i * bytes, err));
        ++*done;
    }
    return LECO_OK;
}

static leco_status prepare_batch(batch_run *b, latent_size size, leco_error *err)
{
    painter *p = b->painter;
    const painting *what = b->what;
    const size_t bytes = 3 * (size_t)what->width * (size_t)what->height;
    LECO_TRY(get_easel(p, size, what->guidance_scale, what->budget, &b->easel, err));
    LECO_TRY(denoiser_prepare(b->easel->denoiser, err));
    LECO_TRY(decoder_prepare(b->easel->decoder, err));
    b->x = mem_calloc(latent_count(size), sizeof *b->x);
    b->rng = mem_calloc((size_t)size.batch, sizeof *b->rng);
    b->rgb = mem_calloc((size_t)size.batch, bytes);
    if (!b->x || !b->rng || !b->rgb) return error_memory(err, (size_t)size.batch * bytes, "the pictures");
    LECO_TRY(denoising_create(&what->sampling, p->schedule, size, &b->run, err));
    return guided_create(b->easel->denoiser, what->guidance_scale, &b->guided, err);
}

leco_status painter_draw(painter *p, const painting *what, size_t *done, leco_error *err)
{
    const int64_t factor = vae_factor(&p->model->vae);
    *done = 0;
    while (*done < what->count) {
        const size_t left = what->count - *done, batch = left < (size_t)what->batch ? left : (size_t)what->batch;
        const latent_size size = {(int64_t)batch, what->height / factor, what->width / factor,
                                  p->model->unet.in_channels};
        batch_run b = {.painter = p, .what = what, .first = *done};
        leco_status status = prepare_batch(&b, size, err);
        if (status == LECO_OK) status = run_batch(&b, done, err);
        if (b.easel) planned_explain(&b.easel->planned, "this drawing", status, err);
        guided_free(&b.guided);
        denoising_destroy(b.run);
        mem_free(b.x);
        mem_free(b.rng);
        mem_free(b.rgb);
        LECO_TRY(status);
    }
    return LECO_OK;
}
