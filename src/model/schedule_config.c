#include <string.h>

#include "model/config_json.h"
#include "model/model.h"

/* The schedulers whose configs describe the noise by betas. What else they say chooses among samplers. */
static const char *const classes[] = {
    "DDIMScheduler",
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "PNDMScheduler",
    "LMSDiscreteScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSinglestepScheduler",
    "DPMSolverSDEScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
    "SASolverScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "RePaintScheduler",
};

/* Every key of those classes (diffusers 0.35 to 0.42). */
static const config_key keys[] = {
    /* read */
    {"num_train_timesteps", "*a whole number"},
    {"beta_start", "*a number"},
    {"beta_end", "*a number"},
    {"beta_schedule", "\"scaled_linear\"|\"linear\""},
    {"prediction_type", "\"epsilon\"|\"v_prediction\""},
    {"steps_offset", "*a whole number"},
    {"set_alpha_to_one", "*true or false"},
    {"timestep_spacing", "\"leading\"|\"trailing\"|\"linspace\""},
    {"rescale_betas_zero_snr", NULL},
    {"clip_sample", NULL},
    /* other noise, or another thing to predict */
    {"trained_betas", "null"},
    {"betas", "null"}, /* what somebody may have meant by these; diffusers would ignore them */
    {"alphas_cumprod", "null"},
    {"snr_shift_scale", "1|null"},
    {"predict_epsilon", "true|null"}, /* prediction_type before diffusers 0.9 */
    {"variance_type", "\"fixed_small\"|\"fixed_small_log\"|\"fixed_large\"|\"fixed_large_log\"|null"},
    {"timestep_type", "\"discrete\"|null"}, /* the model is told the logarithm of sigma */
    {"use_flow_sigmas", "false|null"},
    {"use_dynamic_shifting", "false|null"},
    {"shift_terminal", "null"},
    {"thresholding", "false|null"},
    /* of thresholding, clipping and flows, when they are on */
    {"dynamic_thresholding_ratio", NULL},
    {"sample_max_value", NULL},
    {"clip_sample_range", NULL},
    {"flow_shift", NULL},
    {"time_shift_type", NULL},
    /* of other samplers */
    {"algorithm_type", NULL},
    {"corrector_order", NULL},
    {"disable_corrector", NULL},
    {"eta", NULL},
    {"euler_at_final", NULL},
    {"final_sigmas_type", NULL},
    {"interpolation_type", NULL},
    {"lambda_min_clipped", NULL},
    {"lower_order_final", NULL},
    {"noise_sampler_seed", NULL},
    {"original_inference_steps", NULL},
    {"predict_x0", NULL},
    {"predictor_order", NULL},
    {"sigma_max", NULL},
    {"sigma_min", NULL},
    {"skip_prk_steps", NULL},
    {"solver_order", NULL},
    {"solver_p", NULL},
    {"solver_type", NULL},
    {"tau_func", NULL},
    {"tensor_format", NULL},
    {"timestep_scaling", NULL},
    {"use_beta_sigmas", NULL},
    {"use_exponential_sigmas", NULL},
    {"use_karras_sigmas", NULL},
    {"use_lu_lambdas", NULL},
    {NULL, NULL},
};

static bool is(const char *text, const char *other)
{
    return strcmp(text, other) == 0;
}

static leco_status check_class(const json_t *root, const char *path, leco_error *err)
{
    const char *name;
    LECO_TRY(json_get_string(root, path, "_class_name", classes[0], &name, err));
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (is(name, classes[i])) return LECO_OK;
    return config_refuse(json_object_get(root, "_class_name"), path, "_class_name",
                         "the noise of DDIM, PNDM, Euler, DPM++, UniPC and others that have betas", err);
}

static leco_status check_betas(const schedule_config *c, const char *path, leco_error *err)
{
    char start[32], end[32];
    if (c->beta_start > 0 && c->beta_start <= c->beta_end && c->beta_end < 1) return LECO_OK;
    return error_set(
        err, LECO_INVALID,
        "%s: keys \"beta_start\" and \"beta_end\": expected 0 < beta_start <= beta_end < 1, found %s and %s", path,
        json_number(c->beta_start, start), json_number(c->beta_end, end));
}

/* What is absent is what diffusers' DDIMScheduler.from_config makes of it, whatever the folder's own class would. Two
 * exceptions: clip_sample, which StableDiffusionPipeline turns off, and timestep_spacing, of which each of diffusers'
 * classes has its own default. (And of steps_offset that pipeline makes 1: leco's does, too, where it draws.) */
static leco_status read_config(const json_t *root, const char *path, void *config, leco_error *err)
{
    schedule_config *c = config;
    const char *beta, *predicts, *spacing;
    LECO_TRY(check_class(root, path, err));
    LECO_TRY(config_check(root, path, keys, CONFIG_WARN_OF_UNKNOWN, err));
    LECO_TRY(
        json_get_int(root, path, "num_train_timesteps", 1000, 1, SCHEDULE_MAX_TIMESTEPS, &c->train_timesteps, err));
    LECO_TRY(json_get_double(root, path, "beta_start", 0.0001, &c->beta_start, err));
    LECO_TRY(json_get_double(root, path, "beta_end", 0.02, &c->beta_end, err));
    LECO_TRY(check_betas(c, path, err));
    LECO_TRY(json_get_string(root, path, "beta_schedule", "linear", &beta, err));
    LECO_TRY(json_get_string(root, path, "prediction_type", "epsilon", &predicts, err));
    LECO_TRY(json_get_string(root, path, "timestep_spacing", "", &spacing, err));
    LECO_TRY(json_get_int(root, path, "steps_offset", 0, 0, c->train_timesteps - 1, &c->steps_offset, err));
    LECO_TRY(json_get_bool(root, path, "set_alpha_to_one", true, &c->set_alpha_to_one, err));
    LECO_TRY(json_get_bool(root, path, "clip_sample", false, &c->clip_sample, err));
    if (!json_is_null(json_object_get(root, "rescale_betas_zero_snr")))
        LECO_TRY(json_get_bool(root, path, "rescale_betas_zero_snr", false, &c->zero_terminal_snr, err));
    c->beta = is(beta, "linear") ? BETA_LINEAR : BETA_SCALED_LINEAR;
    c->prediction = is(predicts, "v_prediction") ? PREDICT_V : PREDICT_EPSILON;
    c->spacing = is(spacing, "leading")    ? SPACING_LEADING
                 : is(spacing, "trailing") ? SPACING_TRAILING
                 : is(spacing, "linspace") ? SPACING_LINSPACE
                                           : SPACING_UNSAID;
    if (c->zero_terminal_snr && c->prediction == PREDICT_EPSILON)
        return error_set(
            err, LECO_INVALID,
            "%s: key \"rescale_betas_zero_snr\": true leaves nothing but noise at the last timestep, of which "
            "a model that predicts epsilon can say nothing: expected \"prediction_type\": \"v_prediction\"",
            path);
    return LECO_OK;
}

leco_status schedule_config_read(const char *folder, schedule_config *config, leco_error *err)
{
    *config = (schedule_config){0};
    return config_read(folder, "scheduler_config.json", read_config, config, err);
}
