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
