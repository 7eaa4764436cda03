#include "cli/progress.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "cli/options.h"

#define BAR_SECONDS 0.1    /* between two drawings of the bar */
#define PLAIN_SECONDS 10.0 /* between two plain lines, or where that is longer */
#define PLAIN_SHARE 0.01   /* of all the time it takes: a file keeps them all */
#define BAR_WIDTH 28
#define BAR_LEAST 8         /* a shorter one says nothing */
#define SLOW_SECONDS 2.0    /* a step that takes longer is shown with the part of it that is done */
#define AT_ONCE_SECONDS 0.1 /* signals that come together are one */
#define LOSS_STEPS 50       /* that the shown loss is averaged over: a single step's says little */

static progress *volatile current;
static bool log_debug, log_info;

/* What the kinds of work are, and what is said where they are told to stop. */
static const struct {
    const char *unit;    /* what is counted; NULL: nothing that people ask the rate of */
    const char *early;   /* told before anything was reported; NULL: nothing would be left behind, so it ends at once */
    const char *stops;   /* what happens now; NULL: there never is anything to keep */
    const char *nothing; /* said where it ends at once */
} works[] = {
    [WORK_TRAINING] = {"steps", "Stopping before the first step.", "Stopping after this step, and saving.",
                       "leco: stopped before the first step was done: there is nothing to save\n"},
    [WORK_DRAWING] = {"pictures", NULL, "Stopping, and writing the pictures that are done.",
                      "leco: stopped before the first picture was done\n"},
    [WORK_SHEET] = {"pictures", NULL, NULL, "leco: stopped before the picture was done\n"},
    [WORK_LAYERS] = {"layers", "Stopping before the first layer.", "Stopping after this layer; nothing is written.",
                     "leco: stopped; nothing is written\n"},
    [WORK_SOLVING] = {NULL, NULL, NULL, "leco: stopped before anything was written\n"},
    [WORK_TIMING] = {"runs", NULL, NULL, "leco: stopped\n"},
};

/* ---- signals ---- */

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t ends_at_once; /* nothing would be lost, and no file is being written */
static const char *volatile what_happens;  /* of `works`, unless it ends at once */

/* Inside a signal's handler: no stdio. */
static void say(const char *text)
{
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void clear_bar_now(void)
{
    if (current && current->shown) say("\r\033[K");
}

/* Ctrl-C as it would have done by itself, so that a shell's loop ends, too: the shell, too, makes 130 of it. */
static void end_now(int number)
{
    clear_bar_now();
    say(current ? works[current->work].nothing : "");
    if (number != SIGINT) _exit(EXIT_INTERRUPTED);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, number);
    signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    raise(number);
}

/* Here, not where the work notices: that may be minutes later. */
static void acknowledge(int number)
{
    if (!what_happens) return; /* it is done already */
    clear_bar_now();
    if (number == SIGHUP) say("The connection is lost. ");
    if (number == SIGXCPU) say("The CPU time that this process may use is spent. ");
    say(what_happens);
    say(number == SIGINT    ? " Ctrl-C again ends at once.\n"
        : number == SIGTERM ? " A second SIGTERM ends at once.\n"
                            : "\n");
}

/* A second Ctrl-C or SIGTERM ends the program; not one that comes with the first: timeout(1) tells a process, and then
 * its group. A lost connection is often told twice, by the shell and by the system, or beside a SIGTERM: that is no
 * impatience. Spent CPU time is told every second. */
static bool is_impatient(int number)
{
    static struct timespec first;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (first.tv_sec == 0) first = now;
    const double seconds = (double)(now.tv_sec - first.tv_sec) + 1e-9 * (double)(now.tv_nsec - first.tv_nsec);
    return (number == SIGINT || number == SIGTERM) && seconds > AT_ONCE_SECONDS;
}

static void on_signal(int number)
{
    const int before = errno;
    const bool first = !interrupted, impatient = is_impatient(number);
    interrupted = 1;
    if (ends_at_once) end_now(number);
    if (first) acknowledge(number);
    if (!first && impatient) {
        signal(number, SIG_DFL);
        raise(number); /* when this handler is left */
    }
    errno = before;
}

static void catch_signal(int number)
{
    struct sigaction action, before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return; /* nohup, or a script's "&" */
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* ---- lines ---- */

static void clear_bar(void)
{
    if (current && current->shown) {
        fputs("\r\033[K", stderr);
        current->shown = false;
    }
}

static void on_log(void *user, leco_log_level level, const char *message)
{
    (void)user;
    if ((level == LECO_LOG_DEBUG && !log_debug) || (level == LECO_LOG_INFO && !log_info)) return;
    clear_bar();
    fprintf(stderr, "%s%s\n", level == LECO_LOG_WARNING ? "warning: " : "", message);
}

void progress_begin(progress *p, progress_work work, bool quiet, bool verbose)
{
    *p = (progress){.work = work, .quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1};
    clock_gettime(CLOCK_MONOTONIC, &p->begun);
    current = p;
    log_debug = verbose;
    log_info = !quiet;
    leco_set_log(on_log, NULL);
    if (work == WORK_UNSEEN) return;
    what_happens = works[work].early;
    ends_at_once = !works[work].early;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) catch_signal(numbers[i]);
    signal(SIGPIPE, SIG_IGN); /* hours of work outlive whoever reads of their progress */
}

/* "0:42", "1:05:00" */
static const char *clock_text(double seconds, char text[32])
{
    long long s = (long long)(fmin(seconds, 1e12) + 0.5);
    if (s >= 3600)
        snprintf(text, 32, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 32, "%lld:%02lld", s / 60, s % 60);
    return text;
}

/* "12.3 steps/s", or "4.1 s each" where it is slow. without: what there is no room for: 1: the rate, 2: the loss, too,
 * 3: and what is done of a step. */
static void append_figures(const progress *p, const leco_progress *state, int without, char *line, size_t size)
{
    size_t used = strlen(line);
    char left[32];
    if (!isnan(state->loss) && without < 2) used += (size_t)snprintf(line + used, size - used, "  loss %.4g", p->loss);
    if (p->effect_known) used += (size_t)snprintf(line + used, size - used, "  effect %.2f", p->effect);
    if (works[p->work].unit && state->seconds > 0 && state->done > 0 && without < 1) {
        double rate = (double)state->done / state->seconds;
        if (rate >= 0.5)
            used += (size_t)snprintf(line + used, size - used, "  %.3g %s/s", rate, works[p->work].unit);
        else
            used += (size_t)snprintf(line + used, size - used, "  %.3g s each", 1 / rate);
    }
    const bool slow = state->done == 0 || state->seconds > SLOW_SECONDS * (double)state->done;
    if (state->part && slow && state->part_total > 0 && state->done < state->total && without < 3)
        used += (size_t)snprintf(line + used, size - used, "  %.40s %lld/%lld", state->part,
                                 (long long)state->part_done, (long long)state->part_total);
    if (state->seconds_left >= 0 && state->done < state->total)
        snprintf(line + used, size - used, "  %s left", clock_text(state->seconds_left, left));
    else if (state->done >= state->total)
        snprintf(line + used, size - used, "  in %s", clock_text(state->seconds, left));
}

/* Of the terminal, less the last one, where some begin a new line; many where nobody knows. */
static size_t columns(void)
{
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? (size_t)size.ws_col - 1 : SIZE_MAX;
}

/* On one line: what is longer than the terminal is wide couldn't be drawn over. The bar gives way before figures do,
 * and the time left last. */
static void draw_bar(progress *p, const leco_progress *state)
{
    char before[64], figures[256], bar[BAR_WIDTH + 1], line[384];
    double share = state->total > 0 ? (double)state->done / (double)state->total : 0;
    double whole = state->seconds + state->seconds_left; /* a picture's steps count in it, too */
    if (state->seconds_left >= 0 && state->seconds / whole > share) share = state->seconds / whole;
    snprintf(before, sizeof before, "%.40s", state->what);
    const size_t most = columns();
    for (int without = 0; without < 4 && (without == 0 || strlen(before) + strlen(figures) > most); without++) {
        snprintf(figures, sizeof figures, " %lld/%lld", (long long)state->done, (long long)state->total);
        append_figures(p, state, without, figures, sizeof figures);
    }
    const size_t taken = strlen(before) + strlen(" []") + strlen(figures);
    const size_t room = taken < most ? most - taken : 0;
    const size_t width = room < BAR_LEAST ? 0 : room < BAR_WIDTH ? room : BAR_WIDTH;
    memset(bar, '.', width);
    memset(bar, '#', (size_t)(fmin(share, 1) * (double)width));
    bar[width] = '\0';
    if (width > 0)
        snprintf(line, sizeof line, "%s [%s]%s", before, bar, figures);
    else
        snprintf(line, sizeof line, "%s%s", before, figures);
    fprintf(stderr, "\r\033[K%.*s", (int)(most < sizeof line ? most : sizeof line), line);
    p->shown = true;
}

static void print_line(progress *p, const leco_progress *state)
{
    char line[256];
    snprintf(line, sizeof line, "%.40s %lld/%lld", state->what, (long long)state->done, (long long)state->total);
    append_figures(p, state, 0, line, sizeof line);
    fprintf(stderr, "%s\n", line);
}

static void average_loss(progress *p, int64_t done, double loss)
{
    if (isnan(loss) || done == p->last.done) return; /* called between denoising steps, too */
    const double keep = 1 - 1.0 / LOSS_STEPS;
    double sum = p->loss * p->loss_share * keep + loss * (1 - keep);
    p->loss_share = p->loss_share * keep + (1 - keep);
    p->loss = sum / p->loss_share;
}

const char *path_plain(const char *path)
{
    static char plain[4096];
    char here[4096], *whole = realpath(path, NULL);
    if (!whole) return path;
    size_t length = getcwd(here, sizeof here) ? strlen(here) : 0;
    bool below = length > 1 && strncmp(whole, here, length) == 0 && whole[length] == '/';
    snprintf(plain, sizeof plain, "%s", below ? whole + length + 1 : whole);
    free(whole);
    return path[0] == '/' ? path : plain;
}

static void show(progress *p, const leco_progress *state)
{
    if (p->quiet) return;
    p->shown_at = state->seconds;
    if (p->terminal)
        draw_bar(p, state);
    else
        print_line(p, state);
}

/* Between two times that something is shown. */
static double pause_of(const progress *p, const leco_progress *state)
{
    const double whole = state->seconds_left >= 0 ? state->seconds + state->seconds_left : 0;
    return p->terminal ? BAR_SECONDS : fmax(PLAIN_SECONDS, PLAIN_SHARE * whole);
}

bool progress_show(void *user, const leco_progress *state)
{
    progress *p = user;
    what_happens = p->answers && state->done == 0 ? works[p->work].early : works[p->work].stops;
    ends_at_once = !p->answers && (!works[p->work].stops || state->done == 0);
    average_loss(p, state->done, state->loss);
    p->effect_known = state->effect && !isnan(state->effect->effect);
    if (p->effect_known) p->effect = state->effect->effect;
    if (state->saved && !p->quiet && state->done < state->total) { /* the last one is the result, on stdout */
        clear_bar();
        fprintf(stderr, "saved %s\n", path_plain(state->saved));
    }
    if (state->seconds - p->shown_at >= pause_of(p, state)) show(p, state);
    p->last = *state;
    p->last.saved = NULL;
    p->last.effect = NULL;
    return !interrupted;
}

void progress_end(progress *p, bool all_done)
{
    ends_at_once = 0; /* what is done is being written */
    what_happens = NULL;
    if (all_done && p->work == WORK_TRAINING) {
        clear_bar(); /* the command sums it up, with losses of its own */
    } else if (all_done && p->last.total > 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        p->last.done = p->last.total;
        p->last.seconds = (double)(now.tv_sec - p->begun.tv_sec) + 1e-9 * (double)(now.tv_nsec - p->begun.tv_nsec);
        show(p, &p->last);
    }
    if (p->shown) fputc('\n', stderr);
    p->shown = false;
    current = NULL;
}
