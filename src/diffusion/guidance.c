#include "diffusion/guidance.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

static bool is_doubled(float scale)
{
    return scale != 1.0f;
}

int64_t guided_batch(int64_t pictures, float guidance_scale)
{
    return is_doubled(guidance_scale) ? 2 * pictures : pictures;
}

leco_status guided_create(denoiser *n, float scale, guided *out, leco_error *err)
{
    size_t count = latent_count(denoiser_size(n));
    guided g = {.denoiser = n,
                .scale = scale,
                .size = denoiser_size(n),
                .input = mem_calloc(count, sizeof(float)),
                .output = mem_calloc(count, sizeof(float))};
    if (is_doubled(scale)) g.size.batch /= 2;
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

void guided_set_context(guided *g, int64_t picture, const conditioning *unconditional, const conditioning *conditional)
{
    if (!is_doubled(g->scale)) {
        denoiser_set_context(g->denoiser, picture, conditional);
        return;
    }
    denoiser_set_context(g->denoiser, picture, unconditional);
    denoiser_set_context(g->denoiser, g->size.batch + picture, conditional);
}

leco_status guided_step(guided *g, denoising *d, int64_t done, float *x, leco_error *err)
{
    size_t count = latent_count(g->size);
    assert(d->count == count);
    denoising_latent(d, done, x, g->input);
    if (is_doubled(g->scale)) memcpy(g->input + count, g->input, count * sizeof *x);
    const double timestep = denoising_timestep(d, done);
    const float scale = g->end > 0 && (timestep < g->from || timestep >= g->end) ? 1 : g->scale;
    LECO_TRY(denoiser_run(g->denoiser, g->input, timestep, g->output, err));
    if (is_doubled(g->scale)) guidance_apply(g->output, g->output + count, scale, g->output, count);
    denoising_step(d, done, g->output, x);
    return LECO_OK;
}

void guidance_apply(const float *unconditional, const float *conditional, float scale, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = unconditional[i] + scale * (conditional[i] - unconditional[i]);
}
