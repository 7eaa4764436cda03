/* A host program whose locale writes numbers with a comma: what the library reads, writes and says has points
 * nevertheless, and the host's locale stays its own. */
#include "test_support.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/safetensors.h"
#include "leco/leco.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define LORA MODEL "/lora.safetensors"

static leco_error err;

/* A glibc locale file, C.UTF-8's LC_NUMERIC with a comma in place of the point: its mark, how many values there are,
 * where they begin, and they. Not a locale of the machine: which it has is up to it. */
// clang-format off
static const unsigned char comma_numeric[] = {
    0x14, 0x11, 0x03, 0x20,  6, 0, 0, 0,
    32, 0, 0, 0,  34, 0, 0, 0,  35, 0, 0, 0,  36, 0, 0, 0,  40, 0, 0, 0,  44, 0, 0, 0,
    ',', 0,  0,  0,  ',', 0, 0, 0,  0, 0, 0, 0,  'U', 'T', 'F', '-', '8', 0,
};
// clang-format on

static bool has_comma(void)
{
    char text[8];
    snprintf(text, sizeof text, "%.1f", 1.5);
    return strcmp(text, "1,5") == 0;
}

/* Skips the test where this C library takes no locale of that make. */
static int set_comma(void **state)
{
    (void)state;
    assert_int_equal(mkdir(test_path("comma"), 0777), 0);
    test_write(test_path("comma/LC_NUMERIC"), comma_numeric, sizeof comma_numeric);
    setenv("LOCPATH", test_folder(), 1);
    if (!setlocale(LC_NUMERIC, "comma")) print_message("this C library takes no locale from LOCPATH: skipped\n");
    return 0;
}

#define NEEDS_COMMA()                                                                                                  \
    do {                                                                                                               \
        if (!has_comma()) skip();                                                                                      \
    } while (0)

typedef struct heard {
    int count, commas;
} heard;

static bool on_progress(void *user, const leco_progress *p)
{
    (void)p;
    heard *h = user;
    h->count++;
    h->commas += has_comma();
    return true;
}

static void on_log(void *user, leco_log_level level, const char *message)
{
    (void)level;
    (void)message;
    on_progress(user, NULL);
}

static const char config[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                             "network: {alpha: 0.5}\n"
                             "train: {precision: float32, iterations: 2, max_denoising_steps: 2, lr: 1.5e-3,"
                             " optimizer_args: \"betas=(0.5,0.75) eps=1.5e-6\", trajectory_guidance_scale: 2.5}\n"
                             "save: {name: small, path: out, per_steps: 0}\n"
                             "prompts: [{target: a red circle, guidance_scale: 1.5, multiplier: 0.5, weight: 2.5}]\n";

static leco_status train(const char *override, leco_train_options *o, leco_train_report *report)
{
    test_write(test_path("train.yaml"), config, strlen(config));
    o->overrides = &override;
    o->override_count = override ? 1 : 0;
    return leco_train(test_path("train.yaml"), o, report, &err);
}

static void configs_and_metadata_have_points(void **state)
{
    (void)state;
    NEEDS_COMMA();
    heard h = {0};
    leco_train_options o = {.progress = on_progress, .user = &h};
    leco_train_report report;
    assert_works(train("train.lr=2.5e-3", &o, &report), &err);
    assert_true(h.count > 0 && h.commas == h.count);
    assert_true(has_comma());
    assert_non_null(strstr(report.summary, "lr 0.0025"));
    assert_non_null(strstr(report.summary, "alpha 0.5"));
    safetensors *file;
    assert_works(safetensors_open(report.path, &file, &err), &err);
    assert_string_equal(safetensors_metadata(file, "ss_learning_rate"), "0.0025");
    assert_string_equal(safetensors_metadata(file, "ss_network_alpha"), "0.5");
    assert_non_null(strstr(safetensors_metadata(file, "ss_training_comment"), "guidance_scale 1.5"));
    safetensors_close(file);
    char *text;
    assert_works(leco_inspect(report.path, false, &text, &err), &err);
    assert_null(strstr(text, "0,5"));
    leco_free(text);
    assert_works(leco_inspect(report.path, true, &text, &err), &err);
    assert_null(strstr(text, "0,5"));
    leco_free(text);
    leco_train_report_free(&report);
}

static void messages_have_points(void **state)
{
    (void)state;
    NEEDS_COMMA();
    leco_train_options o = {.dry_run = true, .memory = 1000};
    leco_train_report report;
    assert_fails(train(NULL, &o, &report), LECO_MEMORY, &err, "the budget of 0.0 MiB");
    assert_fails(train("train.lr=1,5", &o, &report), LECO_INVALID, &err, "train.lr", "1,5");
    assert_fails(train("train.optimizer_args=eps=1.5", &o, &report), LECO_INVALID, &err, "found 1.5");
    assert_true(has_comma());
}

static void pictures_have_points(void **state)
{
    (void)state;
    NEEDS_COMMA();
    heard h = {0}, logged = {0};
    leco_set_log(on_log, &logged);
    leco_generate_options o = leco_generate_defaults();
    char too_long[201]; /* which the log says */
    for (int i = 0; i < 200; i++) too_long[i] = "a "[i % 2];
    too_long[200] = '\0';
    const char *const prompts[] = {too_long};
    o.prompts = prompts;
    o.prompt_count = 1;
    o.steps = 1;
    o.guidance_scale = 4.5;
    o.progress = on_progress;
    o.user = &h;
    leco_model *model;
    leco_images images;
    assert_works(leco_model_open(MODEL, NULL, &model, &err), &err);
    assert_works(leco_model_add_lora(model, LORA, 0.5f, &err), &err);
    assert_works(leco_generate(model, &o, &images, &err), &err);
    assert_non_null(strstr(images.parameters[0], "<lora:lora:0.5>"));
    assert_non_null(strstr(images.parameters[0], "CFG scale: 4.5,"));
    leco_images_free(&images);
    assert_true(h.count > 0 && h.commas == h.count);
    assert_true(logged.count > 0 && logged.commas == logged.count);
    o.guidance_scale = 1000.5;
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "1000.5");
    leco_model_close(model);
    leco_set_log(NULL, NULL);
    assert_true(has_comma());
}

/* A locale of one thread alone is given back, too. */
static void a_thread_s_own_locale_is_kept(void **state)
{
    (void)state;
    NEEDS_COMMA();
    setlocale(LC_ALL, "C");
    locale_t own = newlocale(LC_NUMERIC_MASK, "comma", (locale_t)0), before = uselocale(own);
    assert_true(own && has_comma());
    heard h = {0};
    leco_train_options o = {.progress = on_progress, .user = &h};
    leco_train_report report;
    assert_works(train(NULL, &o, &report), &err);
    assert_non_null(strstr(report.summary, "lr 0.0015"));
    leco_train_report_free(&report);
    assert_true(h.count > 0 && h.commas == h.count);
    assert_true(uselocale((locale_t)0) == own);
    uselocale(before);
    freelocale(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs_and_metadata_have_points),
        cmocka_unit_test(messages_have_points),
        cmocka_unit_test(pictures_have_points),
        cmocka_unit_test(a_thread_s_own_locale_is_kept),
    };
    return cmocka_run_group_tests_name("unit/api_locale", tests, set_comma, NULL);
}
