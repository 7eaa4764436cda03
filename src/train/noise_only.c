/* The source of noise alone: x_t is noise at every timestep, and nothing is denoised. What is learnt there is wrong by
 * as much as a picture is not noise, and cheap: iLECO of TrainTrain (hako-mikan) does so. */
#include <string.h>

#include "base/mem.h"
#include "train/source.h"

typedef struct noise_only {
    source base;
    int64_t samples;    /* timesteps of a pass */
    int64_t first, end; /* which are drawn from these */
} noise_only;

static noise_only *of(const source *s)
{
    return (noise_only *)(uintptr_t)s;
}

static void destroy(source *s)
{
    mem_free(s);
}

static leco_status create(const training_setting *in, const source_spec *spec, latent_size size, source **out,
                          leco_error *err)
{
    (void)spec;
    *out = NULL;
    noise_only *n = mem_calloc(1, sizeof *n);
    if (!n) return error_memory(err, sizeof *n, "a source of latents");
    n->base = (source){&source_noise, size, 1};
    n->samples = in->config->samples_per_trajectory;
    leco_status status = setting_timesteps(in, &n->first, &n->end, err);
    if (status == LECO_OK)
        *out = &n->base;
    else
        mem_free(n);
    return status;
}

static leco_status prepare(source *s, const training_setting *in, leco_error *err)
{
    (void)s, (void)in, (void)err;
    return LECO_OK;
}

static size_t bytes(const source *s)
{
    (void)s;
    return sizeof(noise_only);
}

/* One word a timestep. */
static source_pass draw(const source *s, rng *r, int64_t *kept)
{
    const noise_only *n = of(s);
    for (int64_t i = 0; i < n->samples; i++) kept[i] = rng_randint(r, n->first, n->end);
    return (source_pass){.kept_count = (size_t)n->samples, .kept = kept};
}

static leco_status run(source *s, const source_pass *pass, rng *r, float *noise, float *kept, const source_watch *watch,
                       leco_error *err)
{
    (void)r, (void)watch, (void)err;
    const size_t count = latent_count(s->size);
    for (size_t i = 0; i < pass->kept_count; i++) memcpy(kept + i * count, noise, count * sizeof *noise);
    return LECO_OK;
}

static void again(source *s, const source_pass *pass, rng *r, const float *noise)
{
    (void)s, (void)pass, (void)r, (void)noise; /* it keeps nothing */
}

const source_row source_noise = {.name = "noise",
                                 .create = create,
                                 .prepare = prepare,
                                 .destroy = destroy,
                                 .bytes = bytes,
                                 .draw = draw,
                                 .run = run,
                                 .again = again,
                                 .timestep = source_timestep_kept,
                                 .steps = source_no_steps};
