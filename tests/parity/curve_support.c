#include "curve_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "diffusion/latents.h"
#include "model/adapter_keys.h"
#include "model/kinds.h"

static leco_error err;

const safetensors_entry *curve_need(const safetensors *file, const char *name)
{
    const safetensors_entry *e = safetensors_find(file, name);
    if (!e) fail_msg("%s has no %s", safetensors_path(file), name);
    return e;
}

double curve_number(const safetensors *file, const char *name)
{
    const safetensors_entry *e = curve_need(file, name);
    if (e->type == DTYPE_I64) {
        int64_t value;
        memcpy(&value, e->data, sizeof value);
        return (double)value;
    }
    float value;
    memcpy(&value, e->data, sizeof value);
    return (double)value;
}

/* sd2-like has no VAE, which training doesn't run but whose factor sizes are given by: a folder of links lends it
 * another's. */
const char *curve_model(const char *fixture)
{
    static char folder[512];
    const char *above = fixture_is_embedded(fixture) ? LECO_SOURCE_DIR "/models/" : FIXTURES;
    snprintf(folder, sizeof folder, "%s%s", above, fixture);
    if (strcmp(fixture, "sd2-like") != 0) return folder;
    const char *const parts[] = {"model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae"};
    const char *made = test_path("sd2-like");
    const bool there = access(made, F_OK) == 0;
    if (!there) assert_int_equal(mkdir(made, 0777), 0);
    for (size_t i = 0; !there && i < sizeof parts / sizeof parts[0]; i++) {
        char from[1024], to[1024];
        snprintf(from, sizeof from, "%s%s/%s", FIXTURES, strcmp(parts[i], "vae") == 0 ? "sd1-like" : fixture, parts[i]);
        snprintf(to, sizeof to, "%s/%s", made, parts[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    snprintf(folder, sizeof folder, "%s", made);
    return folder;
}

/* What the fixture has of a module's k-th param. */
static const safetensors_entry *matrix(const safetensors *file, const char *prefix, const trainable_module *m, size_t k)
{
    char name[512], *key = adapter_tensor_name(m, k);
    snprintf(name, sizeof name, "%s.%s", prefix, key);
    mem_free(key);
    const safetensors_entry *e = curve_need(file, name);
    assert_int_equal(e->count, shape_count(&m->param[k].shape));
    return e;
}

static void load_initial(const safetensors *file, trainable *l)
{
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        trainable_module *m = trainable_module_at(l, i);
        for (size_t k = 0; k < m->params; k++) {
            const safetensors_entry *e = matrix(file, "init", m, k);
            memcpy(m->param[k].value, e->data, e->count * sizeof(float));
        }
    }
    trainable_changed(l);
}

void curve_begin(curve_run *r, const safetensors *file, const char *config, const char *device_name)
{
    assert_works(train_config_read(config, NULL, 0, &r->config, &err), &err);
    assert_works(trainer_create_for(&r->config, NULL, device_name, &r->trainer, &err), &err);
    load_initial(file, trainer_trainable(r->trainer));
}

void curve_end(curve_run *r)
{
    trainer_destroy(r->trainer);
    train_config_free(&r->config);
}

void curve_compare(const safetensors *file, size_t step, const char *what, const float *ours, latent_size size,
                   size_t views)
{
    values theirs = fixture_read(file, "step%zu.%s", step, what);
    latent_size all = size;
    all.batch *= (int64_t)views;
    assert_int_equal(theirs.count, latent_count(all));
    values want = {.at = mem_calloc(theirs.count, sizeof *want.at), .count = theirs.count};
    assert_non_null(want.at);
    latents_from_nchw(theirs.at, want.at, all);
    const double error = worst_error(ours, &want);
    if (!(error < 1e-4)) fail_msg("step%zu.%s is off by %.1e of its largest element", step, what, error);
    values_free(&theirs);
    values_free(&want);
}

/* |ours - theirs|^2 and |theirs - initial|^2 over a tensor: their root is how much of the change is wrong. */
static void add_change_error(const float *ours, const safetensors_entry *theirs, const safetensors_entry *initial,
                             double *wrong, double *moved)
{
    const float *t = theirs->data, *start = initial->data;
    for (size_t i = 0; i < theirs->count; i++) {
        *wrong += ((double)ours[i] - (double)t[i]) * ((double)ours[i] - (double)t[i]);
        *moved += ((double)t[i] - (double)start[i]) * ((double)t[i] - (double)start[i]);
    }
}

void curve_measure_change(const safetensors *file, trainable *l, curve_deviation *d)
{
    double all_wrong = 0, all_moved = 0;
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        trainable_module *m = trainable_module_at(l, i);
        for (size_t k = 0; k < m->params; k++) {
            double wrong = 0, moved = 0;
            add_change_error(m->param[k].value, matrix(file, "final", m, k), matrix(file, "init", m, k), &wrong,
                             &moved);
            const double off = moved > 0 ? sqrt(wrong / moved) : sqrt(wrong);
            if (!(off <= d->change)) d->change = off;
            all_wrong += wrong;
            all_moved += moved;
        }
    }
    d->whole = sqrt(all_wrong / all_moved);
}

double curve_moved(const safetensors *file, trainable *l)
{
    double moved = 0;
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        const trainable_module *m = trainable_module_at(l, i);
        for (size_t k = 0; k < m->params; k++) {
            const safetensors_entry *e = matrix(file, "init", m, k);
            const float *start = e->data, *now = m->param[k].value;
            for (size_t j = 0; j < e->count; j++) {
                const double by = (double)now[j] - (double)start[j];
                moved += by * by;
            }
        }
    }
    return sqrt(moved);
}

double curve_measure_gradients(const safetensors *file, trainable *l, const float *grads, double scale)
{
    const float *first = trainable_grads(l);
    double worst = 0;
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        const trainable_module *m = trainable_module_at(l, i);
        for (size_t k = 0; k < m->params; k++) {
            char *key = adapter_tensor_name(m, k);
            values want = fixture_read(file, "grad.%s", key);
            assert_int_equal(want.count, shape_count(&m->param[k].shape));
            for (size_t j = 0; j < want.count; j++) want.at[j] = (float)((double)want.at[j] / scale);
            const double error = norm_error(grads + ((const float *)m->param[k].grad - first), &want);
            if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
            values_free(&want);
            mem_free(key);
        }
    }
    return worst;
}
