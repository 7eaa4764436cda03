/* Every allocation of a config, a training and a drawing fails in turn: each time the call must say so, leak nothing
 * (the sanitizers watch) and leave no file behind. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "leco/leco.h"
#include "picture/png.h"
#include "train/config.h"
#include "train/state.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                             "train: {precision: float32, iterations: 2, max_denoising_steps: 2,"
                             " samples_per_trajectory: 2, optimizer_args: [eps=1e-7, 'betas=0.9,0.99'],"
                             " gradient_accumulation_steps: 2, ema_decay: 0.9, loss: huber}\n"
                             "save: {name: small, path: out}\n"
                             "prompts:\n"
                             "- {target: a red circle, neutral: a circle}\n";

/* With photographs in two sizes, one with a caption, and pairs. */
static const char photo_config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                                   "train: {precision: float32, iterations: 2, samples_per_trajectory: 1}\n"
                                   "save: {name: small, path: out}\n"
                                   "images: {path: before, prompt: a circle, batch_size: 2}\n"
                                   "prompts:\n"
                                   "- {action: slider, target: a, images: {before: before, after: after}}\n";

static const char watched_config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                                     "train: {precision: float32, iterations: 2, max_denoising_steps: 2}\n"
                                     "save: {name: small, path: out}\n"
                                     "logging: {log: log.jsonl, tensorboard: tb, effect_every: 1, prompts: [a star],"
                                     " steps: 1, weights: [1], resolution: 16}\n"
                                     "prompts:\n"
                                     "- {target: a red circle, neutral: a circle, resolution: 16}\n";

static leco_status read_config(void)
{
    const char *const override = "train.lr=1e-3";
    train_config c;
    leco_status status = train_config_read(test_path("fault.yaml"), &override, 1, &c, &err);
    if (status == LECO_OK) train_config_free(&c);
    return status;
}

static leco_status train_by(const char *name)
{
    leco_train_report report = {0};
    leco_status status = leco_train(test_path(name), NULL, &report, &err);
    if (status == LECO_OK) assert_int_equal(unlink(report.path), 0);
    assert_int_equal(test_count_files(test_path("out")), 0);
    leco_train_report_free(&report);
    return status;
}

static leco_status train(void)
{
    return train_by("fault.yaml");
}

static leco_status train_on_photographs(void)
{
    return train_by("photos.yaml");
}

/* By all there are. What watches may run out of memory without harm, or ends the training. */
static leco_status train_watched(void)
{
    leco_train_report report = {0};
    leco_status status = leco_train(test_path("watched.yaml"), NULL, &report, &err);
    leco_train_report_free(&report);
    if (file_exists(test_path("out"))) test_remove_files("out");
    return status;
}

/* Stopped in the middle of a pass, then resumed: what is saved on the way stays, whole, when something fails. */
static bool stop_after_one(void *user, const leco_progress *p)
{
    (void)user;
    return p->done < 1;
}

static leco_status stop_and_resume(void)
{
    static const char *const overrides[] = {"save.keep_last=1", "save.name=stopped"};
    const char *state = test_path("out/stopped.state.safetensors");
    leco_train_options o = {.overrides = overrides, .override_count = 2, .progress = stop_after_one};
    leco_train_report report = {0};
    train_state read;
    leco_status status = leco_train(test_path("fault.yaml"), &o, &report, &err);
    leco_train_report_free(&report);
    if (status == LECO_INTERRUPTED) {
        o.progress = NULL;
        o.resume = true;
        status = leco_train(test_path("fault.yaml"), &o, &report, &err);
        leco_train_report_free(&report);
        if (status == LECO_OK) assert_false(file_exists(state));
    }
    if (file_exists(state)) {
        const leco_error kept = err;
        mem_fail_at(0);
        assert_works(state_read(state, &read, &err), &err);
        state_free(&read);
        err = kept;
    }
    if (file_exists(test_path("out"))) test_remove_files("out");
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
 * weight, a kernel), ever more of them are skipped; sooner where a sanitizer makes each call slow. */
#ifdef __SANITIZE_ADDRESS__
enum { ALL_OF_THE_FIRST = 16 };
#else
enum { ALL_OF_THE_FIRST = 25 };
#endif

static void fail_all(leco_status (*call)(void))
{
    uint64_t before = mem_allocations();
    assert_works(call(), &err);
    const uint64_t count = mem_allocations() - before;
    assert_true(count > 5);
    for (uint64_t n = 1; n <= count; n += 1 + n / ALL_OF_THE_FIRST) {
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

static void resuming(void **state)
{
    (void)state;
    fail_all(stop_and_resume);
}

static void being_watched(void **state)
{
    (void)state;
    fail_all(train_watched);
}

static void training_on_photographs(void **state)
{
    (void)state;
    fail_all(train_on_photographs);
}

static void put_photographs(const char *folder)
{
    assert_int_equal(mkdir(test_path(folder), 0777), 0);
    for (int i = 0; i < 2; i++) {
        char name[64];
        image img;
        snprintf(name, sizeof name, "%s/%d.png", folder, i);
        assert_works(image_create(16 + 30 * i, 16, &img, &err), &err);
        assert_works(png_write(test_path(name), &img, NULL, &err), &err);
        image_free(&img);
    }
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
    test_write(test_path("watched.yaml"), watched_config, strlen(watched_config));
    test_write(test_path("photos.yaml"), photo_config, strlen(photo_config));
    put_photographs("before");
    put_photographs("after");
    test_write(test_path("before/1.txt"), "a {red|blue} star", 17);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs),
        cmocka_unit_test(drawing),
        cmocka_unit_test(planning),
        cmocka_unit_test(training),
        cmocka_unit_test(being_watched),
        cmocka_unit_test(resuming),
        cmocka_unit_test(training_on_photographs),
    };
    return cmocka_run_group_tests_name("fault/training", tests, write_config, NULL);
}
