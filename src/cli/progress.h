/* What a person sees while the program works: a progress bar on a terminal, a plain line now and then elsewhere, log
 * messages between them; all on stderr. And signals: Ctrl-C, SIGTERM or a lost connection (SIGHUP) asks the library to
 * finish the step and save, a second Ctrl-C or SIGTERM ends the program. */
#ifndef LECO_CLI_PROGRESS_H
#define LECO_CLI_PROGRESS_H

#include <time.h>

#include "leco/leco.h"

typedef struct progress {
    const char *unit; /* what is counted, in the plural: "steps", "pictures" */
    bool quiet;
    bool terminal;      /* stderr is one */
    bool shown;         /* a bar stands on the terminal's last line */
    bool told;          /* the interruption has been acknowledged */
    leco_progress last; /* what was reported last */
    struct timespec begun;
    double shown_at;   /* seconds of the last time that something was shown */
    double loss;       /* averaged over the last steps */
    double loss_share; /* how much of a full average `loss` holds so far */
} progress;

/* Starts showing (one at a time), sends the library's log to stderr, and catches signals, unless unit is NULL: work
 * that never calls back can't be asked to stop. What nobody reads any more (a closed pipe, a terminal that is gone)
 * doesn't end it then. verbose: debug messages, too. `p` outlives the work. */
void progress_begin(progress *p, const char *unit, bool quiet, bool verbose);
/* `path` without detours (examples/../out/x -> out/x): relative where it lies below the current folder. Into a static
 * buffer; `path` itself where it can't be resolved. */
const char *path_plain(const char *path);

/* A leco_progress_callback; `user` is the progress. False after Ctrl-C. */
bool progress_show(void *user, const leco_progress *state);
/* Ends the showing; where all was done, says so. */
void progress_end(progress *p, bool all_done);

#endif
