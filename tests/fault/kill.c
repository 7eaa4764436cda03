/* A training that is killed at a hundred random moments, and resumed each time, ends with the same file, to the byte,
 * as one that was let alone; so do some that remember more from step to step. Never is anything half written where it
 * would be read. */
#include "test_support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "leco/leco.h"
#include "train/state.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"
#define STATE "out/small.state.safetensors"
#define RESULT "out/small.safetensors"

static leco_error err;

/* Cross-attention alone, at the smallest size: most of the time goes into starting and saving, which is what is to be
 * hit. All that a state may hold is there: latents of a pass, a momentum, files that are to go; and what is drawn
 * beside the latents: dropout. */
static const char config[] =
    "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
    "network: {rank: 1, training_method: xattn, dropout: 0.1, rank_dropout: 0.1, module_dropout: 0.1}\n"
    "train: {precision: float32, iterations: 100000, max_denoising_steps: 3, lr: 1e-3, lr_scheduler: constant, "
    "samples_per_trajectory: 2,\n"
    "        timestep_jitter: false}\n"
    "save: {name: small, path: out, per_steps: 1, keep_last: 2, keep_state: true}\n"
    "preserve: [a star]\n"
    "logging: {log: log.jsonl}\n"
    "prompts:\n"
    "- {target: 'a {red|blue} circle', positive: red, resolution: 16}\n";

/* What is trained differently; NULL: nothing. */
static const char *learning;

/* In a process of its own, since what computes with threads must not fork; 0 where it came to its end. */
static pid_t begin(int64_t steps)
{
    fflush(NULL);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child > 0) return child;
    char iterations[40];
    snprintf(iterations, sizeof iterations, "train.iterations=%lld", (long long)steps);
    const char *const overrides[] = {learning, iterations};
    leco_train_options o = {.overrides = learning ? overrides : overrides + 1,
                            .override_count = learning ? 2 : 1,
                            .resume = file_exists(test_path(STATE))};
    leco_train_report report = {0};
    leco_set_threads(1);
    leco_status status = leco_train(test_path("train.yaml"), &o, &report, &err);
    if (status != LECO_OK) fprintf(stderr, "%s\n", err.message);
    _exit(status == LECO_OK ? 0 : 1);
}

static void let_alone(int64_t steps)
{
    int how;
    const pid_t child = begin(steps);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

/* The steps that the state is of; 0: there is none yet. */
static int64_t steps_saved(void)
{
    train_state s;
    if (!file_exists(test_path(STATE))) return 0;
    assert_works(state_read(test_path(STATE), &s, &err), &err); /* always whole */
    const int64_t done = s.done;
    state_free(&s);
    return done;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Kills it at a random moment: somewhere in its start, or within a few steps, each of which is saved, after one was
 * saved. How long these take depends on the machine: so it is looked at what is saved. */
static void kill_once(rng *r, int64_t at)
{
    const bool early = rng_randint(r, 0, 5) == 0;
    const double wait = (double)rng_randint(r, 0, early ? 60000 : 40000) * 1e-6;
    const pid_t child = begin(100000);
    const double begun = now();
    int how;
    while (!early && steps_saved() == at) {
        assert_int_equal(waitpid(child, &how, WNOHANG), 0);
        assert_true(now() - begun < 60);
        usleep(1000);
    }
    usleep((useconds_t)(wait * 1e6));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

/* Each step has one line in the log, whatever was killed. */
static void check_log(int64_t steps)
{
    char *text = (char *)test_read(test_path("log.jsonl"), NULL), *rest = text;
    int64_t expected = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; expected++) {
        char start[40];
        snprintf(start, sizeof start, "{\"step\": %lld, ", (long long)expected);
        if (strncmp(line, start, strlen(start)) != 0)
            fail_msg("instead of step %lld: %.60s", (long long)expected, line);
    }
    assert_int_equal(expected, steps + 1); /* and one before the first */
    free(text);
}

static void check_kills(int kills, const char *override)
{
    rng r;
    learning = override;
    rng_seed(&r, RNG_CPU, 20);
    int64_t done = 0, before = 0, early = 0;
    const double start = now();
    for (int i = 0; i < kills; i++) {
        kill_once(&r, done);
        before = done;
        done = steps_saved();
        early += done == before;
        assert_true(done >= before);
        assert_in_range(test_count_files(test_path("out")), 0, 3 + 2 + 2); /* what it writes, a lock, and litter */
    }
    printf("    %d kills in %.1f s: %lld steps, %lld times before one was saved\n", kills, now() - start,
           (long long)done, (long long)early);
    done += 3;
    let_alone(done);
    check_log(done);
    size_t size, expected_size;
    unsigned char *file = test_read(test_path(RESULT), &size);
    train_state ended, expected_end;
    assert_works(state_read(test_path(STATE), &ended, &err), &err);
    assert_int_equal(test_count_files(test_path("out")), 4); /* the last two, the result and the state: no litter */
    assert_int_equal(rename(test_path("out"), test_path("killed")), 0);

    let_alone(done);
    unsigned char *expected = test_read(test_path(RESULT), &expected_size);
    assert_int_equal(size, expected_size);
    assert_memory_equal(file, expected, size);
    /* And all that it would go on from. */
    assert_works(state_read(test_path(STATE), &expected_end, &err), &err);
    assert_true(ended.done == expected_end.done && ended.optimizer_count == expected_end.optimizer_count);
    assert_memory_equal(ended.values, expected_end.values, ended.value_count * sizeof(float));
    assert_memory_equal(ended.optimizer, expected_end.optimizer, ended.optimizer_count * sizeof(float));
    assert_memory_equal(&ended.rng, &expected_end.rng, sizeof ended.rng);
    assert_true(ended.first_sum > 0 && ended.loss == expected_end.loss);
    assert_true(ended.average_count == expected_end.average_count && ended.gathered == expected_end.gathered);
    if (ended.average) assert_memory_equal(ended.average, expected_end.average, ended.average_count * sizeof(float));
    state_free(&ended);
    state_free(&expected_end);
    free(file);
    free(expected);
    test_remove_files("out");
    test_remove_files("killed");
}

/* A sanitizer makes starting slow, and sees nothing of a process that is killed. */
#ifdef __SANITIZE_ADDRESS__
enum { KILLS = 25 };
#else
enum { KILLS = 100 };
#endif

static void a_hundred_kills_change_nothing(void **state)
{
    (void)state;
    check_kills(KILLS, NULL);
}

#define TRAIN                                                                                                          \
    "train={precision: float32, max_denoising_steps: 3, samples_per_trajectory: 2, lr: 1e-3, lr_scheduler: constant, " \
    "timestep_jitter: false, "

/* Killed between the latents of a step, too. */
static void nor_do_some_where_more_is_remembered(void **state)
{
    (void)state;
    check_kills(15, TRAIN "gradient_accumulation_steps: 3, ema_decay: 0.9, loss: huber}");
    check_kills(15, TRAIN "gradient_accumulation_steps: 3, optimizer: AdamWScheduleFree}");
    check_kills(15, TRAIN "optimizer: prodigy, optimizer_args: d0=1e-3, lr_warmup_steps: 4}");
}

static int write_config(void **state)
{
    (void)state;
    setenv("SOURCE_DATE_EPOCH", "1700000000", 1);
    test_write(test_path("train.yaml"), config, strlen(config));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_hundred_kills_change_nothing),
                                       cmocka_unit_test(nor_do_some_where_more_is_remembered)};
    return cmocka_run_group_tests_name("fault/kill", tests, write_config, NULL);
}
