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

leco_generate_options leco_generate_defaults(void)
{
    return (leco_generate_options){.negative = "",
                                   .images_per_prompt = 1,
                                   .batch = 4,
                                   .steps = 25,
                                   .guidance_scale = 7.5,
                                   .scheduler = "ddim",
                                   .seed = 0,
                                   .rng = "cpu"};
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
    if (o->scheduler && strcmp(o->scheduler, "ddim") != 0)
        return error_set(err, LECO_INVALID, "scheduler \"%s\" is not known; there is \"ddim\"", o->scheduler);
    if (o->rng && strcmp(o->rng, "cpu") != 0 && strcmp(o->rng, "cuda") != 0)
        return error_set(err, LECO_INVALID, "rng \"%s\" is not known; there are \"cpu\" and \"cuda\"", o->rng);
    if (o->seed < -1) return error_set(err, LECO_INVALID, "a seed of %lld: expected -1 or more", (long long)o->seed);
    return LECO_OK;
}

leco_status draw_check(const leco_model *handle, const leco_generate_options *o, draw_request *request, leco_error *err)
{
    LECO_TRY(check_numbers(o, err));
    ddim walk;
    LECO_TRY(ddim_start(handle->schedule, o->steps, 0, &walk, err));
    *request = (draw_request){.options = o, .width = o->width, .height = o->height, .seed = o->seed, .what = "drawing"};
    LECO_TRY(model_picture_size(handle, &request->width, &request->height, err));
    if (request->seed == -1) request->seed = (int64_t)(time(NULL) % 4294967296);
    request->overall = o->prompt_count * (size_t)o->images_per_prompt;
    request->start = cpu_seconds();
    return LECO_OK;
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

/* ---- sessions ---- */

static leco_status make_drawing(leco_model *handle, latent_size size, bool pair, drawing *d, leco_error *err)
{
    adapter_use *use = mem_calloc(handle->lora_count, sizeof *use);
    if (!use) return error_memory(err, handle->lora_count * sizeof *use, "the LoRAs");
    const adapter_set adapters = model_adapters(handle, use);
    denoiser_options options = {.size = size, .tokens = text_bank_tokens(handle->bank), .adapters = &adapters};
    if (pair) options.size.batch *= 2;
    *d = (drawing){.size = size, .guided_pair = pair};
    leco_status status = denoiser_create(&handle->device, handle->model, &options, &d->denoiser, err);
    if (status == LECO_OK) status = decoder_create(&handle->device, handle->model, size, &d->decoder, err);
    mem_free(use);
    if (status == LECO_OK) return LECO_OK;
    denoiser_destroy(d->denoiser);
    *d = (drawing){0};
    return status;
}

static leco_status get_drawing(leco_model *handle, latent_size size, bool pair, drawing **out, leco_error *err)
{
    for (int i = 0; i < DRAWINGS; i++) {
        drawing *d = &handle->drawing[i];
        if (d->denoiser && d->guided_pair == pair && memcmp(&d->size, &size, sizeof size) == 0) {
            *out = d;
            return LECO_OK;
        }
    }
    drawing *d = &handle->drawing[handle->next_drawing];
    handle->next_drawing = (handle->next_drawing + 1) % DRAWINGS;
    denoiser_destroy(d->denoiser);
    decoder_destroy(d->decoder);
    *d = (drawing){0};
    LECO_TRY(make_drawing(handle, size, pair, d, err));
    *out = d;
    return LECO_OK;
}

static leco_status get_bank(leco_model *handle, leco_error *err)
{
    if (handle->bank) return LECO_OK;
    adapter_use *use = mem_calloc(handle->lora_count, sizeof *use);
    if (!use) return error_memory(err, handle->lora_count * sizeof *use, "the LoRAs");
    const adapter_set adapters = model_adapters(handle, use);
    leco_status status =
        text_bank_create(&handle->device, handle->model, &adapters, (text_options){0}, &handle->bank, err);
    mem_free(use);
    return status;
}

/* ---- drawing ---- */

/* One batch on its way: pictures [first, first + size.batch) of the request. */
typedef struct batch_run {
    leco_model *handle;
    const draw_request *request;
    drawing *drawing;
    guided guided;
    ddim walk;
    size_t first;
    float *x;
} batch_run;

static bool report(const batch_run *b, int64_t step)
{
    const leco_generate_options *o = b->request->options;
    if (!o->progress) return true;
    const size_t done = b->request->before + b->first;
    const double part = (double)done + (double)b->drawing->size.batch * (double)step / (double)o->steps;
    leco_progress p = {.what = b->request->what,
                       .done = (int64_t)done,
                       .total = (int64_t)b->request->overall,
                       .seconds = cpu_seconds() - b->request->start,
                       .seconds_left = -1,
                       .loss = NAN,
                       .part = "denoising",
                       .part_done = step,
                       .part_total = o->steps};
    if (part > 0) p.seconds_left = p.seconds / part * ((double)b->request->overall - part);
    IN_HOST_LOCALE;
    return o->progress(o->user, &p);
}

static int64_t seed_of(const draw_request *request, size_t index)
{
    return (int64_t)((uint64_t)request->seed + index);
}

static leco_status start_latents(batch_run *b, leco_error *err)
{
    latent_size one = b->drawing->size;
    one.batch = 1;
    const size_t stride = latent_stride(one);
    if (b->request->latents) {
        memcpy(b->x, b->request->latents + b->first * stride, (size_t)b->drawing->size.batch * stride * sizeof *b->x);
        return LECO_OK;
    }
    float *scratch = mem_calloc(stride, sizeof *scratch);
    if (!scratch) return error_memory(err, stride * sizeof *scratch, "noise");
    for (int64_t i = 0; i < b->drawing->size.batch; i++) {
        rng r;
        rng_seed(&r, rng_of(b->request->options), (uint64_t)seed_of(b->request, b->first + (size_t)i));
        latents_draw(&r, scratch, b->x + (size_t)i * stride, one);
    }
    mem_free(scratch);
    return LECO_OK;
}

static leco_status set_texts(batch_run *b, leco_error *err)
{
    const leco_generate_options *o = b->request->options;
    const float *negative;
    LECO_TRY(text_bank_get(b->handle->bank, o->negative ? o->negative : "", &negative, err));
    for (int64_t i = 0; i < b->drawing->size.batch; i++) {
        const float *positive;
        const char *prompt = o->prompts[(b->first + (size_t)i) / (size_t)o->images_per_prompt];
        LECO_TRY(text_bank_get(b->handle->bank, prompt, &positive, err));
        guided_set_context(&b->guided, i, negative, positive);
    }
    return LECO_OK;
}

static leco_status keep_pictures(batch_run *b, leco_images *images, leco_error *err)
{
    const draw_request *q = b->request;
    const size_t bytes = 3 * (size_t)q->width * (size_t)q->height, batch = (size_t)b->drawing->size.batch;
    uint8_t *rgb = mem_calloc(batch, bytes);
    if (!rgb) return error_memory(err, batch * bytes, "the pictures");
    decoder_run(b->drawing->decoder, b->x, rgb);
    leco_status status = LECO_OK;
    for (size_t i = 0; i < batch && status == LECO_OK; i++) {
        const size_t index = b->first + i;
        leco_image *picture = &images->image[index];
        const char *prompt = q->options->prompts[index / (size_t)q->options->images_per_prompt];
        *picture = (leco_image){q->width, q->height, mem_calloc(1, bytes)};
        images->parameters[index] = generation_parameters(b->handle, q, prompt, seed_of(q, index));
        if (!picture->rgb || !images->parameters[index])
            status = error_memory(err, bytes, "a picture");
        else
            memcpy(picture->rgb, rgb + i * bytes, bytes);
    }
    mem_free(rgb);
    return status;
}

static leco_status run_batch(batch_run *b, leco_images *images, leco_error *err)
{
    LECO_TRY(set_texts(b, err));
    LECO_TRY(start_latents(b, err));
    for (int64_t step = 0; step < b->walk.steps; step++) {
        if (!report(b, step)) return error_set(err, LECO_INTERRUPTED, "stopped");
        guided_step(&b->guided, &b->walk, step, b->x);
    }
    const size_t count = latent_count(b->drawing->size);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(b->x[i]))
            return error_set(err, LECO_INVALID,
                             "the latents became %g: the model overflows in %s, or a LoRA's weight is too large",
                             number_shown(b->x[i]), dtype_name(b->handle->device.compute));
    return keep_pictures(b, images, err);
}

/* The folder's scheduler may be made for another sampler; the noise schedule in it counts all the same. Logged with a
 * model's first drawing only. */
static void tell_of_sampler(leco_model *handle)
{
    const schedule_config *s = &handle->model->schedule;
    const char *const file = "scheduler/scheduler_config.json";
    if (handle->told_of_sampler) return;
    handle->told_of_sampler = true;
    if (s->spacing != SPACING_LEADING)
        log_message(LOG_WARNING, "%s/%s: key \"timestep_spacing\": \"%s\" is not followed; drawing with \"leading\"",
                    handle->model->folder, file, s->spacing == SPACING_TRAILING ? "trailing" : "linspace");
    if (s->clip_sample)
        log_message(LOG_WARNING,
                    "%s/%s: key \"clip_sample\": true is not followed; Stable Diffusion's latents don't bear it",
                    handle->model->folder, file);
}

leco_status draw_pictures(leco_model *handle, const draw_request *request, leco_images *images, size_t *done,
                          leco_error *err)
{
    const leco_generate_options *o = request->options;
    const size_t total = o->prompt_count * (size_t)o->images_per_prompt;
    const int64_t factor = vae_factor(&handle->model->vae);
    const float scale = (float)o->guidance_scale;
    *done = 0;
    tell_of_sampler(handle);
    if (handle->threads != cpu_threads()) { /* leco_set_threads was called, or this is a parallel region */
        model_forget_sessions(handle);
        handle->threads = cpu_threads();
    }
    LECO_TRY(model_load(handle->model, MODEL_ALL, err));
    LECO_TRY(get_bank(handle, err));
    while (*done < total) {
        size_t batch = total - *done < (size_t)o->batch ? total - *done : (size_t)o->batch;
        const latent_size size = {(int64_t)batch, request->height / factor, request->width / factor,
                                  handle->model->unet.in_channels};
        batch_run b = {.handle = handle, .request = request, .first = *done};
        LECO_TRY(ddim_start(handle->schedule, o->steps, 0, &b.walk, err));
        LECO_TRY(get_drawing(handle, size, scale != 1.0f, &b.drawing, err));
        LECO_TRY(guided_create(b.drawing->denoiser, scale, &b.guided, err));
        b.x = mem_calloc(latent_count(size), sizeof *b.x);
        leco_status status =
            b.x ? run_batch(&b, images, err) : error_memory(err, latent_count(size) * sizeof *b.x, "latents");
        guided_free(&b.guided);
        mem_free(b.x);
        if (status != LECO_OK) return status;
        *done += batch;
    }
    return LECO_OK;
}

leco_status leco_generate(leco_model *handle, const leco_generate_options *options, leco_images *images,
                          leco_error *err)
{
    IN_C_LOCALE;
    draw_request request;
    LECO_TRY(draw_check(handle, options, &request, err));
    float *latents = NULL;
    if (options->latents) LECO_TRY(read_latents(handle, &request, &latents, err));
    request.latents = latents;
    leco_images made = {0};
    size_t done = 0;
    leco_status status = images_create(request.overall, &made, err);
    if (status == LECO_OK) status = draw_pictures(handle, &request, &made, &done, err);
    mem_free(latents);
    made.count = status == LECO_INTERRUPTED || status == LECO_OK ? done : made.count;
    if (status == LECO_OK || status == LECO_INTERRUPTED)
        *images = made;
    else
        leco_images_free(&made);
    return status;
}
