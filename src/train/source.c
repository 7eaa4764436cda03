#include "train/source.h"

#include <assert.h>

leco_status setting_condition_any(const training_setting *in, size_t which, const char *const *prompts, size_t count,
                                  latent_size size, conditioning *out, size_t *slot, leco_error *err)
{
    assert(which < in->frozen_count);
    const frozen_model *f = &in->frozen[which];
    const int64_t factor = vae_factor(&f->model->vae), height = size.height * factor, width = size.width * factor;
    return phrases_add_any(in->phrases, f->conditioner, prompts, count, height, width, out, slot, err);
}

leco_status setting_condition(const training_setting *in, size_t which, const char *prompt, latent_size size,
                              conditioning *out, leco_error *err)
{
    size_t slot;
    return setting_condition_any(in, which, &prompt, 1, size, out, &slot, err);
}

leco_status setting_timesteps(const training_setting *in, int64_t *first, int64_t *end, leco_error *err)
{
    const int64_t all = in->frozen[0].schedule->train_timesteps, asked = in->config->max_timestep;
    *first = in->config->min_timestep;
    *end = asked && asked < all ? asked : all;
    if (*first < *end) return LECO_OK;
    return error_set(err, LECO_INVALID, "train.min_timestep: %lld is not one of the model's %lld timesteps",
                     (long long)*first, (long long)all);
}

leco_status setting_denoiser(const training_setting *in, size_t which, latent_size size, double multiplier, bool learns,
                             denoiser **out, leco_error *err)
{
    assert(which < in->frozen_count && (which == 0 || (multiplier == 0 && !learns)));
    const denoiser_wish wish = {.model = in->frozen[which].model,
                                .tokens = conditioner_tokens(in->frozen[which].conditioner),
                                .size = size,
                                .multiplier = (float)multiplier,
                                .learns = learns};
    return denoiser_pool_get(in->pool, &wish, out, err);
}

double source_timestep_kept(const source *s, int64_t kept)
{
    (void)s;
    return (double)kept;
}

double source_no_steps(const source *s, const source_pass *pass)
{
    (void)s;
    (void)pass;
    return 0;
}
