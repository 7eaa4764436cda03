/* A training as it runs: what is reported on the way, what stops it, what it may write to, the memory it takes. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/file.h"
#include "leco/leco.h"
#include "picture/png.h"
#include "train/trainer.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char config[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                             "train: {precision: float32, iterations: 7, max_denoising_steps: 5, lr: 1e-3,"
                             " samples_per_trajectory: 3}\n"
                             "save: {name: small, path: out, per_steps: 0}\n"
                             "prompts:\n"
                             "- {target: a red circle, positive: red, neutral: a circle}\n";

static const char *config_file(void)
{
    test_write(test_path("train.yaml"), config, strlen(config));
    return test_path("train.yaml");
}

/* Trains with up to three overrides. */
static leco_status train(leco_train_options *o, leco_train_report *report, const char *a, const char *b, const char *c)
{
    const char *const all[] = {a, b, c};
    o->overrides = all;
    o->override_count = c ? 3 : b ? 2 : a ? 1 : 0;
    *report = (leco_train_report){0};
    return leco_train(config_file(), o, report, &err);
}

/* ---- progress ---- */

typedef struct watcher {
    int calls, with_time;
    int64_t done, part_done;
    int64_t stop_at; /* optimizer steps; -1: never */
} watcher;

static bool watch(void *user, const leco_progress *p)
{
    watcher *w = user;
    assert_string_equal(p->part, "denoising");
    assert_true(p->part_done >= 0 && p->part_done <= p->part_total && p->part_total < 5);
    assert_true(p->done >= w->done && p->done <= w->done + 1); /* every single step is told of */
    if (w->calls > 0 && !p->saved) {
        bool fresh = p->part_done <= 1 && p->part_done != w->part_done;
        assert_true(p->done == w->done + 1 || p->part_done == w->part_done + 1 || fresh);
        assert_true(p->seconds_left >= 0); /* from the first denoising step on */
        w->with_time++;
    }
    w->calls++;
    w->done = p->done;
    w->part_done = p->part_done;
    return w->stop_at < 0 || p->done < w->stop_at;
}

static void every_step_is_told_with_the_time_left(void **state)
{
    (void)state;
    watcher w = {.stop_at = -1};
    leco_train_options o = {.progress = watch, .user = &w};
    leco_train_report report;
    assert_works(train(&o, &report, NULL, NULL, NULL), &err);
    assert_int_equal(w.done, 7);
    assert_true(w.with_time >= 7 + 3 * 2); /* three trajectories that keep three latents take two steps at least */
    leco_train_report_free(&report);
}

static void stopping_happens_within_a_trajectory(void **state)
{
    (void)state;
    watcher w = {.stop_at = 1};
    leco_train_options o = {.progress = watch, .user = &w};
    leco_train_report report;
    assert_fails(train(&o, &report, "save.path=early", NULL, NULL), LECO_INTERRUPTED, &err,
                 "stopped after 1 of 7 steps");
    assert_int_equal(report.iterations, 1);
    assert_string_equal(report.path, test_path("early/small_000001.safetensors"));
    assert_true(isfinite(report.first_loss) && isnan(report.last_loss));
    leco_train_report_free(&report);

    w = (watcher){.stop_at = 0};
    assert_fails(train(&o, &report, "save.path=never", NULL, NULL), LECO_INTERRUPTED, &err, "before the first step",
                 "nothing to save");
    assert_null(report.path);
    assert_int_equal(report.iterations, 0);
    assert_false(file_exists(test_path("never")));
    leco_train_report_free(&report);

    w = (watcher){.stop_at = 7}; /* after the last step there is nothing to stop */
    assert_works(train(&o, &report, "save.path=late", NULL, NULL), &err);
    assert_string_equal(report.path, test_path("late/small.safetensors"));
    leco_train_report_free(&report);
}

/* ---- losses that are none ---- */

static leco_status run(const char *const *overrides, size_t count, train_result *result)
{
    train_config c;
    trainer *t;
    assert_works(train_config_read(config_file(), overrides, count, &c, &err), &err);
    assert_works(trainer_create_for(&c, NULL, NULL, &t, &err), &err);
    leco_status status = trainer_run(t, NULL, NULL, result, &err);
    trainer_destroy(t);
    train_config_free(&c);
    return status;
}

/* The first step of the first trajectory is good, and moves the adapter so far that the second's squares are beyond
 * f32. */
static void steps_before_a_loss_that_is_none_are_counted(void **state)
{
    (void)state;
    const char *const steep[] = {"train.optimizer=sgd", "train.lr=1000", "network.alpha=1e6",
                                 "prompts=[{target: a, positive: red, neutral: b, guidance_scale: 1000, weight: 1e6}]"};
    train_result result;
    assert_fails(run(steep, 4, &result), LECO_INVALID, &err, "the loss is", "after 1 step with", "train.lr 1000",
                 "with the adapter on");
    assert_null(strstr(err.message, "nan"));
    assert_int_equal(result.iterations, 1);
    assert_true(isfinite(result.first_loss));
    assert_null(result.path);
}

/* Before the first step the learning rate can't be why. */
static void a_first_loss_that_is_none_is_not_blamed_on_the_learning_rate(void **state)
{
    (void)state;
    const char *const huge[] = {"prompts=[{target: a, positive: red, neutral: b, guidance_scale: 1000}]",
                                "train.trajectory_guidance_scale=100", "pretrained_model.name_or_path=model"};
    /* A model whose last bias is the largest number there is predicts what has no finite square. */
    char command[600];
    snprintf(command, sizeof command, "cp -r %s %s && chmod -R u+w %s", MODEL, test_path("model"), test_path("model"));
    assert_int_equal(system(command), 0);
    FILE *file = fopen(test_path("model/unet/diffusion_pytorch_model.safetensors"), "r+b");
    assert_non_null(file);
    static char header[1 << 20];
    uint64_t length;
    assert_int_equal(fread(&length, 8, 1, file), 1);
    assert_true(length < sizeof header && fread(header, (size_t)length, 1, file) == 1);
    const char *entry = strstr(header, "\"conv_out.bias\"");
    assert_non_null(entry);
    const char *offsets = strstr(entry, "\"data_offsets\":[");
    assert_non_null(offsets);
    long from = strtol(offsets + strlen("\"data_offsets\":["), NULL, 10);
    const uint16_t largest = strstr(entry, "BF16") ? 0x7f7f : 0x7bff;
    const float largest_f32 = 3e38f;
    fseek(file, 8 + (long)length + from, SEEK_SET);
    const char *type = strstr(entry, "\"dtype\":\"") + strlen("\"dtype\":\"");
    if (strncmp(type, "F32", 3) == 0)
        assert_int_equal(fwrite(&largest_f32, sizeof largest_f32, 1, file), 1);
    else
        assert_int_equal(fwrite(&largest, sizeof largest, 1, file), 1);
    fclose(file);
    train_result result;
    assert_fails(run(huge, 3, &result), LECO_INVALID, &err, "first step", "nothing was trained", "not finite");
    assert_null(strstr(err.message, "train.lr"));
    assert_int_equal(result.iterations, 0);
}

/* ---- where it writes ---- */

static void a_dry_run_knows_whether_the_output_can_be_written(void **state)
{
    (void)state;
    leco_train_options o = {.dry_run = true};
    leco_train_report report;
    test_write(test_path("a_file"), "kept", 4);
    assert_fails(train(&o, &report, "save.path=a_file", NULL, NULL), LECO_IO, &err, "a_file");
    assert_fails(train(&o, &report, "save.path=new/../a_file/below", NULL, NULL), LECO_IO, &err, "a_file");
    assert_false(file_exists(test_path("new")));
    assert_fails(train(&o, &report, "save.path=/proc/leco", NULL, NULL), LECO_IO, &err, "/proc/leco");
    assert_int_equal(mkdir(test_path("taken"), 0777), 0);
    assert_int_equal(mkdir(test_path("taken/small.safetensors"), 0777), 0);
    assert_fails(train(&o, &report, "save.path=taken", NULL, NULL), LECO_IO, &err, "small.safetensors", "folder");
    char name[260] = "save.name=";
    memset(name + strlen(name), 'x', 250 - strlen(name)); /* fits, but not with the number of steps */
    assert_fails(train(&o, &report, name, "save.path=long", NULL), LECO_IO, &err, "xxx", "name too long");
    assert_false(file_exists(test_path("long")));
    assert_true(file_exists(test_path("a_file")) && test_count_files(test_path("taken")) == 1);
}

static void a_dry_run_leaves_nothing_behind(void **state)
{
    (void)state;
    leco_train_options o = {.dry_run = true};
    leco_train_report report;
    assert_int_equal(mkdir(test_path("here"), 0777), 0);
    assert_works(train(&o, &report, "save.path=here/new//deeper/", NULL, NULL), &err);
    leco_train_report_free(&report);
    assert_int_equal(test_count_files(test_path("here")), 0);
    test_write(test_path("here/small.safetensors"), "the old one", 11);
    assert_works(train(&o, &report, "save.path=here", NULL, NULL), &err);
    leco_train_report_free(&report);
    assert_int_equal(test_count_files(test_path("here")), 1);
    char *text;
    assert_works(file_read_text(test_path("here/small.safetensors"), 100, &text, NULL, &err), &err);
    assert_string_equal(text, "the old one");
    leco_free(text);
}

/* ---- memory ---- */

#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__
static size_t allocated(void)
{
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

static bool measure(void *user, const leco_progress *p)
{
    size_t *most = user, now = allocated();
    (void)p;
    if (now > *most) *most = now;
    return true;
}

static void check_counts(const char *prompts, const char *once)
{
    size_t most = 0, before;
    leco_train_options o = {.device = "ref", .progress = measure, .user = &most};
    leco_train_report report;
    assert_works(train(&o, &report, prompts, once, "network.rank=40"), &err); /* what is allocated once and stays */
    leco_train_report_free(&report);
    before = allocated();
    most = 0;
    assert_works(train(&o, &report, prompts, once, "network.rank=40"), &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_true(report.resident_bytes > report.measured_bytes);
    const size_t tables = 512 * 1024; /* names of tensors and layers, the config: hardly more in a large model */
    printf("    planned %llu, taken %zu bytes\n%s", (unsigned long long)report.planned_bytes, most - before,
           report.summary);
    assert_true(report.planned_bytes < most - before && report.planned_bytes + tables > most - before);
    leco_train_report_free(&report);
}

/* The reference backend uses no library that keeps memory of its own, so what malloc has handed out is leco's. Many
 * pairs: their texts and latents count, too. Every part but the weights, which stay in the file, is larger than what
 * may be missing from the sum. */
static void the_plan_counts_all_that_is_allocated(void **state)
{
    (void)state;
    char prompts[8000] = "prompts=[", *end = prompts + strlen(prompts);
    for (int i = 0; i < 60; i++) end += sprintf(end, "{target: a star %d, positive: red, neutral: a circle %d},", i, i);
    strcpy(end - 1, "]");
    static const char *const ways[] = {
        "train={precision: float32, iterations: 1, max_denoising_steps: 2, batch_size: 2}",
        "train={precision: float32, iterations: 1, max_denoising_steps: 2, batch_size: 2, optimizer: prodigy, lr: 1, "
        "gradient_accumulation_steps: 2, ema_decay: 0.9, loss: huber}"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) check_counts(prompts, ways[i]);
}
#endif

/* So many texts that they are encoded as they are drawn. The figures count the encoder, which stays. */
static void texts_too_many_to_be_held_stream(void **state)
{
    (void)state;
    char prompts[2048] = "prompts.0.target=a {0", *end = prompts + strlen(prompts);
    for (int i = 1; i < 90; i++) end += sprintf(end, "|%d", i);
    strcpy(end, "} {0");
    end += strlen(end);
    for (int i = 1; i < 90; i++) end += sprintf(end, "|%d", i);
    strcpy(end, "} star");
    leco_train_options o = {0};
    leco_train_report report, held;
    assert_works(train(&o, &report, prompts, "train.iterations=4", "save.name=stream"), &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_non_null(strstr(report.summary, "texts 64.0"));
    assert_int_equal(report.iterations, 4);
    leco_train_report_free(&report);
    assert_works(train(&o, &held, "prompts.0.target=a {0|1} {0|1} star", "train.iterations=4", "save.name=held"), &err);
    assert_null(strstr(held.summary, "texts 64.0"));
    leco_train_report_free(&held);
}

/* ---- photographs ---- */

static void put_photographs(const char *name, int count)
{
    assert_int_equal(mkdir(test_path(name), 0777), 0);
    for (int i = 0; i < count; i++) {
        char path[300];
        image img;
        assert_works(image_create(40 + 20 * i, 40, &img, &err), &err);
        memset(img.rgb, 60 * i, (size_t)img.width * 40 * 3);
        snprintf(path, sizeof path, "%s/%d.png", test_path(name), i);
        assert_works(png_write(path, &img, NULL, &err), &err);
        image_free(&img);
    }
}

static bool watch_learning(void *user, const leco_progress *p)
{
    int64_t *done = user;
    assert_true(p->part_done == 0 && p->part_total == 0); /* nothing is denoised */
    if (p->done > 0) assert_true(p->seconds_left >= 0 && isfinite(p->loss));
    *done = p->done;
    return true;
}

/* On photographs alone; the plan is kept. */
static void photographs_are_trained_on_as_planned(void **state)
{
    (void)state;
    put_photographs("photos", 4);
    static const char *const overrides[] = {"images={path: photos, prompt: 'a {red|blue} thing', batch_size: 2}",
                                            "prompts=null"};
    int64_t done = 0;
    leco_train_options o = {.progress = watch_learning, .user = &done};
    leco_train_report report, dry;
    assert_works(train(&o, &report, overrides[0], overrides[1], "save.name=photos"), &err);
    assert_true(report.iterations == 7 && done == 7 && isfinite(report.last_loss));
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_non_null(strstr(report.summary, "images     4 in 2 sizes"));
    assert_non_null(strstr(report.summary, "3 for each noise that is added to pictures"));
    o.dry_run = true;
    assert_works(train(&o, &dry, overrides[0], overrides[1], "save.name=photos"), &err);
    assert_int_equal(dry.planned_bytes, report.planned_bytes);
    assert_string_equal(dry.summary, report.summary);
    leco_train_report_free(&dry);
    leco_train_report_free(&report);
}

static void a_damaged_photograph_is_named(void **state)
{
    (void)state;
    put_photographs("damaged", 2);
    size_t size;
    unsigned char *bytes = test_read(test_path("damaged/1.png"), &size);
    for (size_t i = 60; i < 70; i++) bytes[i] ^= 0x55;
    test_write(test_path("damaged/1.png"), bytes, size);
    free(bytes);
    leco_train_options o = {0};
    leco_train_report report;
    assert_fails(train(&o, &report, "images={path: damaged, prompt: x}", NULL, NULL), LECO_FORMAT, &err, "--set images",
                 "damaged/1.png");
}

static void the_parts_of_the_memory_are_named(void **state)
{
    (void)state;
    leco_train_options o = {.dry_run = true};
    leco_train_report report;
    assert_works(train(&o, &report, NULL, NULL, NULL), &err);
    static const char *const parts[] = {"weights",   "activations",      "texts",    "latents", "graphs", "adapter",
                                        "optimizer", "as it lies there", "libraries"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) assert_non_null(strstr(report.summary, parts[i]));
    leco_train_report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_told_with_the_time_left),
        cmocka_unit_test(stopping_happens_within_a_trajectory),
        cmocka_unit_test(steps_before_a_loss_that_is_none_are_counted),
        cmocka_unit_test(a_first_loss_that_is_none_is_not_blamed_on_the_learning_rate),
        cmocka_unit_test(a_dry_run_knows_whether_the_output_can_be_written),
        cmocka_unit_test(a_dry_run_leaves_nothing_behind),
#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__
        cmocka_unit_test(the_plan_counts_all_that_is_allocated),
#endif
        cmocka_unit_test(texts_too_many_to_be_held_stream),
        cmocka_unit_test(photographs_are_trained_on_as_planned),
        cmocka_unit_test(a_damaged_photograph_is_named),
        cmocka_unit_test(the_parts_of_the_memory_are_named),
    };
    return cmocka_run_group_tests_name("unit/train_run", tests, NULL, NULL);
}
