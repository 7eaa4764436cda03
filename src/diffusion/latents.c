#include "diffusion/latents.h"

size_t latent_stride(latent_size s)
{
    return (size_t)(s.height * s.width * s.channels);
}

size_t latent_count(latent_size s)
{
    return (size_t)s.batch * latent_stride(s);
}

void latents_from_nchw(const float *src, float *dst, latent_size s)
{
    int64_t area = s.height * s.width;
    for (int64_t n = 0; n < s.batch; n++)
        for (int64_t c = 0; c < s.channels; c++)
            for (int64_t i = 0; i < area; i++)
                dst[(n * area + i) * s.channels + c] = src[(n * s.channels + c) * area + i];
}

void latents_to_nchw(const float *src, float *dst, latent_size s)
{
    int64_t area = s.height * s.width;
    for (int64_t n = 0; n < s.batch; n++)
        for (int64_t c = 0; c < s.channels; c++)
            for (int64_t i = 0; i < area; i++)
                dst[(n * s.channels + c) * area + i] = src[(n * area + i) * s.channels + c];
}

void latents_draw(rng *r, float *scratch, float *dst, latent_size s)
{
    rng_normal(r, scratch, latent_count(s));
    latents_from_nchw(scratch, dst, s);
}
