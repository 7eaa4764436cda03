/* A card that is lost in the middle of a training, at any call: what was trained is saved as a stop by hand saves it,
 * the message says what and where, and the training goes on from there to the same bits. And one with too little
 * memory. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cuda/emulate/card.h"
#include "base/file.h"
#include "leco/leco.h"
#include "train/state.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define STATE "out/small.state.safetensors"
#define RESULT "out/small.safetensors"

static leco_error err;

/* Dropout, so that a latent that is half learnt has drawn numbers; two latents a trajectory, so that a pass may be
 * half done. */
static const char text[] = "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
                           "network: {rank: 2, dropout: 0.3, include: [mid_block]}\n"
                           "train: {precision: float16, iterations: 4, max_denoising_steps: 2, lr: 1e-3,"
                           " samples_per_trajectory: 2}\n"
                           "save: {name: small, path: out, per_steps: 0}\n"
                           "prompts:\n"
                           "- {target: a red circle, positive: red, neutral: a circle, resolution: 16}\n";

typedef struct watcher {
    int64_t stop_at;  /* optimizer steps; -1: never */
    int64_t began_at; /* calls of the card when training began */
} watcher;

static bool watch(void *user, const leco_progress *p)
{
    watcher *w = user;
    if (w->began_at == 0) w->began_at = emulated.calls;
    return w->stop_at < 0 || p->done < w->stop_at;
}

static leco_status train_as(const char *override, bool resume, watcher *w, leco_train_report *report)
{
    *report = (leco_train_report){0};
    const leco_train_options o = {.device = "cuda",
                                  .resume = resume,
                                  .overrides = &override,
                                  .override_count = override ? 1 : 0,
                                  .progress = watch,
                                  .user = w};
    test_write(test_path("train.yaml"), text, strlen(text));
    emulated.calls = 0;
    return leco_train(test_path("train.yaml"), &o, report, &err);
}

static leco_status train(bool resume, watcher *w, leco_train_report *report)
{
    return train_as(NULL, resume, w, report);
}

static void assert_same(const char *path, const unsigned char *expected, size_t size)
{
    size_t found_size;
    unsigned char *found = test_read(path, &found_size);
    if (found_size != size || memcmp(found, expected, size) != 0) fail_msg("%s: another file", path);
    free(found);
}

/* The adapter as a stop by hand after so many steps saves it. */
static unsigned char *stopped_by_hand(int64_t steps, size_t *size)
{
    leco_train_report report;
    watcher w = {.stop_at = steps};
    assert_int_equal(train(false, &w, &report), LECO_INTERRUPTED);
    assert_int_equal(report.iterations, steps);
    unsigned char *bytes = test_read(report.path, size);
    leco_train_report_free(&report);
    test_remove_files("out");
    return bytes;
}

/* Lost at this call: the file is that of a stop at that step, and what is resumed ends as if nothing had been. */
static int64_t lose_at(int64_t call, const unsigned char *whole, size_t size, unsigned char *const *by_hand,
                       const size_t *sizes)
{
    leco_train_report report;
    watcher w = {.stop_at = -1};
    emulated.fails_at = call;
    const leco_status status = train(false, &w, &report);
    emulated.fails_at = 0;
    assert_int_equal(status, LECO_DEVICE);
    assert_non_null(strstr(err.message, "an emulated card: computing: the card is lost"));
    const int64_t done = report.iterations;
    printf("    call %lld, %lld steps done: %s\n", (long long)call, (long long)done, err.message);
    if (done == 0) {
        assert_non_null(strstr(err.message, "nothing to save"));
        assert_null(report.path);
        assert_false(file_exists(test_path("out")));
        leco_train_report_free(&report);
        return 0;
    }
    assert_true(report.path && strstr(err.message, report.path));
    assert_true(report.state && strstr(err.message, report.state) && strstr(err.message, "--resume"));
    assert_same(report.path, by_hand[done], sizes[done]);
    leco_train_report_free(&report);

    assert_works(train(true, &w, &report), &err);
    leco_train_report_free(&report);
    assert_same(test_path(RESULT), whole, size);
    assert_false(file_exists(test_path(STATE)));
    test_remove_files("out");
    return done;
}

static void what_was_trained_is_saved(void **state)
{
    (void)state;
    enum { STEPS = 4, PLACES = 6 };
    unsigned char *by_hand[STEPS] = {NULL};
    size_t sizes[STEPS], size;
    bool seen[STEPS] = {false};
    leco_train_report report;
    watcher w = {.stop_at = -1};
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    assert_works(train(false, &w, &report), &err);
    leco_train_report_free(&report);
    const int64_t first = w.began_at + 1, last = emulated.calls;
    unsigned char *whole = test_read(test_path(RESULT), &size);
    test_remove_files("out");
    for (int i = 1; i < STEPS; i++) by_hand[i] = stopped_by_hand(i, &sizes[i]);
    printf("    %lld calls while it trains\n", (long long)(last - first));
    for (int i = 0; i < PLACES; i++)
        seen[lose_at(first + (last - first) * i / (PLACES - 1), whole, size, by_hand, sizes)] = true;
    for (int i = 0; i < STEPS; i++) assert_true(seen[i]);
    for (int i = 1; i < STEPS; i++) free(by_hand[i]);
    free(whole);
}

/* The state but for what tells the time, which its checksum covers, is what a stop by hand between the same two steps
 * leaves. */
static void the_state_is_that_of_a_stop(void **state)
{
    (void)state;
    leco_train_report report;
    train_state by_hand, lost;
    watcher w = {.stop_at = 2}; /* a pass is done */
    assert_int_equal(train(false, &w, &report), LECO_INTERRUPTED);
    leco_train_report_free(&report);
    assert_int_equal(rename(test_path(STATE), test_path("by_hand.safetensors")), 0);
    emulated.fails_at = emulated.calls + 1; /* the next denoising */
    w.stop_at = -1;
    assert_int_equal(train(false, &w, &report), LECO_DEVICE);
    emulated.fails_at = 0;
    leco_train_report_free(&report);
    assert_works(state_read(test_path("by_hand.safetensors"), &by_hand, &err), &err);
    assert_works(state_read(test_path(STATE), &lost, &err), &err);
    assert_int_equal(lost.done, 2);
    assert_true(lost.learnt == by_hand.learnt && lost.value_count == by_hand.value_count);
    assert_memory_equal(lost.values, by_hand.values, lost.value_count * sizeof(float));
    assert_memory_equal(lost.optimizer, by_hand.optimizer, lost.optimizer_count * sizeof(float));
    assert_memory_equal(&lost.rng, &by_hand.rng, sizeof lost.rng);
    assert_memory_equal(&lost.drawn, &by_hand.drawn, sizeof lost.drawn);
    assert_true(lost.scale.exponent == by_hand.scale.exponent && lost.scale.good == by_hand.scale.good);
    assert_true(lost.first_sum == by_hand.first_sum && lost.loss == by_hand.loss);
    state_free(&lost);
    state_free(&by_hand);
    test_remove_files("out");
}

/* Before there is a step, while it makes itself ready, and where states aren't wanted. */
static void what_cannot_be_resumed_is_told(void **state)
{
    (void)state;
    leco_train_report report;
    watcher w = {.stop_at = -1};
    emulated.fails_at = 3;
    assert_fails(train(false, &w, &report), LECO_DEVICE, &err, "the card is lost");
    assert_false(file_exists(test_path(RESULT)));
    leco_train_report_free(&report);
    emulated.fails_at = 0;
    w = (watcher){.stop_at = 2};
    assert_int_equal(train(false, &w, &report), LECO_INTERRUPTED);
    leco_train_report_free(&report);
    test_remove_files("out");
    emulated.fails_at = emulated.calls + 1;
    w.stop_at = -1;
    assert_fails(train_as("save.state=false", false, &w, &report), LECO_DEVICE, &err, "the card is lost",
                 "2 of 4 steps is saved as", "save.state is false");
    assert_non_null(report.path);
    assert_null(report.state);
    leco_train_report_free(&report);
    emulated.fails_at = 0;
    test_remove_files("out");
}

/* ---- too little memory ---- */

/* At each place where memory is taken: what is missing and what is free, beside what was planned, and what helps. */
static void too_little_memory_is_told(void **state)
{
    (void)state;
    leco_train_report report;
    watcher w = {.stop_at = 1};
    int refused = 0;
    for (size_t memory = 1 << 14;; memory *= 2) {
        emulated.memory = memory;
        const leco_status status = train(false, &w, &report);
        leco_train_report_free(&report);
        if (status == LECO_INTERRUPTED) break;
        refused++;
        assert_fails(status, LECO_MEMORY, &err, "out of memory: could not allocate", "of the device's memory for",
                     "MiB of it are free", "planned to take", "weights", "activations", "--memory", "resolution");
        assert_false(file_exists(test_path("out")));
    }
    emulated.memory = SIZE_MAX;
    printf("    refused %d times, the last: %s\n", refused, err.message);
    assert_true(refused >= 4);
    test_remove_files("out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_trained_is_saved),
        cmocka_unit_test(the_state_is_that_of_a_stop),
        cmocka_unit_test(what_cannot_be_resumed_is_told),
        cmocka_unit_test(too_little_memory_is_told),
    };
    return cmocka_run_group_tests_name("emulated/lost", tests, NULL, NULL);
}
