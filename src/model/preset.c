#include <string.h>

#include "base/mem.h"
#include "model/family.h"

#define CLIP_L                                                                                                         \
    {                                                                                                                  \
        .vocab_size = 49408, .hidden_size = 768, .intermediate_size = 3072, .max_positions = 77, .layers = 12,         \
        .heads = 12, .act = ACT_QUICK_GELU, .norm_eps = 1e-5f, .eos_token_id = 2                                       \
    }

/* OpenCLIP's ViT-bigG/14 */
#define CLIP_G                                                                                                         \
    {                                                                                                                  \
        .vocab_size = 49408, .hidden_size = 1280, .intermediate_size = 5120, .max_positions = 77, .layers = 32,        \
        .heads = 20, .act = ACT_GELU, .norm_eps = 1e-5f, .eos_token_id = 2, .projection_dim = 1280                     \
    }

#define SD_SCHEDULE(predicts)                                                                                          \
    {                                                                                                                  \
        .train_timesteps = 1000, .beta_start = 0.00085, .beta_end = 0.012, .beta = BETA_SCALED_LINEAR,                 \
        .prediction = predicts, .steps_offset = 1, .spacing = SPACING_LEADING                                          \
    }

/* channels, heads, layers, transformer layers, context width, attention down and up */
#define LEVEL(channels, heads, transformers, context, attention)                                                       \
    {                                                                                                                  \
        channels, heads, 2, transformers, context, attention, attention                                                \
    }

/* The configurations of runwayml/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1 and
 * stabilityai/stable-diffusion-xl-base-1.0. */
static const struct preset {
    const char *name;
    model model;
} presets[] = {
    {"sd15",
     {.text = CLIP_L,
      .unet = {.sample_height = 64,
               .sample_width = 64,
               .in_channels = 4,
               .out_channels = 4,
               .level_count = 4,
               .level = {LEVEL(320, 8, 1, 768, true), LEVEL(640, 8, 1, 768, true), LEVEL(1280, 8, 1, 768, true),
                         LEVEL(1280, 8, 1, 768, false)},
               .norm_groups = 32,
               .norm_eps = 1e-5f,
               .flip_sin_to_cos = true},
      .vae = VAE_RELEASED(0.18215f),
      .schedule = SD_SCHEDULE(PREDICT_EPSILON)}},
    {"sd21",
     {.text = {.vocab_size = 49408,
               .hidden_size = 1024,
               .intermediate_size = 4096,
               .max_positions = 77,
               .layers = 23,
               .heads = 16,
               .act = ACT_GELU,
               .norm_eps = 1e-5f,
               .eos_token_id = 2},
      .unet = {.sample_height = 96,
               .sample_width = 96,
               .in_channels = 4,
               .out_channels = 4,
               .level_count = 4,
               .level = {LEVEL(320, 5, 1, 1024, true), LEVEL(640, 10, 1, 1024, true), LEVEL(1280, 20, 1, 1024, true),
                         LEVEL(1280, 20, 1, 1024, false)},
               .norm_groups = 32,
               .norm_eps = 1e-5f,
               .flip_sin_to_cos = true,
               .use_linear_projection = true},
      .vae = VAE_RELEASED(0.18215f),
      .schedule = SD_SCHEDULE(PREDICT_V)}},
    {"sdxl",
     {.text = CLIP_L,
      .text_2 = CLIP_G,
      .unet = {.sample_height = 128,
               .sample_width = 128,
               .in_channels = 4,
               .out_channels = 4,
               .level_count = 3,
               .level = {LEVEL(320, 5, 1, 2048, false), LEVEL(640, 10, 2, 2048, true), LEVEL(1280, 20, 10, 2048, true)},
               .norm_groups = 32,
               .norm_eps = 1e-5f,
               .flip_sin_to_cos = true,
               .use_linear_projection = true,
               .addition_time_embed_dim = 256,
               .addition_embed_input_dim = 2816},
      .vae = VAE_RELEASED(0.13025f),
      .schedule = SD_SCHEDULE(PREDICT_EPSILON)}},
};

static leco_status make(const struct preset *p, model **out, leco_error *err)
{
    model *m = mem_calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m, "a model");
    *m = p->model;
    m->family = family_of(m);
    m->states = m->family->text;
    m->folder = mem_strdup(p->name);
    bool there = m->folder != NULL;
    for (int part = 0; part < PART_COUNT; part++) {
        if (!model_has(m, (model_part)part)) continue;
        m->weights[part] = weights_random((uint64_t)part + 1);
        there = there && m->weights[part];
    }
    if (!there) {
        model_close(m);
        return error_memory(err, sizeof *m, "a model");
    }
    *out = m;
    return LECO_OK;
}

leco_status model_preset(const char *name, model **out, leco_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcmp(name, presets[i].name) == 0) return make(&presets[i], out, err);
    return error_set(err, LECO_INVALID, "preset \"%s\" is not known (known: sd15, sd21, sdxl)", name);
}
