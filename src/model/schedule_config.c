#include <string.h>

#include "base/mem.h"
#include "model/config.h"
#include "model/model.h"

/* Values that change the numbers in ways leco doesn't follow. The many other keys of diffusers' schedulers choose among
 * samplers, which is the user's business. */
static const config_rule refused[] = {
    {"trained_betas", ""},
    {"rescale_betas_zero_snr", "false"},
    {"thresholding", "false"},
    {"beta_schedule", "\"scaled_linear\"|\"linear\""},
    {"prediction_type", "\"epsilon\"|\"v_prediction\""},
    {"timestep_spacing", "\"leading\"|\"trailing\"|\"linspace\""},
    {NULL, NULL},
};

/* The rules alone: keys without one are fine. */
static leco_status check(const json_t *root, const char *path, leco_error *err)
{
    for (const config_rule *rule = refused; rule->key; rule++) {
        json_t *value = json_object_get(root, rule->key);
        if (!value) continue;
        json_t *one = json_pack("{s:O}", rule->key, value);
        if (!one) return error_memory(err, 0, path);
        leco_status status = config_check(one, path, "", refused, err);
        json_decref(one);
        if (status != LECO_OK) return status;
    }
    return LECO_OK;
}

static bool is(const char *text, const char *other)
{
    return strcmp(text, other) == 0;
}

static leco_status read_config(const json_t *root, const char *path, schedule_config *c, leco_error *err)
{
    const char *name, *beta, *predicts, *spacing;
    LECO_TRY(json_get_string(root, path, "_class_name", "DDIMScheduler", &name, err));
    if (strstr(name, "Flow"))
        return config_refuse(json_object_get(root, "_class_name"), path, "_class_name",
                             "schedules of discrete timesteps", err);
    LECO_TRY(check(root, path, err));
    bool ddim = is(name, "DDIMScheduler");
    LECO_TRY(json_get_int(root, path, "num_train_timesteps", 1000, 1, 1000000, &c->train_timesteps, err));
    LECO_TRY(json_get_double(root, path, "beta_start", 0.0001, &c->beta_start, err));
    LECO_TRY(json_get_double(root, path, "beta_end", 0.02, &c->beta_end, err));
    LECO_TRY(json_get_string(root, path, "beta_schedule", "linear", &beta, err));
    LECO_TRY(json_get_string(root, path, "prediction_type", "epsilon", &predicts, err));
    LECO_TRY(json_get_string(root, path, "timestep_spacing", "leading", &spacing, err));
    LECO_TRY(json_get_int(root, path, "steps_offset", 0, 0, c->train_timesteps - 1, &c->steps_offset, err));
    LECO_TRY(json_get_bool(root, path, "set_alpha_to_one", ddim, &c->set_alpha_to_one, err));
    LECO_TRY(json_get_bool(root, path, "clip_sample", ddim || is(name, "DDPMScheduler"), &c->clip_sample, err));
    c->beta = is(beta, "linear") ? BETA_LINEAR : BETA_SCALED_LINEAR;
    c->prediction = is(predicts, "v_prediction") ? PREDICT_V : PREDICT_EPSILON;
    c->spacing = is(spacing, "leading")    ? SPACING_LEADING
                 : is(spacing, "trailing") ? SPACING_TRAILING
                                           : SPACING_LINSPACE;
    if (!(c->beta_start > 0 && c->beta_start <= c->beta_end && c->beta_end < 1))
        return error_set(err, LECO_INVALID, "%s: keys \"beta_start\" and \"beta_end\": expected 0 < %g <= %g < 1", path,
                         c->beta_start, c->beta_end);
    return LECO_OK;
}

leco_status schedule_config_read(const char *folder, schedule_config *config, leco_error *err)
{
    char *path;
    json_t *root;
    memset(config, 0, sizeof *config);
    LECO_TRY(config_open(folder, "scheduler_config.json", &path, &root, err));
    leco_status status = read_config(root, path, config, err);
    json_decref(root);
    mem_free(path);
    return status;
}
