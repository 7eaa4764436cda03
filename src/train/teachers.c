#include "train/teachers.h"

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/family.h"
#include "train/modes.h"

/* ---- latent spaces ---- */

/* Tensors in which two files may differ by the rounding of float16 and bfloat16. */
static const double ROUNDING = 8e-3;

static leco_status compare_values(const weight *a, const weight *b, bool *same, leco_error *err)
{
    const weight *const w[] = {a, b};
    const size_t count = (size_t)shape_count(&a->shape);
    float *values = mem_calloc(2 * count, sizeof *values);
    if (!values) return error_memory(err, 2 * count * sizeof *values, a->name);
    for (size_t i = 0; i < 2; i++) dtype_convert(values + i * count, DTYPE_F32, w[i]->data, w[i]->type, count);
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        if (fabs((double)values[i]) > largest) largest = fabs((double)values[i]);
    *same = true;
    for (size_t i = 0; i < count && *same; i++)
        *same = fabs((double)values[i] - (double)values[count + i]) <= ROUNDING * largest;
    mem_free(values);
    return LECO_OK;
}

/* Does the donor's VAE have this tensor, too, but for the rounding of its largest element? */
static leco_status compare(const weight *a, model *donor, bool *same, leco_error *err)
{
    weights *of = donor->weights[PART_VAE];
    weight *b;
    *same = false;
    if (!weights_has(of, a->name) || weights_get(of, a->name, a->shape, &b, NULL) != LECO_OK) return LECO_OK;
    *same = a->type == b->type && memcmp(a->data, b->data, (size_t)shape_count(&a->shape) * dtype_size(a->type)) == 0;
    return *same ? LECO_OK : compare_values(a, b, same, err);
}

/* What makes a picture these latents and no others. */
static bool is_encoders(const weight *w)
{
    return w && (strncmp(w->name, "encoder.", 8) == 0 || strncmp(w->name, "quant_conv.", 11) == 0);
}

/* Decoders may be tuned. *differs: the first tensor of the encoder that the donor hasn't got, or NULL; it lasts as long
 * as the student's VAE is mapped. */
static leco_status compare_encoders(const model *student, model *donor, const char **differs, leco_error *err)
{
    const weights *own = student->weights[PART_VAE];
    *differs = NULL;
    for (size_t i = 0; i < weights_count(own) && !*differs; i++) {
        const weight *w = weights_used(own, i);
        bool same = true;
        if (is_encoders(w)) LECO_TRY(compare(w, donor, &same, err));
        if (!same) *differs = w->name;
    }
    return LECO_OK;
}

static leco_status check_encoders(const teacher_config *t, model *student, model *donor, leco_error *err)
{
    const char *differs;
    const model *lacking = student->lacks_vae ? student : donor->lacks_vae ? donor : NULL;
    if (lacking)
        return error_set(err, LECO_INVALID,
                         "%s: teachers.%s: %s has no VAE to tell by that its latents mean the same pictures; "
                         "same_latents: true takes it for granted",
                         t->place, t->name, lacking->folder);
    LECO_TRY(model_map(student, MODEL_VAE, err));
    LECO_TRY(model_map(donor, MODEL_VAE, err));
    leco_status status = compare_encoders(student, donor, &differs, err);
    if (status == LECO_OK && differs)
        status = error_set(err, LECO_INVALID,
                           "%s: teachers.%s: its VAE isn't that of %s (%s differs), so its latents mean other "
                           "pictures; same_latents: true trains all the same",
                           t->place, t->name, student->folder, differs);
    model_unload(student, PART_VAE);
    model_unload(donor, PART_VAE);
    return status;
}

static leco_status check_latents(const teacher_config *t, model *student, model *donor, leco_error *err)
{
    const vae_config *a = &student->vae, *b = &donor->vae;
    const bool known = !student->lacks_vae && !donor->lacks_vae;
    if (a->latent_channels != b->latent_channels || (known && vae_factor(a) != vae_factor(b)))
        return error_set(err, LECO_INVALID,
                         "%s: teachers.%s: latents of %lld channels, a %lldth of the picture's size, but %s has %lld "
                         "and a %lldth",
                         t->place, t->name, (long long)b->latent_channels, (long long)vae_factor(b), student->folder,
                         (long long)a->latent_channels, (long long)vae_factor(a));
    if (t->same_latents) return LECO_OK;
    if (known && fabsf(a->scaling_factor - b->scaling_factor) > 1e-4f * fabsf(a->scaling_factor))
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
    LECO_TRY(train_config_check_place(place, key, path, written, err));
    leco_status status = model_open(path, &out->model, err);
    if (status != LECO_OK) return error_prefix(err, status, "%s: %s", place, key);
    out->name = key;
    model *m = out->model;
    status = model_predict(m, m->prediction_told ? -1 : claims_v, "v_pred does", err);
    if (status != LECO_OK) return error_prefix(err, status, "%s: %s", place, key);
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

/* Where a teacher that is the trained model itself is asked what the student is. */
static void warn_of_itself(const train_config *c, size_t which)
{
    const teacher_config *t = &c->teacher[which];
    if (!file_is_same(c->model, t->path)) return;
    for (size_t i = 0; i < c->prompt_count; i++) {
        const train_prompt *p = &c->prompt[i];
        if (p->teacher != 1 + which || !p->action->of_teacher || strcmp(p->target, p->positive) != 0) continue;
        log_message(LOG_WARNING,
                    "%s: teachers.%s is the model that is trained: asked with the target itself, it has nothing to "
                    "teach it; give another positive",
                    p->place, t->name);
        return;
    }
}

/* As with the trained model, what its files say is so. */
static leco_status check_claim(const teacher_config *t, const model *m, leco_error *err)
{
    const int is_v = m->schedule.prediction == PREDICT_V;
    if (t->v_prediction < 0 || t->v_prediction == is_v) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: teachers.%s.v_pred is %s, but %s says %s", t->place, t->name,
                     t->v_prediction ? "true" : "false", t->path, is_v ? "v_prediction" : "epsilon");
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
        LECO_TRY(check_claim(t, out[1 + i].model, err));
        LECO_TRY(check_latents(t, out[0].model, out[1 + i].model, err));
        warn_of_itself(c, i);
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
