#include "train/crowd.h"

#include "base/cores.h"
#include "base/cpu.h"
#include "base/log.h"

#define LOOK_SECONDS 10.0
#define CROWDED 0.25 /* of the time */

int crowd_advice(int threads, double seconds, double waited)
{
    if (threads < 2 || waited < CROWDED * seconds * threads) return 0;
    const int rest = (int)(threads - waited / seconds);
    return rest < 1 ? 1 : rest;
}

void crowd_look(crowd *c)
{
    const double now = cpu_seconds(), seconds = now - c->since;
    if (c->told || (c->since > 0 && seconds < LOOK_SECONDS)) return;
    const double waited = cores_waited();
    const int threads = cpu_threads(), better = c->since > 0 ? crowd_advice(threads, seconds, waited - c->waited) : 0;
    if (better > 0)
        log_message(
            LOG_WARNING,
            "other programs compute beside this one: its %d threads had to wait %.0f%% of the last %.0f seconds, "
            "and wait for each other; --threads %d is likely faster",
            threads, 100 * (waited - c->waited) / (seconds * threads), seconds, better);
    *c = (crowd){.since = now, .waited = waited, .told = better > 0};
}
