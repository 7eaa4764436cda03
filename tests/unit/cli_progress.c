/* The lines that a person sees while the program works: where stderr is no terminal, and on narrow ones. */
#define _XOPEN_SOURCE 700 /* pseudo-terminals */
#include "test_support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

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
    progress_begin(&p, WORK_TRAINING, quiet, false);
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

/* Hours leave a hundred lines, not thousands; and each tells how far the effect has come, where that is known. */
static void long_work_leaves_a_line_a_percent(void **state)
{
    (void)state;
    const leco_effect none = {NAN, 0.5, NAN, NAN, NAN}, some = {0.456, 0.5, 0.1, NAN, NAN};
    leco_progress states[] = {at(0, 0, 0, -1),     at(20, 1, 0, 9980),  at(99, 2, 0, 9901),
                              at(101, 3, 0, 9899), at(200, 4, 0, 9800), at(202, 5, 0, 9798)};
    states[3].effect = &none;
    states[5].effect = &some;
    char *text = shown(states, sizeof states / sizeof states[0], false);
    assert_string_equal(text, "training 3/8  loss 0.5  33.7 s each  denoising 0/12  2:44:59 left\n"
                              "training 5/8  loss 0.5  effect 0.46  40.4 s each  denoising 0/12  2:43:18 left\n");
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

/* What is drawn on a terminal of so many columns. */
static void drawn(unsigned short wide, const leco_progress *state, char *text, size_t size)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), kept = dup(STDERR_FILENO);
    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int inside = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    const struct winsize columns_and_rows = {.ws_row = 24, .ws_col = wide};
    assert_true(inside >= 0 && ioctl(inside, TIOCSWINSZ, &columns_and_rows) == 0);
    fflush(stderr);
    assert_true(dup2(inside, STDERR_FILENO) >= 0);
    progress p;
    progress_begin(&p, WORK_TRAINING, false, false);
    assert_true(p.terminal && progress_show(&p, state));
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    const ssize_t got = read(terminal, text, size - 1);
    assert_true(got > 0);
    text[got] = '\0';
    current = NULL;
    close(kept);
    close(inside);
    close(terminal);
}

static void a_bar_fits_the_terminal(void **state)
{
    (void)state;
    const leco_effect some = {0.456, 0.5, 0.1, NAN, NAN};
    leco_progress one = at(20, 4, 5, 20);
    one.effect = &some;
    char text[512];
    drawn(0, &one, text, sizeof text); /* one that doesn't say */
    assert_string_equal(text, "\r\033[Ktraining [##############..............] 4/8  loss 0.5  effect 0.46  5 s each  "
                              "denoising 5/12  0:20 left");
    drawn(90, &one, text, sizeof text);
    assert_string_equal(text, "\r\033[Ktraining [#######.......] 4/8  loss 0.5  effect 0.46  5 s each  denoising 5/12  "
                              "0:20 left");
    assert_int_equal(strlen(text), strlen("\r\033[K") + 89);
    drawn(80, &one, text, sizeof text); /* four columns would be left */
    assert_string_equal(text, "\r\033[Ktraining 4/8  loss 0.5  effect 0.46  5 s each  denoising 5/12  0:20 left");
    drawn(70, &one, text, sizeof text);
    assert_string_equal(text, "\r\033[Ktraining 4/8  loss 0.5  effect 0.46  denoising 5/12  0:20 left");
    drawn(60, &one, text, sizeof text);
    assert_string_equal(text, "\r\033[Ktraining 4/8  effect 0.46  denoising 5/12  0:20 left");
    drawn(45, &one, text, sizeof text);
    assert_string_equal(text, "\r\033[Ktraining 4/8  effect 0.46  0:20 left");
    drawn(30, &one, text, sizeof text);
    assert_string_equal(text, "\r\033[Ktraining 4/8  effect 0.46  0:");
}

/* What a process says, and how it ends, that is told `first` and then `second` (0: nothing) while it works; shown: what
 * was reported before (NULL: nothing). */
static char *told(progress_work work, const leco_progress *before, int first, int second, int *how)
{
    const char *path = test_path("told");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        progress p;
        dup2(file, STDERR_FILENO);
        progress_begin(&p, work, true, false);
        if (before) progress_show(&p, before);
        raise(first);
        if (second) raise(second);
        _exit(before && progress_show(&p, before) ? 3 : 4);
    }
    assert_true(waitpid(child, how, 0) == child);
    char *text;
    assert_works(file_read_text(path, 10000, &text, NULL, &err), &err);
    return text;
}

static void a_signal_is_answered_at_once_in_its_own_words(void **state)
{
    (void)state;
    const leco_progress none = at(1, 0, 3, 60), one = at(1, 1, 3, 60);
    static const char saves[] = "Stopping after this step, and saving.";
    static const struct {
        progress_work work;
        int done, first, second; /* done: -1: before the first report */
        const char *says, *and_says;
        int status, signal; /* 4: told to stop */
    } cases[] = {
        {WORK_TRAINING, 1, SIGINT, 0, saves, " Ctrl-C again ends at once.\n", 4, 0},
        {WORK_TRAINING, 1, SIGTERM, 0, saves, " A second SIGTERM ends at once.\n", 4, 0},
        {WORK_TRAINING, 1, SIGHUP, SIGHUP, "The connection is lost. ", saves, 4, 0},
        {WORK_TRAINING, 1, SIGXCPU, SIGXCPU, "The CPU time that this process may use is spent. ", saves, 4, 0},
        {WORK_TRAINING, 1, SIGINT, SIGINT, saves, "", 4, 0}, /* at once: they are one; cli/interrupt sends two */
        {WORK_TRAINING, 1, SIGHUP, SIGTERM, saves, "The connection is lost.", 4, 0},
        {WORK_TRAINING, -1, SIGTERM, 0, "Stopping before the first step. A second SIGTERM", "", 4, 0},
        {WORK_TRAINING, 0, SIGTERM, 0, "nothing to save\n", "leco: stopped", 130, 0},
        {WORK_DRAWING, -1, SIGINT, 0, "leco: stopped before the first picture was done\n", "", 0, SIGINT},
        {WORK_DRAWING, 0, SIGHUP, 0, "leco: stopped before the first picture was done\n", "", 130, 0},
        {WORK_DRAWING, 1, SIGINT, 0, "Stopping, and writing the pictures that are done. Ctrl-C", "", 4, 0},
        {WORK_SHEET, 1, SIGTERM, 0, "leco: stopped", "", 130, 0},
        {WORK_TIMING, 1, SIGINT, 0, "leco: stopped", "", 0, SIGINT},
        {WORK_TIMING, 1, SIGXCPU, 0, "leco: stopped", "", 130, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const leco_progress *before = cases[i].done < 0 ? NULL : cases[i].done ? &one : &none;
        int how = 0;
        char *text = told(cases[i].work, before, cases[i].first, cases[i].second, &how);
        if (!strstr(text, cases[i].says) || !strstr(text, cases[i].and_says)) fail_msg("case %zu: \"%s\"", i, text);
        if (strchr(text, '\n') != strrchr(text, '\n')) fail_msg("case %zu: more than a line: \"%s\"", i, text);
        const bool killed = cases[i].signal != 0;
        assert_int_equal(killed ? WIFSIGNALED(how) : WIFEXITED(how), 1);
        assert_int_equal(killed ? WTERMSIG(how) : WEXITSTATUS(how), killed ? cases[i].signal : cases[i].status);
        leco_free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_steps_are_shown_in_parts_every_ten_seconds),
        cmocka_unit_test(long_work_leaves_a_line_a_percent),
        cmocka_unit_test(quick_steps_are_shown_whole),
        cmocka_unit_test(a_bar_fits_the_terminal),
        cmocka_unit_test(a_signal_is_answered_at_once_in_its_own_words),
    };
    return cmocka_run_group_tests_name("unit/cli_progress", tests, NULL, NULL);
}
