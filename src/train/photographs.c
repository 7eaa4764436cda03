/* The source of noised photographs:  x_t = sqrt(a_t) clean + sqrt(1 - a_t) noise,  t from all timesteps alike, or those
 * that the config says. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "train/source.h"

typedef struct photographs {
    source base;
    const source_spec *spec; /* the objective's */
    const noise_schedule *schedule;
    int64_t samples;         /* timesteps of a pass */
    int64_t first, end;      /* which are drawn from these */
    float *latents;          /* [views, photo_count, h,w,C] clean */
    float *noise;            /* [B,h,w,C] of the last pass */
    int64_t *drawn, *chosen; /* [B] pictures: of the next pass, of this one */
    phrases *phrases;        /* the lesson's */
    size_t *slot;            /* [B] in it */
    conditioning *text;      /* [B] */
} photographs;

static photographs *of(const source *s)
{
    return (photographs *)(uintptr_t)s;
}

static void destroy(source *s)
{
    photographs *p = of(s);
    mem_free(p->latents);
    mem_free(p->noise);
    mem_free(p->drawn);
    mem_free(p->chosen);
    mem_free(p->slot);
    mem_free(p->text);
    mem_free(p);
}

static leco_status create(const training_setting *in, const source_spec *spec, latent_size size, source **out,
                          leco_error *err)
{
    *out = NULL;
    assert(in->photos && spec->photo_count > 0);
    int64_t first, end;
    LECO_TRY(setting_timesteps(in, &first, &end, err));
    LECO_TRY(photo_encoder_want(in->photos, size, spec->photos, spec->photo_count, err));
    photographs *p = mem_calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "the photographs");
    p->base = (source){&source_photographs, size, spec->photos[0].path[1] ? 2 : 1};
    p->spec = spec;
    p->schedule = in->frozen[0].schedule;
    p->samples = in->config->samples_per_trajectory;
    p->first = first;
    p->end = end;
    *out = &p->base;
    return LECO_OK;
}

/* ---- latents ---- */

static size_t encoded_bytes(const source *s)
{
    return s->views * of(s)->spec->photo_count * latent_stride(s->size) * sizeof(float);
}

static float *clean(const photographs *p, size_t view, int64_t picture)
{
    return p->latents + (view * p->spec->photo_count + (size_t)picture) * latent_stride(p->base.size);
}

/* Pairs that show the same teach nothing. */
static void warn_of_equals(const photographs *p)
{
    const size_t bytes = latent_stride(p->base.size) * sizeof(float);
    size_t same = 0, last = 0;
    for (size_t i = 0; p->base.views == 2 && i < p->spec->photo_count; i++)
        if (memcmp(clean(p, 0, (int64_t)i), clean(p, 1, (int64_t)i), bytes) == 0) last = i, same++;
    if (same)
        log_message(LOG_WARNING, "%s and %s show the same%s: nothing can be learnt from that",
                    p->spec->photos[last].path[0], p->spec->photos[last].path[1],
                    same > 1 ? ", and so do other pairs" : "");
}

static leco_status encode(source *s, photo_encoder *e, leco_error *err)
{
    photographs *p = of(s);
    p->latents = mem_calloc(encoded_bytes(s), 1);
    if (!p->latents) return error_memory(err, encoded_bytes(s), "the photographs' latents");
    for (size_t view = 0; view < s->views; view++)
        for (size_t i = 0; i < p->spec->photo_count; i++)
            LECO_TRY(photo_encoder_run(e, p->spec->photos[i].path[view], s->size, clean(p, view, (int64_t)i), err));
    warn_of_equals(p);
    return LECO_OK;
}

static void tell_apart(const source *s, digest *d)
{
    digest_add(d, of(s)->latents, encoded_bytes(s));
}

static size_t bytes(const source *s)
{
    const size_t batch = (size_t)s->size.batch, one = 2 * sizeof(int64_t) + sizeof(size_t) + sizeof(conditioning);
    return sizeof(photographs) + encoded_bytes(s) + latent_count(s->size) * sizeof(float) + batch * one;
}

/* ---- prompts ---- */

static leco_status add_prompts(photographs *p, const training_setting *in, leco_error *err)
{
    const size_t count = p->spec->photo_count;
    if (!p->spec->photos[0].prompt) return LECO_OK; /* no branch asks for them */
    const char **texts = mem_calloc(count, sizeof *texts);
    if (!texts) return error_memory(err, count * sizeof *texts, "the captions");
    for (size_t i = 0; i < count; i++) texts[i] = p->spec->photos[i].prompt;
    leco_status status = LECO_OK;
    for (int64_t i = 0; i < p->base.size.batch && status == LECO_OK; i++)
        status = setting_condition_any(in, 0, texts, count, p->base.size, &p->text[i], &p->slot[i], err);
    mem_free(texts);
    return status;
}

static leco_status prepare(source *s, const training_setting *in, leco_error *err)
{
    photographs *p = of(s);
    const size_t batch = (size_t)s->size.batch;
    p->phrases = in->phrases;
    p->noise = mem_calloc(latent_count(s->size), sizeof *p->noise);
    p->drawn = mem_calloc(batch, sizeof *p->drawn);
    p->chosen = mem_calloc(batch, sizeof *p->chosen);
    p->slot = mem_calloc(batch, sizeof *p->slot);
    p->text = mem_calloc(batch, sizeof *p->text);
    if (!p->noise || !p->drawn || !p->chosen || !p->slot || !p->text)
        return error_memory(err, bytes(s), "the photographs");
    return add_prompts(p, in, err);
}

static void choose(source *s, const source_pass *pass)
{
    photographs *p = of(s);
    memcpy(p->chosen, pass->pictures, (size_t)s->size.batch * sizeof *p->chosen);
    for (int64_t i = 0; i < s->size.batch && p->spec->photos[0].prompt; i++)
        phrases_pick(p->phrases, p->slot[i], (size_t)p->chosen[i]);
}

static const conditioning *text(const source *s, size_t sample)
{
    return &of(s)->text[sample];
}

/* ---- passes ---- */

/* One word a picture of the batch, then one a timestep. */
static source_pass draw(const source *s, rng *r, int64_t *kept)
{
    const photographs *p = of(s);
    for (int64_t i = 0; i < s->size.batch; i++) p->drawn[i] = rng_randint(r, 0, (int64_t)p->spec->photo_count);
    for (int64_t i = 0; i < p->samples; i++) kept[i] = rng_randint(r, p->first, p->end);
    return (source_pass){.kept_count = (size_t)p->samples, .kept = kept, .pictures = p->drawn};
}

/* What of x_t is picture and what is noise. */
static void parts_at(const photographs *p, int64_t timestep, float *signal, float *noise)
{
    const double a = (double)p->schedule->alpha_bar[timestep];
    *signal = (float)sqrt(a);
    *noise = (float)sqrt(1 - a);
}

static void again(source *s, const source_pass *pass, rng *r, const float *noise)
{
    (void)pass;
    (void)r;
    memcpy(of(s)->noise, noise, latent_count(s->size) * sizeof *noise);
}

static leco_status run(source *s, const source_pass *pass, rng *r, float *noise, float *kept, const source_watch *watch,
                       leco_error *err)
{
    const photographs *p = of(s);
    const size_t stride = latent_stride(s->size);
    (void)watch;
    (void)err;
    again(s, pass, r, noise);
    for (size_t i = 0; i < pass->kept_count; i++) {
        float of_picture, of_noise;
        parts_at(p, pass->kept[i], &of_picture, &of_noise);
        for (size_t view = 0; view < s->views; view++)
            for (size_t b = 0; b < (size_t)s->size.batch; b++) {
                const float *picture = clean(p, view, p->chosen[b]), *added = p->noise + b * stride;
                for (size_t k = 0; k < stride; k++) *kept++ = of_picture * picture[k] + of_noise * added[k];
            }
    }
    return LECO_OK;
}

/* epsilon: the noise; v: sqrt(a) noise - sqrt(1 - a) clean. */
static void add_noise(const source *s, int64_t kept, size_t view, float *target)
{
    const photographs *p = of(s);
    const size_t stride = latent_stride(s->size);
    float of_picture = 1, of_noise = 0;
    if (p->schedule->prediction == PREDICT_V) parts_at(p, kept, &of_picture, &of_noise);
    for (size_t b = 0; b < (size_t)s->size.batch; b++) {
        const float *picture = clean(p, view, p->chosen[b]), *added = p->noise + b * stride;
        for (size_t k = 0; k < stride; k++) target[b * stride + k] += of_picture * added[k] - of_noise * picture[k];
    }
}

const source_row source_photographs = {.name = "photographs",
                                       .create = create,
                                       .prepare = prepare,
                                       .destroy = destroy,
                                       .bytes = bytes,
                                       .draw = draw,
                                       .run = run,
                                       .again = again,
                                       .timestep = source_timestep_kept,
                                       .steps = source_no_steps,
                                       .encode = encode,
                                       .encoded_bytes = encoded_bytes,
                                       .tell_apart = tell_apart,
                                       .choose = choose,
                                       .text = text,
                                       .add_noise = add_noise};
