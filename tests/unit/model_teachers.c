/* Teachers: one that is the model itself has nothing to teach, one of another prediction or schedule is understood, one
 * of other latents is refused. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "leco/leco.h"
#include "model_support.h"

#define MODEL FIXTURE("sd1-like")

static leco_error err;
static char warned[2048]; /* all warnings since it was emptied */
static const char *set;   /* an override, or NULL */

static void on_log(void *user, log_level level, const char *message)
{
    (void)user;
    const size_t used = strlen(warned);
    if (level == LOG_WARNING) snprintf(warned + used, sizeof warned - used, "%s\n", message);
}

static leco_status train_with(const char *donor, const char *more, leco_train_report *report)
{
    char text[2048];
    snprintf(text, sizeof text,
             "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
             "teachers: {donor: {name_or_path: \"%s\"%s}}\n"
             "train: {precision: float32, iterations: 4, max_denoising_steps: 5, lr: 1e-3, samples_per_trajectory: 2,"
             " timestep_jitter: true}\n"
             "save: {name: taught, path: out, per_steps: 0}\n"
             "prompts:\n- {target: 'a {red|blue} circle', teacher: donor, trajectory: both}\n",
             donor, more);
    test_write(test_path("train.yaml"), text, strlen(text));
    const leco_train_options o = {.overrides = &set, .override_count = set ? 1 : 0};
    *report = (leco_train_report){0};
    *warned = '\0';
    log_set_callback(on_log, NULL);
    leco_status status = leco_train(test_path("train.yaml"), &o, report, &err);
    log_set_callback(NULL, NULL);
    return status;
}

static void the_model_itself_teaches_nothing(void **state)
{
    (void)state;
    leco_train_report report;
    assert_works(train_with(MODEL, "", &report), &err);
    printf("    loss %g at first, %g at last\n", report.first_loss, report.last_loss);
    assert_true(report.first_loss < 1e-12 && report.last_loss < 1e-12);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_non_null(strstr(warned, "train.yaml:6: teachers.donor is the model that is trained: asked with the target"));
    leco_train_report_free(&report);

    set = "prompts=[{target: a circle, positive: a star, teacher: donor}]"; /* what it says of another text */
    assert_works(train_with(MODEL, "", &report), &err);
    assert_null(strstr(warned, "teachers.donor"));
    assert_true(report.first_loss > 1e-6);
    leco_train_report_free(&report);
    set = NULL;
}

/* Each model has its own clip_skip. */
static void a_teacher_skips_layers_of_its_own(void **state)
{
    (void)state;
    leco_train_report report;
    set = "pretrained_model.clip_skip=2";
    assert_works(train_with(MODEL, ", clip_skip: 2", &report), &err);
    assert_true(report.first_loss < 1e-12);
    leco_train_report_free(&report);
    assert_works(train_with(MODEL, "", &report), &err);
    assert_true(report.first_loss > 1e-6);
    leco_train_report_free(&report);
    set = NULL;
    assert_fails(train_with(MODEL, ", clip_skip: 24", &report), LECO_INVALID, &err, "train.yaml:2: teachers.donor",
                 "clip_skip is 24");
}

/* The same U-Net under another schedule is asked at the same noise: with a finer one its own timesteps are others. */
static void other_schedules_and_predictions_teach(void **state)
{
    (void)state;
    char path[1024];
    leco_train_report report;
    const char *donor = model_copy(MODEL, "other");
    snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", donor);
    model_edit(path, "prediction_type", "\"v_prediction\"");
    model_edit(path, "beta_end", "0.02");
    assert_works(train_with(donor, "", &report), &err);
    assert_true(report.first_loss > 1e-3 && isfinite(report.last_loss));
    leco_train_report_free(&report);
}

/* At the first step of a model with zero terminal SNR there is only noise. A teacher that
 * predicts noise has nothing to say of it; one that predicts v, and has the same schedule, has. */
static void noise_alone_is_nothing_to_ask_a_noise_predictor(void **state)
{
    (void)state;
    static const char *const teachers[] = {"noise", "v"};
    char path[1024], text[2048];
    for (int i = 0; i < 3; i++) {
        const char *copy = model_copy(MODEL, i == 0 ? "student" : teachers[i - 1]);
        snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", copy);
        if (i != 1) model_edit(path, "prediction_type", "\"v_prediction\"");
        if (i != 1) model_edit(path, "rescale_betas_zero_snr", "true");
        if (i != 1) model_edit(path, "timestep_spacing", "\"trailing\"");
        if (i == 0) continue;
        snprintf(text, sizeof text,
                 "pretrained_model: {name_or_path: \"%s\"}\n"
                 "teachers: {donor: {name_or_path: \"%s\"}}\n"
                 "train: {precision: float32, iterations: 3, max_denoising_steps: 2, timestep_spacing: trailing,"
                 " min_timestep: 900, timestep_jitter: false}\n"
                 "save: {name: taught, path: out, per_steps: 0}\n"
                 "prompts:\n- {target: a circle, positive: a star, teacher: donor}\n",
                 test_path("student"), copy);
        test_write(test_path("train.yaml"), text, strlen(text));
        const leco_train_options o = {0};
        leco_train_report report = {0};
        assert_works(leco_train(test_path("train.yaml"), &o, &report, &err), &err);
        printf("    a teacher of %s: loss %g\n", teachers[i - 1], report.first_loss);
        assert_true(isfinite(report.first_loss) && (report.first_loss > 0) == (i == 2));
        leco_train_report_free(&report);
    }
}

/* min(SNR, gamma) / (SNR + 1), which is 0 there. */
static void noise_alone_weighs_nothing_by_min_snr(void **state)
{
    (void)state;
    char path[1024], text[2048];
    const char *copy = model_copy(MODEL, "zero");
    snprintf(path, sizeof path, "%s/scheduler/scheduler_config.json", copy);
    model_edit(path, "prediction_type", "\"v_prediction\"");
    model_edit(path, "rescale_betas_zero_snr", "true");
    model_edit(path, "timestep_spacing", "\"trailing\"");
    for (int gamma = 0; gamma <= 5; gamma += 5) {
        snprintf(text, sizeof text,
                 "pretrained_model: {name_or_path: \"%s\"}\n"
                 "train: {precision: float32, iterations: 1, max_denoising_steps: 2, timestep_spacing: trailing,"
                 " min_timestep: 900, timestep_jitter: false, min_snr_gamma: %d}\n"
                 "save: {name: weighed, path: out, per_steps: 0}\n"
                 "prompts:\n- {target: a circle, positive: a star}\n",
                 copy, gamma);
        test_write(test_path("train.yaml"), text, strlen(text));
        const leco_train_options o = {0};
        leco_train_report report = {0};
        assert_works(leco_train(test_path("train.yaml"), &o, &report, &err), &err);
        printf("    gamma %d: loss %g\n", gamma, report.first_loss);
        assert_true(isfinite(report.first_loss) && (report.first_loss > 0) == (gamma == 0));
        leco_train_report_free(&report);
    }
}

static const char *disturbed; /* the tensor's name */

static bool disturb(safetensors_entry *entry, float *data)
{
    if (strcmp(entry->name, disturbed) == 0) data[0] += 1;
    return true;
}

/* A copy of the model whose VAE has another value in that tensor. */
static const char *disturb_vae(const char *name)
{
    char path[1024];
    const char *donor = model_copy(MODEL, "donor");
    snprintf(path, sizeof path, "%s/vae/diffusion_pytorch_model.safetensors", donor);
    disturbed = name;
    model_rewrite(path, disturb);
    return donor;
}

static void other_latents_are_refused(void **state)
{
    (void)state;
    static const char *const encoders[] = {"encoder.conv_out.weight", "encoder.conv_in.weight", "quant_conv.bias",
                                           "encoder.down_blocks.0.resnets.0.norm1.weight"};
    char path[1024];
    leco_train_report report;
    for (size_t i = 0; i < sizeof encoders / sizeof *encoders; i++)
        assert_fails(train_with(disturb_vae(encoders[i]), "", &report), LECO_INVALID, &err,
                     "train.yaml:2: teachers.donor: its VAE isn't that of", encoders[i]);
    assert_works(train_with(test_path("donor"), ", same_latents: true", &report), &err);
    leco_train_report_free(&report);
    assert_works(train_with(disturb_vae("decoder.conv_in.weight"), "", &report), &err); /* the same latents */
    leco_train_report_free(&report);
    const char *donor = model_copy(MODEL, "donor");
    snprintf(path, sizeof path, "%s/vae/config.json", donor);
    model_edit(path, "scaling_factor", "0.13");
    assert_fails(train_with(donor, "", &report), LECO_INVALID, &err, "scaling_factor 0.13");
    assert_fails(train_with("/nowhere", "", &report), LECO_IO, &err,
                 "teachers.donor.name_or_path: there is no /nowhere");
}

static void a_teacher_may_lack_a_vae(void **state)
{
    (void)state;
    char path[1024];
    leco_train_report report;
    const char *donor = model_copy(MODEL, "bare");
    snprintf(path, sizeof path, "%s/vae", donor);
    assert_int_equal(rename(path, test_path("aside")), 0);
    assert_fails(train_with(test_path("bare"), "", &report), LECO_INVALID, &err,
                 "train.yaml:2: teachers.donor: ", "bare has no VAE to tell by", "same_latents: true");
    assert_works(train_with(test_path("bare"), ", same_latents: true", &report), &err);
    leco_train_report_free(&report);
}

/* As with the trained model. */
static void claims_that_files_contradict_are_refused(void **state)
{
    (void)state;
    leco_train_report report;
    assert_fails(train_with(MODEL, ", v_pred: true", &report), LECO_INVALID, &err,
                 "train.yaml:2: teachers.donor.v_pred is true, but ", "says epsilon");
    assert_works(train_with(MODEL, ", v_pred: false", &report), &err);
    leco_train_report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_itself_teaches_nothing),
        cmocka_unit_test(other_schedules_and_predictions_teach),
        cmocka_unit_test(noise_alone_is_nothing_to_ask_a_noise_predictor),
        cmocka_unit_test(noise_alone_weighs_nothing_by_min_snr),
        cmocka_unit_test(a_teacher_skips_layers_of_its_own),
        cmocka_unit_test(other_latents_are_refused),
        cmocka_unit_test(a_teacher_may_lack_a_vae),
        cmocka_unit_test(claims_that_files_contradict_are_refused),
    };
    return cmocka_run_group_tests_name("unit/model_teachers", tests, NULL, NULL);
}
