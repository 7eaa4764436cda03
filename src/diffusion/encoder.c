#include "diffusion/encoder.h"

#include "base/mem.h"

struct encoder {
    latent_size size, latents; /* of pictures and of what they become */
    runner runner;
    const vae_config *config;
    vae_encoder net;
};

void encoder_destroy(encoder *n)
{
    if (!n) return;
    runner_free(&n->runner);
    mem_free(n);
}

static void build(nn *c, void *user)
{
    encoder *n = user;
    n->net = vae_encoder_build(c, n->config, n->size.batch, n->size.height, n->size.width);
}

leco_status encoder_plan(const device *d, const model *m, latent_size size, encoder **out, leco_error *err)
{
    *out = NULL;
    encoder *n = mem_calloc(1, sizeof *n);
    if (!n) return error_memory(err, sizeof *n, "an encoder");
    const int64_t factor = vae_factor(&m->vae);
    n->config = &m->vae;
    n->size = size;
    n->size.channels = m->vae.in_channels;
    n->latents = (latent_size){size.batch, size.height / factor, size.width / factor, m->vae.latent_channels};
    const runner_spec spec = {.device = d,
                              .weights = m->weights[PART_VAE],
                              .part = PART_VAE,
                              .what = "the encoder",
                              .build = build,
                              .user = n};
    leco_status status = runner_plan(&spec, &n->runner, err);
    if (status != LECO_OK) {
        encoder_destroy(n);
        return status;
    }
    *out = n;
    return LECO_OK;
}

leco_status encoder_prepare(encoder *n, leco_error *err)
{
    return runner_prepare(&n->runner, err);
}

latent_size encoder_latents(const encoder *n)
{
    return n->latents;
}

size_t encoder_arena_bytes(const encoder *n)
{
    return runner_arena_bytes(&n->runner);
}

size_t encoder_bytes(const encoder *n)
{
    return sizeof *n + runner_bytes(&n->runner);
}

leco_status encoder_run(encoder *n, const float *pictures, float *mean, float *logvar, leco_error *err)
{
    session *s = n->runner.session;
    const size_t count = latent_count(n->latents);
    LECO_TRY(session_write(s, n->net.sample, pictures, latent_count(n->size), err));
    LECO_TRY(session_run(s, err));
    LECO_TRY(session_read(s, n->net.mean, mean, count, err));
    if (!logvar) return LECO_OK;
    LECO_TRY(session_read(s, n->net.logvar, logvar, count, err));
    for (size_t i = 0; i < count; i++) {
        if (logvar[i] < VAE_LOGVAR_MIN) logvar[i] = VAE_LOGVAR_MIN;
        if (logvar[i] > VAE_LOGVAR_MAX) logvar[i] = VAE_LOGVAR_MAX;
    }
    return LECO_OK;
}
