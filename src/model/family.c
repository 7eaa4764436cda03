#include "model/family.h"

#include <string.h>

static bool is_sdxl(const model *m)
{
    return m->unet.addition_time_embed_dim != 0;
}

/* Not by the projections alone: some save those of Stable Diffusion 1 as matrices, which is the same arithmetic. */
static bool is_sd2(const model *m)
{
    return m->unet.use_linear_projection && m->text.act != ACT_QUICK_GELU;
}

static bool is_sd1(const model *m)
{
    (void)m;
    return true;
}

/* The first that fits. */
static const family families[] = {
    {.name = "sdxl",
     .is = is_sdxl,
     .saved = {[PREDICT_EPSILON] = {"sdxl_base_v1-0", "stable-diffusion-xl-v1-base"},
               [PREDICT_V] = {"sdxl_base_v1-0", "stable-diffusion-xl-v1-base"}},
     .implementation = "https://github.com/Stability-AI/generative-models",
     .original_keys = true,
     .text = {.skip_layers = 1, .no_final_norm = true, .pooled = true}},
    {.name = "sd2",
     .is = is_sd2,
     .saved = {[PREDICT_EPSILON] = {"sd_v2", "stable-diffusion-v2-512"},
               [PREDICT_V] = {"sd_v2_v", "stable-diffusion-v2-768-v"}},
     .implementation = "diffusers",
     .v2 = true},
    {.name = "sd1",
     .is = is_sd1,
     .saved = {[PREDICT_EPSILON] = {"sd_v1", "stable-diffusion-v1"}, [PREDICT_V] = {"sd_v1", "stable-diffusion-v1"}},
     .implementation = "diffusers"},
};

const family *family_of(const model *m)
{
    const family *f = families;
    while (!f->is(m)) f++;
    return f;
}

const family *family_saved_as(const char *base_model_version)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (size_t k = 0; k < 2; k++)
            if (strcmp(families[i].saved[k].base_model_version, base_model_version) == 0) return &families[i];
    return NULL;
}
