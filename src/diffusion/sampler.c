#include "diffusion/sampler.h"

#include <string.h>

#include "base/mem.h"

int64_t guided_batch(int64_t pictures, float guidance_scale)
{
    return guidance_scale == 1.0f ? pictures : 2 * pictures;
}

static size_t picture_floats(const guided *g)
{
    size_t all = latent_count(denoiser_size(g->denoiser));
    return g->scale == 1.0f ? all : all / 2;
}

leco_status guided_create(denoiser *n, float scale, guided *out, leco_error *err)
{
    size_t count = latent_count(denoiser_size(n));
    guided g = {n, scale, mem_calloc(count, sizeof(float)), mem_calloc(count, sizeof(float))};
    if (!g.input || !g.output) {
        guided_free(&g);
        return error_memory(err, 2 * count * sizeof(float), "guidance");
    }
    *out = g;
    return LECO_OK;
}

void guided_free(guided *g)
{
    mem_free(g->input);
    mem_free(g->output);
    *g = (guided){0};
}

void guided_set_context(guided *g, int64_t picture, const float *unconditional, const float *conditional)
{
    if (g->scale == 1.0f) {
        denoiser_set_context(g->denoiser, picture, conditional);
        return;
    }
    denoiser_set_context(g->denoiser, picture, unconditional);
    denoiser_set_context(g->denoiser, denoiser_size(g->denoiser).batch / 2 + picture, conditional);
}

void guided_step(guided *g, const ddim *walk, int64_t done, float *x)
{
    size_t count = picture_floats(g);
    int64_t t = ddim_timestep(walk, done);
    memcpy(g->input, x, count * sizeof *x);
    if (g->scale != 1.0f) memcpy(g->input + count, x, count * sizeof *x);
    denoiser_run(g->denoiser, g->input, (double)t, g->output);
    if (g->scale != 1.0f) guidance_apply(g->output, g->output + count, g->scale, g->output, count);
    ddim_step(walk, t, g->output, x, count);
}
