#include "solve/work.h"

#include "base/cpu.h"

void work_begin(work *w, int64_t total, double cost)
{
    w->done = 0;
    w->total = total;
    w->begun = cpu_seconds();
    w->cost_done = 0;
    w->cost = cost;
}

leco_status work_step(work *w, double cost, leco_error *err)
{
    w->done++;
    w->cost_done += cost;
    if (!w->report) return LECO_OK;
    const double seconds = cpu_seconds() - w->begun;
    const double left = w->cost_done > 0 ? seconds * (w->cost - w->cost_done) / w->cost_done : -1;
    if (w->report(w->user, w->done, w->total, seconds, left > 0 ? left : 0)) return LECO_OK;
    return error_set(err, LECO_INTERRUPTED, "stopped after %lld of %lld layers; nothing is written", (long long)w->done,
                     (long long)w->total);
}
