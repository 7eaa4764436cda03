/* Every allocation of a closed-form edit fails in turn: each time the call must say so, leak nothing (the sanitizers
 * watch) and leave no file behind. So must one that is stopped. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "leco/leco.h"
#include "solve/start.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static const char *const concepts[] = {"red", "tiny"};

/* On the small fixture: nothing that its random weights say is of use, but all of it is computed. */
static leco_erase_options plain(void)
{
    leco_erase_options o = leco_erase_defaults();
    o.concepts = concepts;
    o.concept_count = 1;
    return o;
}

static leco_erase_options options;

static leco_status erase(void)
{
    const leco_model_options as = {.precision = "float32"};
    leco_model *opened = NULL;
    leco_erase_report report = {0};
    const char *path = test_path("out/erased.safetensors");
    leco_status status = leco_model_open(FIXTURE, &as, &opened, &err);
    if (status == LECO_OK) status = leco_erase(opened, &options, path, &report, &err);
    if (status == LECO_OK) assert_int_equal(unlink(path), 0);
    if (status != LECO_OK) assert_true(!report.summary && !report.json);
    assert_int_equal(test_count_files(test_path("out")), 0);
    leco_erase_report_free(&report);
    leco_model_close(opened);
    return status;
}

/* As in fault/training: ever more allocations are skipped far into it, where the same sites come up again and again. */
static void fail_all(leco_status (*call)(void), uint64_t thinned)
{
    uint64_t before = mem_allocations();
    assert_works(call(), &err);
    const uint64_t count = mem_allocations() - before;
    print_message("%d allocations\n", (int)count);
    assert_true(count > 100);
    for (uint64_t n = 1; n <= count; n += 1 + n / thinned) {
        before = mem_allocations();
        mem_fail_at(n);
        err = (leco_error){0};
        leco_status status = call();
        mem_fail_at(0);
        if (mem_allocations() - before < n) return;
        /* An optional allocation may fail without harm. */
        if (status != LECO_OK) assert_fails(status, LECO_MEMORY, &err, "memory");
    }
}

static void erasing(void **state)
{
    (void)state;
    options = plain();
    fail_all(erase, 60);
}

static void with_everything(void **state)
{
    (void)state;
    options = plain();
    options.concept_count = 2;
    options.to = (const char *const[]){"blue:2", "a small:1"};
    options.to_count = 2;
    options.contexts = (const char *const[]){"a {small|large} {} star", "{}"};
    options.context_count = 2;
    static char keep_file[1024]; /* test_path's room is used again */
    snprintf(keep_file, sizeof keep_file, "%s", test_path("keep.txt"));
    options.keep_file = keep_file;
    options.rounds = 1;
    options.method = "speed";
    test_write(options.keep_file, "star\na photo of a dog\n", 22);
    fail_all(erase, 30);
}

/* What a training begins with. */
static leco_status start(void)
{
    train_config c;
    trainable *t = NULL;
    LECO_TRY(train_config_read(test_path("start.yaml"), NULL, 0, &c, &err));
    leco_status status = start_solve(&c, "cpu", &t, &err);
    assert_true((status == LECO_OK) == (t != NULL));
    trainable_destroy(t);
    train_config_free(&c);
    return status;
}

static void starting(void **state)
{
    (void)state;
    static const char config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                                 "network: {init: erase, rank: 3}\n"
                                 "train: {precision: float32, iterations: 2}\n"
                                 "save: {name: small, path: out}\n"
                                 "preserve: [\"a {red|blue} star\", a tiny]\n"
                                 "prompts:\n"
                                 "- {target: \"a {small|large} red circle\", neutral: \"a {small|large} circle\"}\n";
    test_write(test_path("start.yaml"), config, sizeof config - 1);
    fail_all(start, 30);
}

static bool stop(void *user, const leco_progress *done)
{
    int *left = user;
    assert_in_range(done->done, 0, 100);
    assert_int_equal(done->total, 100);
    return (*left)-- > 0;
}

static void stopped(void **state)
{
    (void)state;
    leco_status status = LECO_INTERRUPTED;
    for (int after = 0; status != LECO_OK; after++) {
        int left = after;
        options = plain();
        options.progress = stop;
        options.user = &left;
        status = erase();
        if (status != LECO_OK) assert_fails(status, LECO_INTERRUPTED, &err, "stopped before anything was written");
        assert_true(after < 100);
    }
}

int main(void)
{
    assert_int_equal(mkdir(test_path("out"), 0777), 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erasing),
        cmocka_unit_test(with_everything),
        cmocka_unit_test(starting),
        cmocka_unit_test(stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
