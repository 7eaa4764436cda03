/* What a person sees while the program works: a progress bar on a terminal, a plain line now and then elsewhere (every
 * ten seconds, or for every percent), log messages between them; all on stderr. And signals: Ctrl-C, SIGTERM, a lost
 * connection (SIGHUP) or spent CPU time (SIGXCPU) asks the library to finish the step and save, and is acknowledged at
 * once; a second Ctrl-C or SIGTERM ends the program. Where nothing would be lost and no file left half, the first one
 * does. */
#ifndef LECO_CLI_PROGRESS_H
#define LECO_CLI_PROGRESS_H

#include <time.h>

#include "leco/leco.h"

typedef enum progress_work {
    WORK_UNSEEN,   /* never calls back, and can't be asked to stop: signals do what they always do */
    WORK_TRAINING, /* saves what it has */
    WORK_DRAWING,  /* pictures, each of them worth having */
    WORK_SHEET,    /* pictures of which none is kept before the last is done */
    WORK_LAYERS,   /* of which one file or folder is made when all are done */
    WORK_SOLVING,  /* nothing is kept before the end, and what is counted are parts of a hundred */
    WORK_TIMING    /* nothing is kept */
} progress_work;

typedef struct progress {
    progress_work work;
    bool quiet;
    bool terminal;      /* stderr is one */
    bool shown;         /* a bar stands on the terminal's last line */
    leco_progress last; /* what was reported last */
    struct timespec begun;
    double shown_at;   /* seconds of the last time that something was shown */
    double loss;       /* averaged over the last steps */
    double loss_share; /* how much of a full average `loss` holds so far */
    double effect;     /* of a training, where effect_known */
    bool effect_known;
    bool answers; /* something is printed at the end whatever happens: nothing ends it at once */
} progress;

/* Starts showing (one at a time), sends the library's log to stderr, and catches signals, unless the work is unseen.
 * What nobody reads any more (a closed pipe, a terminal that is gone) doesn't end it then. verbose: debug messages,
 * too. `p` outlives the work. */
void progress_begin(progress *p, progress_work work, bool quiet, bool verbose);
/* `path` without detours (examples/../out/x -> out/x): relative where it lies below the current folder. Into a static
 * buffer; `path` itself where it can't be resolved. */
const char *path_plain(const char *path);

/* A leco_progress_callback; `user` is the progress. False after Ctrl-C. */
bool progress_show(void *user, const leco_progress *state);
/* Ends the showing; where all was done, says so. */
void progress_end(progress *p, bool all_done);

#endif
