/* leco_train end to end on a small random model: files, names, memory, stopping, failing. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "leco/leco.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char config[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                             "train: {precision: float32, iterations: 5, max_denoising_steps: 4, lr: 1e-3,"
                             " samples_per_trajectory: 2, timestep_jitter: true, seed: 7}\n"
                             "save: {name: small, path: out, per_steps: 0}\n"
                             "prompts:\n"
                             "- {target: a red circle, positive: red, neutral: a circle}\n"
                             "- {target: a star, action: enhance, batch_size: 2, resolution: [32, 48], weight: 0.5}\n";

/* Trains with up to three overrides. */
static leco_status train(leco_train_options *o, leco_train_report *report, const char *a, const char *b, const char *c)
{
    const char *const all[] = {a, b, c};
    o->overrides = all;
    o->override_count = c ? 3 : b ? 2 : a ? 1 : 0;
    test_write(test_path("train.yaml"), config, strlen(config));
    return leco_train(test_path("train.yaml"), o, report, &err);
}

static void training_writes_a_lora_that_loads(void **state)
{
    (void)state;
    leco_train_options o = {0};
    leco_train_report report;
    assert_works(train(&o, &report, "save.per_steps=2", NULL, NULL), &err);
    assert_string_equal(report.path, test_path("out/small.safetensors"));
    assert_int_equal(report.iterations, 5);
    assert_true(isfinite(report.first_loss) && isfinite(report.last_loss));
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_non_null(strstr(report.summary, "rank 8"));
    assert_true(file_exists(test_path("out/small_000002.safetensors")));
    assert_true(file_exists(test_path("out/small_000004.safetensors")));
    assert_int_equal(test_count_files(test_path("out")), 3);
    leco_model *model;
    assert_works(leco_model_open(MODEL, NULL, &model, &err), &err);
    assert_works(leco_model_add_lora(model, report.path, 1, &err), &err);
    leco_model_close(model);
    leco_train_report_free(&report);
}

/* The bytes of all tensors of a file (its metadata hold the date). */
static uint64_t checksum(const char *path)
{
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_entry *e = safetensors_at(file, i);
        const unsigned char *bytes = e->data;
        for (size_t k = 0; k < e->count * dtype_size(e->type); k++) sum = (sum ^ bytes[k]) * 1099511628211u;
    }
    safetensors_close(file);
    return sum;
}

static void the_same_seed_gives_the_same_file(void **state)
{
    (void)state;
    const char *const seeds[] = {"train.seed=3", "train.seed=3", "train.seed=4"};
    uint64_t sums[3];
    for (int i = 0; i < 3; i++) {
        leco_train_options o = {0};
        leco_train_report report;
        assert_works(train(&o, &report, seeds[i], NULL, NULL), &err);
        sums[i] = checksum(report.path);
        leco_train_report_free(&report);
    }
    assert_true(sums[0] == sums[1]);
    assert_true(sums[0] != sums[2]);
}

static void a_dry_run_plans_what_the_run_takes(void **state)
{
    (void)state;
    leco_train_options o = {.dry_run = true};
    leco_train_report plan, run;
    assert_works(train(&o, &plan, "save.path=nowhere", NULL, NULL), &err);
    assert_null(plan.path);
    assert_int_equal(plan.iterations, 0);
    assert_true(isnan(plan.first_loss) && isnan(plan.last_loss));
    assert_false(file_exists(test_path("nowhere")));
    o.dry_run = false;
    assert_works(train(&o, &run, NULL, NULL, NULL), &err);
    assert_int_equal(plan.planned_bytes, run.measured_bytes);
    leco_train_report_free(&plan);
    leco_train_report_free(&run);
}

/* A budget that doesn't hold all activations: they are computed again, and the adapter is the same. */
static void a_budget_is_kept_by_computing_again(void **state)
{
    (void)state;
    leco_train_options o = {0};
    leco_train_report free_run, within;
    assert_works(train(&o, &free_run, "prompts.0.resolution=128", "train.iterations=3", NULL), &err);
    const uint64_t sum = checksum(free_run.path);
    o.memory = free_run.planned_bytes * 3 / 4;
    assert_works(train(&o, &within, "prompts.0.resolution=128", "train.iterations=3", NULL), &err);
    assert_true(within.planned_bytes <= o.memory);
    assert_int_equal(within.planned_bytes, within.measured_bytes);
    assert_null(strstr(free_run.summary, "computed again"));
    assert_non_null(strstr(within.summary, "computed again"));
    assert_true(checksum(within.path) == sum);
    leco_train_report_free(&free_run);
    leco_train_report_free(&within);
}

static void a_small_budget_is_refused_with_the_numbers(void **state)
{
    (void)state;
    leco_train_options o = {.dry_run = true, .memory = 1000};
    leco_train_report report = {0};
    assert_fails(train(&o, &report, NULL, NULL, NULL), LECO_MEMORY, &err, "MiB", "weights", "activations", "optimizer",
                 "budget");
    assert_null(report.summary);
    o.memory = UINT64_C(1) << 40;
    assert_works(train(&o, &report, NULL, NULL, NULL), &err);
    leco_train_report_free(&report);
}

/* Stops when so many steps are done. */
typedef struct stopper {
    int64_t at;
    int calls;
    bool saved;
} stopper;

static bool stop_at(void *user, const leco_progress *p)
{
    stopper *s = user;
    s->calls++;
    s->saved = s->saved || p->saved;
    assert_true(p->done <= p->total && p->seconds >= 0);
    assert_true(p->done == 0 || isfinite(p->loss));
    return s->at < 0 || p->done < s->at;
}

static void stopping_saves_what_there_is(void **state)
{
    (void)state;
    stopper s = {.at = 2};
    leco_train_options o = {.progress = stop_at, .user = &s};
    leco_train_report report;
    assert_fails(train(&o, &report, "save.path=stopped", NULL, NULL), LECO_INTERRUPTED, &err, "stopped");
    assert_string_equal(report.path, test_path("stopped/small_000002.safetensors"));
    assert_int_equal(report.iterations, 2);
    assert_true(checksum(report.path) != 0);
    leco_train_report_free(&report);

    s = (stopper){.at = 0}; /* before anything was learnt there is nothing to save */
    assert_fails(train(&o, &report, "save.path=at_once", NULL, NULL), LECO_INTERRUPTED, &err, "stopped");
    assert_null(report.path);
    assert_false(file_exists(test_path("at_once")));
    leco_train_report_free(&report);
}

static void progress_tells_of_saved_files(void **state)
{
    (void)state;
    stopper s = {.at = -1};
    leco_train_options o = {.progress = stop_at, .user = &s};
    leco_train_report report;
    assert_works(train(&o, &report, NULL, NULL, NULL), &err);
    assert_true(s.saved && s.calls >= 6);
    leco_train_report_free(&report);
}

static void a_loss_that_explodes_stops_and_saves_nothing(void **state)
{
    (void)state;
    leco_train_options o = {0};
    leco_train_report report = {0};
    const char *hopeless =
        "train={precision: float32, optimizer: sgd, lr: 1000, iterations: 50, max_denoising_steps: 4}";
    const char *steep = "prompts=[{target: a, positive: red, neutral: b, guidance_scale: 1000, weight: 1e6}]";
    /* With less than this alpha, attention may settle on one token each: a huge loss, but a number. */
    const char *const all[] = {hopeless, steep, "network.alpha=1e6", "save.path=broken"};
    o.overrides = all;
    o.override_count = sizeof all / sizeof *all;
    test_write(test_path("train.yaml"), config, strlen(config));
    assert_fails(leco_train(test_path("train.yaml"), &o, &report, &err), LECO_INVALID, &err, "loss", "train.lr",
                 "1000");
    assert_false(file_exists(test_path("broken")));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    leco_train_options o = {0};
    leco_train_report report = {0};
    assert_fails(train(&o, &report, "pretrained_model.name_or_path=/nowhere", NULL, NULL), LECO_IO, &err, "/nowhere");
    assert_fails(train(&o, &report, "pretrained_model.v_pred=true", NULL, NULL), LECO_INVALID, &err, "v_pred",
                 "epsilon");
    assert_fails(train(&o, &report, "prompts.0.resolution=33", NULL, NULL), LECO_INVALID, &err, "train.yaml:5",
                 "resolution", "33x33");
    assert_fails(train(&o, &report, "pretrained_model.clip_skip=9", NULL, NULL), LECO_INVALID, &err, "clip_skip",
                 "4 layers");
    assert_fails(train(&o, &report, "train.max_denoising_steps=1000", NULL, NULL), LECO_INVALID, &err,
                 "max_denoising_steps");
    o.device = "quantum";
    assert_fails(train(&o, &report, NULL, NULL, NULL), LECO_INVALID, &err, "quantum");
    o.device = NULL;
    test_write(test_path("a_file"), "x", 1);
    assert_fails(train(&o, &report, "save.path=a_file/below", NULL, NULL), LECO_IO, &err, "a_file");
}

static void compatibility_mode_trains(void **state)
{
    (void)state;
    leco_train_options o = {0};
    leco_train_report report;
    const char *once = "train={precision: float32, iterations: 3, max_denoising_steps: 5, timestep_compat: p1atdev}";
    assert_works(train(&o, &report, once, NULL, NULL), &err);
    assert_int_equal(report.iterations, 3);
    leco_train_report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_writes_a_lora_that_loads),
        cmocka_unit_test(the_same_seed_gives_the_same_file),
        cmocka_unit_test(a_dry_run_plans_what_the_run_takes),
        cmocka_unit_test(a_budget_is_kept_by_computing_again),
        cmocka_unit_test(a_small_budget_is_refused_with_the_numbers),
        cmocka_unit_test(stopping_saves_what_there_is),
        cmocka_unit_test(progress_tells_of_saved_files),
        cmocka_unit_test(a_loss_that_explodes_stops_and_saves_nothing),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(compatibility_mode_trains),
    };
    return cmocka_run_group_tests_name("unit/api_train", tests, NULL, NULL);
}
