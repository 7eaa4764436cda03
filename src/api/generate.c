#include <math.h>
#include <string.h>
#include <time.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "format/safetensors.h"
#include "model/family.h"

leco_generate_options leco_generate_defaults(void)
{
    return (leco_generate_options){.images_per_prompt = 1,
                                   .batch = LECO_DEFAULT_BATCH,
                                   .steps = LECO_DEFAULT_STEPS,
                                   .guidance_scale = LECO_DEFAULT_GUIDANCE_SCALE,
                                   .scheduler = LECO_DEFAULT_SCHEDULER,
                                   .seed = LECO_DEFAULT_SEED,
                                   .rng = LECO_DEFAULT_RNG};
}

const char *leco_scheduler_name(size_t index)
{
    const sampler *s = sampler_at(index);
    return s ? s->name : NULL;
}

/* ---- checks ---- */

static rng_kind rng_of(const leco_generate_options *o)
{
    return o->rng && strcmp(o->rng, "cuda") == 0 ? RNG_CUDA : RNG_CPU;
}

static leco_status check_numbers(const leco_generate_options *o, leco_error *err)
{
    if (!o->prompts || o->prompt_count == 0) return error_set(err, LECO_INVALID, "no prompts given");
    if (o->images_per_prompt < 1 || o->images_per_prompt > 100000)
        return error_set(err, LECO_INVALID, "%d pictures a prompt: expected 1 to 100000", o->images_per_prompt);
    if (o->batch < 1 || o->batch > 256)
        return error_set(err, LECO_INVALID, "a batch of %d: expected 1 to 256", o->batch);
    if (!isfinite(o->guidance_scale) || fabs(o->guidance_scale) > 1000)
        return error_set(err, LECO_INVALID, "a guidance scale of %g: expected -1000 to 1000",
                         number_shown(o->guidance_scale));
    if (o->rng && strcmp(o->rng, "cpu") != 0 && strcmp(o->rng, "cuda") != 0)
        return error_set(err, LECO_INVALID, "rng \"%s\" is not known; there are \"cpu\" and \"cuda\"", o->rng);
    const size_t pictures = o->prompt_count * (size_t)o->images_per_prompt;
    if (o->seed > 0 && pictures > 1 && (uint64_t)(pictures - 1) > (uint64_t)(INT64_MAX - o->seed))
        return error_set(err, LECO_INVALID, "a seed of %lld leaves no larger ones for the other pictures",
                         (long long)o->seed);
    if (o->seed < -1) return error_set(err, LECO_INVALID, "a seed of %lld: expected -1 or more", (long long)o->seed);
    return LECO_OK;
}

leco_status draw_check(const leco_model *handle, const leco_generate_options *o, draw_request *request, leco_error *err)
{
    LECO_TRY(check_numbers(o, err));
    *request = (draw_request){.options = o, .width = o->width, .height = o->height, .seed = o->seed, .what = "drawing"};
    request->sampling = (sampling){.steps = o->steps, .spacing = handle->model->schedule.spacing, .karras = o->karras};
    LECO_TRY(sampler_parse(o->scheduler ? o->scheduler : LECO_DEFAULT_SCHEDULER, &request->sampling.sampler, err));
    if (o->spacing) LECO_TRY(spacing_parse(o->spacing, &request->sampling.spacing, err));
    denoising *run;
    LECO_TRY(denoising_plan(&request->sampling, handle->schedule, (latent_size){0}, &run, err));
    request->model_runs = sampling_runs(&request->sampling);
    denoising_destroy(run);
    LECO_TRY(model_picture_size(handle, &request->width, &request->height, err));
    if (request->seed == -1) request->seed = (int64_t)(time(NULL) % 4294967296);
    request->overall = o->prompt_count * (size_t)o->images_per_prompt;
    request->start = cpu_seconds();
    return draw_choose_texts(request, err);
}

leco_status leco_generate_check(const leco_model *handle, const leco_generate_options *options, leco_error *err)
{
    IN_C_LOCALE;
    draw_request request = {0};
    leco_status status = draw_check(handle, options, &request, err);
    draw_request_free(&request);
    return status;
}

/* ---- given noise ---- */

/* The file's "latents" [n,C,h,w] as [n,h,w,C]. Its size counts where no other was asked for. */
static leco_status read_latents(const leco_model *handle, draw_request *request, float **out, leco_error *err)
{
    const leco_generate_options *o = request->options;
    const int64_t channels = handle->model->unet.in_channels;
    const int factor = (int)vae_factor(&handle->model->vae);
    safetensors *file;
    LECO_TRY(safetensors_open(o->latents, &file, err));
    const safetensors_entry *e;
    const int64_t expected[] = {(int64_t)request->overall, channels, o->height ? request->height / factor : -1,
                                o->width ? request->width / factor : -1};
    leco_status status = safetensors_require(file, "latents", 4, expected, &e, err);
    if (status == LECO_OK && (e->type == DTYPE_I32 || e->type == DTYPE_I64))
        status = error_set(err, LECO_FORMAT, "%s: tensor \"latents\" is %s, expected a floating type", o->latents,
                           dtype_name(e->type));
    if (status == LECO_OK && (e->count == 0 || e->shape[2] > 1024 || e->shape[3] > 1024))
        status = error_set(err, LECO_FORMAT, "%s: tensor \"latents\" is empty or too large", o->latents);
    float *nchw = NULL, *nhwc = NULL;
    if (status == LECO_OK) {
        nchw = mem_calloc(e->count, sizeof *nchw);
        nhwc = mem_calloc(e->count, sizeof *nhwc);
        if (!nchw || !nhwc) status = error_memory(err, 2 * e->count * sizeof *nchw, "latents");
    }
    if (status == LECO_OK) {
        dtype_convert(nchw, DTYPE_F32, e->data, e->type, e->count);
        latents_from_nchw(nchw, nhwc, (latent_size){e->shape[0], e->shape[2], e->shape[3], channels});
        request->height = (int)e->shape[2] * factor;
        request->width = (int)e->shape[3] * factor;
    }
    mem_free(nchw);
    safetensors_close(file);
    if (status == LECO_OK)
        *out = nhwc;
    else
        mem_free(nhwc);
    return status;
}

/* ---- drawing ---- */

/* A drawing on its way: what the painter's callbacks see. */
typedef struct drawing {
    leco_model *handle;
    const draw_request *request;
    leco_images *images;
} drawing;

static bool go_on(void *user, size_t first, int64_t batch, int64_t step)
{
    const drawing *d = user;
    const leco_generate_options *o = d->request->options;
    const int64_t runs = d->request->model_runs;
    if (!o->progress) return true;
    const size_t done = d->request->before + first;
    const double part = (double)done + (double)batch * (double)step / (double)runs;
    leco_progress p = {.what = d->request->what,
                       .done = (int64_t)done,
                       .total = (int64_t)d->request->overall,
                       .seconds = cpu_seconds() - d->request->start,
                       .seconds_left = -1,
                       .loss = NAN,
                       .part = "denoising",
                       .part_done = step,
                       .part_total = runs};
    if (part > 0) p.seconds_left = p.seconds / part * ((double)d->request->overall - part);
    IN_HOST_LOCALE;
    return o->progress(o->user, &p);
}

static leco_status keep(void *user, size_t index, const uint8_t *rgb, leco_error *err)
{
    const drawing *d = user;
    const draw_request *q = d->request;
    const size_t bytes = 3 * (size_t)q->width * (size_t)q->height;
    leco_image *picture = &d->images->image[index];
    *picture = (leco_image){q->width, q->height, mem_calloc(1, bytes)};
    d->images->parameters[index] =
        generation_parameters(d->handle, q, &q->texts[index], (int64_t)((uint64_t)q->seed + index));
    d->images->prompts[index] = mem_strdup(q->texts[index].prompt);
    if (!picture->rgb || !d->images->parameters[index] || !d->images->prompts[index])
        return error_memory(err, bytes, "a picture");
    memcpy(picture->rgb, rgb, bytes);
    return LECO_OK;
}

static leco_status get_painter(leco_model *handle, leco_error *err)
{
    if (handle->painter) return LECO_OK;
    const size_t count = handle->lora_count + handle->embedding_count;
    adapter_use *use = mem_calloc(count, sizeof *use);
    if (!use) return error_memory(err, count * sizeof *use, "the LoRAs");
    const adapter_set adapters = model_adapters(handle, use);
    leco_status status = painter_create(&handle->device, handle->model, handle->schedule, &adapters,
                                        handle->model->states, &handle->painter, err);
    mem_free(use);
    return status;
}

/* The folder's scheduler may be made for another sampler; the noise schedule in it counts all the same. Logged with a
 * model's first drawing only. */
static void tell_of_sampler(leco_model *handle)
{
    const schedule_config *s = &handle->model->schedule;
    const char *const file = "scheduler/scheduler_config.json";
    if (handle->told_of_sampler) return;
    handle->told_of_sampler = true;
    if (s->clip_sample)
        log_message(LOG_WARNING,
                    "%s/%s: key \"clip_sample\": true is not followed; Stable Diffusion's latents don't bear it",
                    handle->model->folder, file);
}

leco_status draw_pictures(leco_model *handle, const draw_request *request, leco_images *images, size_t *done,
                          leco_error *err)
{
    const leco_generate_options *o = request->options;
    *done = 0;
    tell_of_sampler(handle);
    if (handle->threads != cpu_threads()) { /* leco_set_threads was called, or this is a parallel region */
        painter_destroy(handle->painter);
        handle->painter = NULL;
        handle->threads = cpu_threads();
    }
    LECO_TRY(get_painter(handle, err));
    drawing d = {handle, request, images};
    const painting what = {.text = request->texts,
                           .count = o->prompt_count * (size_t)o->images_per_prompt,
                           .sampling = request->sampling,
                           .guidance_scale = (float)o->guidance_scale,
                           .height = request->height,
                           .width = request->width,
                           .batch = o->batch,
                           .budget = o->memory,
                           .rng = rng_of(o),
                           .seed = (uint64_t)request->seed,
                           .latents = request->latents,
                           .go_on = go_on,
                           .keep = keep,
                           .user = &d};
    LECO_TRY(painter_draw(handle->painter, &what, done, err));
    return model_unchanged(handle->model, err);
}

leco_status leco_generate(leco_model *handle, const leco_generate_options *options, leco_images *images,
                          leco_error *err)
{
    IN_C_LOCALE;
    draw_request request = {0};
    float *latents = NULL;
    leco_images made = {0};
    size_t done = 0;
    leco_status status = draw_check(handle, options, &request, err);
    if (status == LECO_OK && options->latents) status = read_latents(handle, &request, &latents, err);
    request.latents = latents;
    if (status == LECO_OK) status = images_create(request.overall, &made, err);
    if (status == LECO_OK) status = draw_pictures(handle, &request, &made, &done, err);
    mem_free(latents);
    draw_request_free(&request);
    made.count = status == LECO_INTERRUPTED || status == LECO_OK ? done : made.count;
    if (status == LECO_OK || status == LECO_INTERRUPTED)
        *images = made;
    else
        leco_images_free(&made);
    return status;
}
