#include "train/teachers.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/family.h"
#include "model/hub.h"

/* ---- latent spaces ---- */

/* Tensors in which two files may differ by the rounding of float16 and bfloat16. */
static const double ROUNDING = 8e-3;

/* The largest difference of two tensors' elements, in units of the largest element; *out is left where one model has no
 * such tensor. */
static leco_status difference(const model *a, const model *b, const char *name, shape s, double *out, leco_error *err)
{
    const weight *w[2];
    const model *const models[] = {a, b};
    for (int i = 0; i < 2; i++) {
        weight *found;
        if (!weights_has(models[i]->weights[PART_VAE], name)) return LECO_OK;
        LECO_TRY(weights_get(models[i]->weights[PART_VAE], name, s, &found, err));
        w[i] = found;
    }
    const size_t count = (size_t)shape_count(&s);
    float *values = mem_calloc(2 * count, sizeof *values);
    if (!values) return error_memory(err, 2 * count * sizeof *values, name);
    for (size_t i = 0; i < 2; i++) dtype_convert(values + i * count, DTYPE_F32, w[i]->data, w[i]->type, count);
    double largest = 0, most = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = fabs((double)values[i] - (double)values[count + i]);
        if (!(d <= most)) most = d;
        if (fabs((double)values[i]) > largest) largest = fabs((double)values[i]);
    }
    *out = largest > 0 ? most / largest : most;
    mem_free(values);
    return LECO_OK;
}

/* The end of the encoder is what makes a picture these latents and no others; decoders may be tuned. */
static leco_status check_encoders(const teacher_config *t, model *student, model *donor, leco_error *err)
{
    const int64_t last = student->vae.channels[student->vae.level_count - 1], out = 2 * student->vae.latent_channels;
    double most = 0;
    LECO_TRY(model_map(student, MODEL_VAE, err));
    LECO_TRY(model_map(donor, MODEL_VAE, err));
    LECO_TRY(difference(student, donor, "encoder.conv_out.weight", SHAPE(out, last, 3, 3), &most, err));
    model_unload(student, PART_VAE);
    model_unload(donor, PART_VAE);
    if (most <= ROUNDING) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "%s: teachers.%s: its VAE isn't that of %s (encoder.conv_out.weight differs), so its latents mean "
                     "other pictures; same_latents: true trains all the same",
                     t->place, t->name, student->folder);
}

static leco_status check_latents(const teacher_config *t, model *student, model *donor, leco_error *err)
{
    const vae_config *a = &student->vae, *b = &donor->vae;
    if (a->latent_channels != b->latent_channels || vae_factor(a) != vae_factor(b))
        return error_set(err, LECO_INVALID,
                         "%s: teachers.%s: latents of %lld channels, a %lldth of the picture's size, but %s has %lld "
                         "and a %lldth",
                         t->place, t->name, (long long)b->latent_channels, (long long)vae_factor(b), student->folder,
                         (long long)a->latent_channels, (long long)vae_factor(a));
    if (t->same_latents) return LECO_OK;
    if (fabsf(a->scaling_factor - b->scaling_factor) > 1e-4f * fabsf(a->scaling_factor))
        return error_set(err, LECO_INVALID,
                         "%s: teachers.%s: its VAE has the scaling_factor %g, that of %s %g; same_latents: true trains "
                         "all the same",
                         t->place, t->name, (double)b->scaling_factor, student->folder, (double)a->scaling_factor);
    return check_encoders(t, student, donor, err);
}

/* ---- opening ---- */

/* claims_v: 0 or 1 as the config has it, of models whose files don't say what they predict, or -1. */
static leco_status open_model(const train_config *c, const char *place, const char *key, const char *path,
                              const char *written, int claims_v, frozen_model *out, leco_error *err)
{
    char *cached = NULL;
    if (!file_exists(path)) LECO_TRY(hub_find(written, &cached, err));
    if (!file_exists(path) && !cached) return train_config_missing(place, key, path, written, err);
    leco_status status = model_open(cached ? cached : path, &out->model, err);
    mem_free(cached);
    LECO_TRY(status);
    out->name = key;
    model *m = out->model;
    if (!m->prediction_told && claims_v >= 0) m->schedule.prediction = claims_v ? PREDICT_V : PREDICT_EPSILON;
    if (!m->prediction_told && claims_v < 0 && m->family->v2)
        log_message(LOG_WARNING,
                    "%s: %s doesn't say what it predicts, and is taken for a model that predicts v; "
                    "v_pred says otherwise",
                    place, path);
    schedule_config schedule = out->model->schedule;
    if (c->compat == TIMESTEPS_P1ATDEV) { /* the scheduler that p1atdev's trainer makes, whatever the files say */
        schedule.steps_offset = 0;
        schedule.set_alpha_to_one = true;
        schedule.zero_terminal_snr = false;
    }
    return noise_schedule_create(&schedule, &out->schedule, err);
}

static bool is_same_folder(const char *a, const char *b)
{
    struct stat one, other;
    return stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

leco_status teachers_open(const train_config *c, frozen_model *out, leco_error *err)
{
    LECO_TRY(open_model(c, c->model_place, "pretrained_model.name_or_path", c->model, c->model_written, c->v_prediction,
                        &out[0], err));
    LECO_TRY(train_config_check_model(c, out[0].model, err));
    if (c->vae) LECO_TRY(model_take_vae(out[0].model, c->vae, err));
    for (size_t i = 0; i < c->teacher_count; i++) {
        const teacher_config *t = &c->teacher[i];
        LECO_TRY(open_model(c, t->place, t->key, t->path, t->written, t->v_prediction, &out[1 + i], err));
        LECO_TRY(check_latents(t, out[0].model, out[1 + i].model, err));
        if (is_same_folder(c->model, t->path))
            log_message(LOG_WARNING, "%s: teachers.%s is the model that is trained: it has nothing to teach it",
                        t->place, t->name);
    }
    return LECO_OK;
}

void teachers_close(frozen_model *models, size_t count)
{
    for (size_t i = 0; models && i < count; i++) {
        conditioner_destroy(models[i].conditioner);
        model_close(models[i].model);
        mem_free(models[i].schedule);
    }
    mem_free(models);
}
