/* What leco_bench measures. */
#ifndef LECO_API_BENCH_H
#define LECO_API_BENCH_H

#include "backend/backend.h"
#include "leco/leco.h"

/* All nodes of one operator. */
typedef struct op_time {
    int64_t count;
    double seconds, flops;
} op_time;

enum { MOST_GROUPS = 160 };

/* All nodes of one operator on the same shapes. */
typedef struct shape_time {
    op_code op;
    shape first, second, out; /* of inputs 0 and 1 (all zero: there is none) and output 0 */
    op_time time;
} shape_time;

/* One kind of run, by operator. */
typedef struct timing {
    int64_t batch;
    int runs;
    double seconds; /* the best of the runs */
    double flops;   /* by node_flops */
    op_time op[OP_COUNT];
    int groups; /* the first MOST_GROUPS that occur */
    shape_time group[MOST_GROUPS];
} timing;

typedef struct bench_run {
    dtype compute;
    double rate_before, rate_after;                    /* 10^9 operations per second of large matrix products */
    timing forward, step;                              /* U-Net, batch 2; student forward + backward, batch 1 */
    uint64_t weights, activations, adapter, optimizer; /* planned for training, bytes */
    uint64_t allocated;                                /* for the same, in the end */
    uint64_t peak_resident;                            /* of the process while this ran; 0: not known */
} bench_run;

typedef struct bench_result {
    const char *model;
    const char *device; /* its name: of the card, or the processor's level */
    int width, height;
    int count;
    bench_run run[2];
} bench_result;

/* As text for people or JSON; release with leco_free. */
leco_status bench_report(const bench_result *result, bool json, char **text, leco_error *err);

#endif
