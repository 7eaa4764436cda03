/* Every allocation of a config, a training and a drawing fails in turn: each time the call must say so, leak nothing
 * (the sanitizers watch) and leave no file behind. */
#include "test_support.h"

#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "leco/leco.h"
#include "train/config.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                             "train: {precision: float32, iterations: 2, max_denoising_steps: 2,"
                             " samples_per_trajectory: 2, optimizer_args: eps=1e-7}\n"
                             "save: {name: small, path: out}\n"
                             "prompts:\n"
                             "- {target: a red circle, neutral: a circle}\n";

static leco_status read_config(void)
{
    const char *const override = "train.lr=1e-3";
    train_config c;
    leco_status status = train_config_read(test_path("fault.yaml"), &override, 1, &c, &err);
    if (status == LECO_OK) train_config_free(&c);
    return status;
}

static leco_status train(void)
{
    leco_train_report report = {0};
    leco_status status = leco_train(test_path("fault.yaml"), NULL, &report, &err);
    if (status == LECO_OK) assert_int_equal(unlink(report.path), 0);
    assert_int_equal(test_count_files(test_path("out")), 0);
    leco_train_report_free(&report);
    return status;
}

/* Within a budget that takes planning twice, and computing activations again. */
static uint64_t budget;

static leco_status plan(void)
{
    const char *const override = "prompts.0.resolution=96";
    leco_train_options o = {.overrides = &override, .override_count = 1, .dry_run = true, .memory = budget};
    leco_train_report report = {0};
    leco_status status = leco_train(test_path("fault.yaml"), &o, &report, &err);
    if (status == LECO_OK && budget > 0) assert_non_null(strstr(report.summary, "computed again"));
    if (status == LECO_OK && budget == 0) budget = report.planned_bytes * 19 / 20;
    leco_train_report_free(&report);
    return status;
}

static leco_status draw(void)
{
    const leco_model_options options = {.precision = "float32"};
    leco_generate_options o = leco_generate_defaults();
    o.prompts = (const char *const[]){"a star", "a ring"};
    o.prompt_count = 2;
    o.steps = 1;
    o.seed = 1;
    leco_model *model = NULL;
    leco_images sheet = {0};
    const float multipliers[] = {0, 1};
    leco_status status = leco_model_open(FIXTURE, &options, &model, &err);
    if (status == LECO_OK) status = leco_model_add_lora(model, FIXTURE "/lora.safetensors", 1, &err);
    if (status == LECO_OK) status = leco_grid(model, &o, multipliers, 2, &sheet, &err);
    leco_images_free(&sheet);
    leco_model_close(model);
    return status;
}

/* Fails the 1st, 2nd, ... allocation of `call`. Far into it, where the same sites come up again and again (a node, a
 * weight, a kernel), ever more of them are skipped. */
static void fail_all(leco_status (*call)(void))
{
    uint64_t before = mem_allocations();
    assert_works(call(), &err);
    const uint64_t count = mem_allocations() - before;
    assert_true(count > 5);
    for (uint64_t n = 1; n <= count; n += 1 + n / 40) {
        mem_fail_at(n);
        leco_status status = call();
        mem_fail_at(0);
        /* An optional allocation (a LoRA's hash) may fail without harm. */
        if (status != LECO_OK) assert_fails(status, LECO_MEMORY, &err, "memory");
    }
}

static void configs(void **state)
{
    (void)state;
    fail_all(read_config);
}

static void drawing(void **state)
{
    (void)state;
    fail_all(draw);
}

static void training(void **state)
{
    (void)state;
    fail_all(train);
}

static void planning(void **state)
{
    (void)state;
    budget = 0;
    assert_works(plan(), &err);
    fail_all(plan);
}

static int write_config(void **state)
{
    (void)state;
    test_write(test_path("fault.yaml"), config, strlen(config));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs),
        cmocka_unit_test(drawing),
        cmocka_unit_test(planning),
        cmocka_unit_test(training),
    };
    return cmocka_run_group_tests_name("fault/training", tests, write_config, NULL);
}
