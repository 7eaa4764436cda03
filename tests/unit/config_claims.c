/* What a config claims about the model that it names (v_pred, v2), and the scheduler it asks for. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "diffusion/sampler.h"
#include "model/family.h"
#include "train/config.h"

static leco_error err;
static char warned[1024];
static int warnings;

static void on_log(void *user, log_level level, const char *message)
{
    (void)user;
    if (level != LOG_WARNING) return;
    snprintf(warned, sizeof warned, "%s", message);
    warnings++;
}

/* Reads a config that says `claim`, and checks it against a model of the family sd1 or sd2 that predicts epsilon. */
static leco_status check(bool sd2, const char *claim)
{
    char text[256];
    snprintf(text, sizeof text, "pretrained_model:\n  name_or_path: m\n%sprompts: [{target: x}]\n", claim);
    test_write(test_path("config.yaml"), text, strlen(text));
    train_config c;
    model m = {.unet.use_linear_projection = sd2,
               .text.act = sd2 ? ACT_GELU : ACT_QUICK_GELU,
               .schedule = {.prediction = PREDICT_EPSILON, .train_timesteps = 1000}};
    m.family = family_of(&m);
    warnings = 0;
    LECO_TRY(train_config_read(test_path("config.yaml"), NULL, 0, &c, &err));
    leco_status status = train_config_check_model(&c, &m, &err);
    train_config_free(&c);
    return status;
}

static void a_wrong_v2_gives_a_warning(void **state)
{
    (void)state;
    log_set_callback(on_log, NULL);
    assert_works(check(false, ""), &err);
    assert_works(check(false, "  v2: false\n"), &err);
    assert_works(check(true, "  v2: true\n"), &err);
    assert_works(check(true, ""), &err);
    assert_int_equal(warnings, 0);
    assert_works(check(false, "  v2: true\n"), &err);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(warned, "v2 is true"));
    assert_non_null(strstr(warned, "sd1"));
    assert_works(check(true, "  v2: no\n"), &err);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(warned, "v2 is false"));
    log_set_callback(NULL, NULL);
}

/* The projections of Stable Diffusion 1 as matrices: its text encoder tells. */
static void matrices_make_no_other_family(void **state)
{
    (void)state;
    const model sd1 = {.unet.use_linear_projection = true, .text.act = ACT_QUICK_GELU};
    const model sd2 = {.unet.use_linear_projection = true, .text.act = ACT_GELU};
    assert_string_equal(family_of(&sd1)->name, "sd1");
    assert_string_equal(family_of(&sd2)->name, "sd2");
}

static void a_wrong_v_pred_is_refused(void **state)
{
    (void)state;
    assert_fails(check(false, "  v_pred: true\n"), LECO_INVALID, &err, "pretrained_model.v_pred is true", "epsilon");
    assert_works(check(false, "  v_pred: false\n"), &err);
}

static const char *least_config(void)
{
    static const char text[] = "pretrained_model: {name_or_path: m}\nprompts: [{target: x}]\n";
    test_write(test_path("config.yaml"), text, strlen(text));
    return test_path("config.yaml");
}

static void the_scheduler_is_a_row_of_the_samplers(void **state)
{
    (void)state;
    for (size_t i = 0; sampler_at(i); i++) {
        char override[64];
        const char *overrides[] = {override};
        train_config c;
        snprintf(override, sizeof override, "train.noise_scheduler=%s", sampler_at(i)->name);
        assert_works(train_config_read(least_config(), overrides, 1, &c, &err), &err);
        assert_ptr_equal(c.sampler, sampler_at(i));
        train_config_free(&c);
    }
}

static void what_goes_with_the_scheduler(void **state)
{
    (void)state;
    static const struct {
        const char *train, *says[2]; /* says[0] NULL: nothing is wrong */
        timestep_spacing spacing;
    } cases[] = {
        {"noise_scheduler: ddim", {NULL}, SPACING_LEADING},
        {"noise_scheduler: lms", {NULL}, SPACING_LEADING},
        {"noise_scheduler: lms, timestep_compat: p1atdev", {NULL}, SPACING_LINSPACE},
        {"noise_scheduler: ddpm, timestep_compat: p1atdev", {NULL}, SPACING_LEADING},
        {"noise_scheduler: uni_pc, timestep_spacing: trailing, timestep_jitter: true", {NULL}, SPACING_TRAILING},
        {"noise_scheduler: heun, karras_sigmas: true", {NULL}, SPACING_LEADING},
        {"noise_scheduler: ddpm, karras_sigmas: true", {"train.karras_sigmas", "ddpm"}, 0},
        {"noise_scheduler: euler, karras_sigmas: true, timestep_jitter: true", {"train.timestep_jitter", "Karras"}, 0},
        {"timestep_spacing: linspace, timestep_jitter: true", {"train.timestep_jitter", "linspace"}, 0},
        {"noise_scheduler: heun, timestep_compat: p1atdev", {"train.timestep_compat", "euler_a"}, 0},
        {"timestep_spacing: even", {"train.timestep_spacing", "trailing"}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char override[256];
        const char *const overrides[] = {override};
        train_config c;
        snprintf(override, sizeof override, "train={%s}", cases[i].train);
        leco_status status = train_config_read(least_config(), overrides, 1, &c, &err);
        if (cases[i].says[0]) {
            assert_fails(status, LECO_INVALID, &err, cases[i].says[0], cases[i].says[1]);
            continue;
        }
        assert_works(status, &err);
        assert_int_equal(c.spacing, cases[i].spacing);
        train_config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_v2_gives_a_warning),   cmocka_unit_test(matrices_make_no_other_family),
        cmocka_unit_test(a_wrong_v_pred_is_refused),    cmocka_unit_test(the_scheduler_is_a_row_of_the_samplers),
        cmocka_unit_test(what_goes_with_the_scheduler),
    };
    return cmocka_run_group_tests_name("unit/config_claims", tests, NULL, NULL);
}
