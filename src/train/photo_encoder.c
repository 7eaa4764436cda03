#include "train/photo_encoder.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/number.h"
#include "picture/picture.h"
#include "picture/resample.h"

typedef struct sized_encoder {
    latent_size size; /* a batch of 1 */
    encoder *encoder;
} sized_encoder;

static sized_encoder *find(const photo_encoder *e, latent_size size)
{
    size.batch = 1;
    for (size_t i = 0; i < e->count; i++)
        if (memcmp(&e->entry[i].size, &size, sizeof size) == 0) return &e->entry[i];
    return NULL;
}

static latent_size pixels_of(const photo_encoder *e, latent_size latents)
{
    const int64_t factor = vae_factor(&e->model->vae);
    return (latent_size){1, latents.height * factor, latents.width * factor, e->model->vae.in_channels};
}

/* A picture is there twice while it is turned; what it is scaled to as 8 bits and as floats. */
static void count_pictures(photo_encoder *e, latent_size size, const photo *photos, size_t count)
{
    const size_t fitted = latent_count(pixels_of(e, size)) * (1 + sizeof(float));
    for (size_t i = 0; i < count; i++) {
        const size_t read = 6 * (size_t)(photos[i].width * photos[i].height);
        if (read + fitted > e->picture_bytes) e->picture_bytes = read + fitted;
    }
}

static leco_status open_device(photo_encoder *e, leco_error *err)
{
    if (e->device.backend) return LECO_OK;
    LECO_TRY(model_map(e->model, MODEL_VAE, err));
    return device_open(e->device_name, "float32", &e->device, err);
}

leco_status photo_encoder_want(photo_encoder *e, latent_size size, const photo *photos, size_t count, leco_error *err)
{
    LECO_TRY(open_device(e, err));
    size.batch = 1;
    count_pictures(e, size, photos, count);
    if (find(e, size)) return LECO_OK;
    sized_encoder *grown = mem_realloc(e->entry, e->count + 1, sizeof *grown), made = {.size = size};
    if (!grown) return error_memory(err, (e->count + 1) * sizeof *grown, "the VAE's sessions");
    e->entry = grown;
    LECO_TRY(encoder_plan(&e->device, e->model, pixels_of(e, size), &made.encoder, err));
    e->entry[e->count++] = made;
    return LECO_OK;
}

static size_t arena_bytes(const photo_encoder *e)
{
    size_t largest = 0;
    for (size_t i = 0; i < e->count; i++) {
        const size_t bytes = encoder_arena_bytes(e->entry[i].encoder);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

leco_status photo_encoder_prepare(photo_encoder *e, leco_error *err)
{
    if (e->count == 0) return LECO_OK;
    LECO_TRY(model_load(e->model, MODEL_VAE, err));
    LECO_TRY(workspace_reserve(e->device.workspace, arena_bytes(e), err));
    for (size_t i = 0; i < e->count; i++) LECO_TRY(encoder_prepare(e->entry[i].encoder, err));
    return LECO_OK;
}

void photo_encoder_free(photo_encoder *e)
{
    for (size_t i = 0; i < e->count; i++) encoder_destroy(e->entry[i].encoder);
    mem_free(e->entry);
    if (e->device.backend) model_unload(e->model, PART_VAE);
    device_close(&e->device);
    *e = (photo_encoder){.model = e->model, .device_name = e->device_name};
}

static size_t session_bytes(const photo_encoder *e)
{
    size_t bytes = e->picture_bytes + e->count * sizeof *e->entry;
    for (size_t i = 0; i < e->count; i++) bytes += encoder_bytes(e->entry[i].encoder);
    return bytes;
}

size_t photo_encoder_planned_bytes(const photo_encoder *e)
{
    if (e->count == 0) return 0;
    return session_bytes(e) + arena_bytes(e) + weights_planned_bytes(e->model->weights[PART_VAE]);
}

size_t photo_encoder_allocated_bytes(const photo_encoder *e)
{
    if (e->count == 0) return 0;
    return session_bytes(e) + workspace_bytes(e->device.workspace) + weights_packed_bytes(e->model->weights[PART_VAE]);
}

/* ---- running ---- */

static void warn_of_enlarging(const char *path, const image *from, const image *to)
{
    const double wide = (double)to->width / from->width, high = (double)to->height / from->height;
    const double scale = wide > high ? wide : high;
    if (scale > 2)
        log_message(LOG_WARNING, "%s: its %d x %d pixels are enlarged %.3g times to fill %d x %d", path, from->width,
                    from->height, scale, to->width, to->height);
}

static leco_status read_fitted(const char *path, latent_size pixels, image *out, leco_error *err)
{
    image read;
    LECO_TRY(picture_read(path, &read, err));
    leco_status status = image_fit(&read, (int)pixels.width, (int)pixels.height, out, err);
    if (status == LECO_OK) warn_of_enlarging(path, &read, out);
    image_free(&read);
    return status;
}

leco_status photo_encoder_run(photo_encoder *e, const char *path, latent_size size, float *latent, leco_error *err)
{
    const sized_encoder *with = find(e, size);
    const latent_size pixels = pixels_of(e, size);
    const size_t count = latent_stride(size), values = latent_count(pixels);
    image fitted;
    LECO_TRY(read_fitted(path, pixels, &fitted, err));
    float *picture = mem_calloc(values, sizeof *picture);
    for (size_t i = 0; picture && i < values; i++) picture[i] = (float)fitted.rgb[i] / 127.5f - 1.0f;
    image_free(&fitted);
    if (!picture) return error_memory(err, values * sizeof *picture, "a picture");
    leco_status status = encoder_run(with->encoder, picture, latent, NULL, err);
    mem_free(picture);
    LECO_TRY(status);
    for (size_t i = 0; i < count; i++) latent[i] *= e->model->vae.scaling_factor;
    if (number_first_bad(latent, count) == count) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: what the VAE makes of it is not finite", path);
}
