#include "diffusion/decoder.h"

#include <math.h>

#include "base/mem.h"

struct decoder {
    latent_size size;
    float scaling_factor;
    runner runner;
    const vae_config *config;
    vae_decoder net;
    size_t picture_count; /* floats of all pictures */
    float *latents, *picture;
};

void decoder_destroy(decoder *n)
{
    if (!n) return;
    runner_free(&n->runner);
    mem_free(n->latents);
    mem_free(n->picture);
    mem_free(n);
}

static void build(nn *c, void *user)
{
    decoder *n = user;
    n->net = vae_decoder_build(c, n->config, n->size.batch, n->size.height, n->size.width);
}

static leco_status plan(decoder *n, const device *d, const model *m, leco_error *err)
{
    const runner_spec spec = {.device = d,
                              .weights = m->weights[PART_VAE],
                              .part = PART_VAE,
                              .what = "the decoder",
                              .build = build,
                              .user = n};
    LECO_TRY(runner_plan(&spec, &n->runner, err));
    n->picture_count = (size_t)shape_count(&n->net.sample->shape);
    return LECO_OK;
}

leco_status decoder_plan(const device *d, const model *m, latent_size size, decoder **out, leco_error *err)
{
    *out = NULL;
    decoder *n = mem_calloc(1, sizeof *n);
    if (!n) return error_memory(err, sizeof *n, "a decoder");
    n->size = size;
    n->size.channels = m->vae.latent_channels;
    n->config = &m->vae;
    n->scaling_factor = m->vae.scaling_factor;
    leco_status status = plan(n, d, m, err);
    if (status != LECO_OK) {
        decoder_destroy(n);
        return status;
    }
    *out = n;
    return LECO_OK;
}

leco_status decoder_prepare(decoder *n, leco_error *err)
{
    LECO_TRY(runner_prepare(&n->runner, err));
    if (!n->latents) n->latents = mem_calloc(latent_count(n->size), sizeof(float));
    if (!n->picture) n->picture = mem_calloc(n->picture_count, sizeof(float));
    if (n->latents && n->picture) return LECO_OK;
    return error_memory(err, n->picture_count * sizeof(float), "decoded pictures");
}

size_t decoder_arena_bytes(const decoder *n)
{
    return runner_arena_bytes(&n->runner);
}

size_t decoder_bytes(const decoder *n)
{
    return sizeof *n + runner_bytes(&n->runner) + (latent_count(n->size) + n->picture_count) * sizeof(float);
}

leco_status decoder_run(decoder *n, const float *latents, uint8_t *rgb, leco_error *err)
{
    session *s = n->runner.session;
    size_t count = latent_count(n->size);
    for (size_t i = 0; i < count; i++) n->latents[i] = latents[i] / n->scaling_factor;
    LECO_TRY(session_write(s, n->net.latents, n->latents, count, err));
    LECO_TRY(session_run(s, err));
    LECO_TRY(session_read(s, n->net.sample, n->picture, n->picture_count, err));
    for (size_t i = 0; i < n->picture_count; i++) {
        float v = 0.5f * n->picture[i] + 0.5f;
        v = v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; /* NaN becomes black */
        rgb[i] = (uint8_t)lrintf(255.0f * v);
    }
    return LECO_OK;
}
