/* Teachers: one that is the model itself has nothing to teach, one of another prediction or schedule is understood, one
 * of other latents is refused. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "leco/leco.h"
#include "model_support.h"

#define MODEL FIXTURE("sd1-like")

static leco_error err;

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
    const leco_train_options o = {0};
    *report = (leco_train_report){0};
    return leco_train(test_path("train.yaml"), &o, report, &err);
}

static void the_model_itself_teaches_nothing(void **state)
{
    (void)state;
    leco_train_report report;
    assert_works(train_with(MODEL, "", &report), &err);
    printf("    loss %g at first, %g at last\n", report.first_loss, report.last_loss);
    assert_true(report.first_loss < 1e-12 && report.last_loss < 1e-12);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    leco_train_report_free(&report);
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

static bool disturb(safetensors_entry *entry, float *data)
{
    if (strcmp(entry->name, "encoder.conv_out.weight") == 0) data[0] += 1;
    return true;
}

static void other_latents_are_refused(void **state)
{
    (void)state;
    char path[1024];
    leco_train_report report;
    const char *donor = model_copy(MODEL, "donor");
    snprintf(path, sizeof path, "%s/vae/diffusion_pytorch_model.safetensors", donor);
    model_rewrite(path, disturb);
    assert_fails(train_with(donor, "", &report), LECO_INVALID, &err,
                 "train.yaml:2: teachers.donor: its VAE isn't that of", "encoder.conv_out.weight");
    assert_works(train_with(donor, ", same_latents: true", &report), &err);
    leco_train_report_free(&report);
    donor = model_copy(MODEL, "donor");
    snprintf(path, sizeof path, "%s/vae/config.json", donor);
    model_edit(path, "scaling_factor", "0.13");
    assert_fails(train_with(donor, "", &report), LECO_INVALID, &err, "scaling_factor 0.13");
    assert_fails(train_with("/nowhere", "", &report), LECO_IO, &err,
                 "teachers.donor.name_or_path: there is no /nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_itself_teaches_nothing),
        cmocka_unit_test(other_schedules_and_predictions_teach),
        cmocka_unit_test(noise_alone_is_nothing_to_ask_a_noise_predictor),
        cmocka_unit_test(other_latents_are_refused),
    };
    return cmocka_run_group_tests_name("unit/model_teachers", tests, NULL, NULL);
}
