/* The lines that a person sees while the program works, where stderr is no terminal. */
#include "test_support.h"

#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "cli/progress.c"

static leco_error err;

/* Sends stderr to a file while `states` are shown, and returns what was written there; leco_free it. */
static char *shown(const leco_progress *states, size_t count, bool quiet)
{
    const char *path = test_path("lines");
    fflush(stderr);
    int kept = dup(STDERR_FILENO), file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(kept >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    close(file);
    progress p;
    progress_begin(&p, "steps", quiet, false);
    for (size_t i = 0; i < count; i++) assert_true(progress_show(&p, &states[i]));
    progress_end(&p, false);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    char *text;
    assert_works(file_read_text(path, 10000, &text, NULL, &err), &err);
    return text;
}

static leco_progress at(double seconds, int64_t done, int64_t part, double left)
{
    return (leco_progress){.what = "training",
                           .done = done,
                           .total = 8,
                           .seconds = seconds,
                           .seconds_left = left,
                           .loss = done > 0 ? 0.5 : (double)NAN,
                           .part = "denoising",
                           .part_done = part,
                           .part_total = 12};
}

static void slow_steps_are_shown_in_parts_every_ten_seconds(void **state)
{
    (void)state;
    const leco_progress states[] = {at(0, 0, 0, -1),    at(4, 0, 1, 200),  at(12, 0, 3, 320),   at(16, 0, 4, 316),
                                    at(23, 0, 12, 310), at(40, 1, 0, 280), at(130, 1, 12, 910), at(150, 2, 0, 450.4)};
    char *text = shown(states, sizeof states / sizeof states[0], false);
    assert_string_equal(text, "training 0/8  denoising 3/12  5:20 left\n"
                              "training 0/8  denoising 12/12  5:10 left\n"
                              "training 1/8  loss 0.5  40 s each  denoising 0/12  4:40 left\n"
                              "training 1/8  loss 0.5  130 s each  denoising 12/12  15:10 left\n"
                              "training 2/8  loss 0.5  75 s each  denoising 0/12  7:30 left\n");
    leco_free(text);
}

static void quick_steps_are_shown_whole(void **state)
{
    (void)state;
    const leco_progress states[] = {at(11, 6, 5, 3)};
    char *text = shown(states, 1, false);
    assert_string_equal(text, "training 6/8  loss 0.5  0.545 steps/s  0:03 left\n");
    leco_free(text);
    text = shown(states, 1, true);
    assert_string_equal(text, "");
    leco_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_steps_are_shown_in_parts_every_ten_seconds),
        cmocka_unit_test(quick_steps_are_shown_whole),
    };
    return cmocka_run_group_tests_name("unit/cli_progress", tests, NULL, NULL);
}
