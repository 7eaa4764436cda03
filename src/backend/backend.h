/* A backend: kernels, one an operator, and the memory they work in. Sessions (session.h) run graphs with it.
 *
 * A kernel is bound to a node in two steps. `plan` chooses how the node will be computed and counts what that takes; it
 * takes no memory to speak of and reads no weight. `prepare` makes what run needs: primitives, weights in its layout.
 * After that a node runs many times without allocating. */
#ifndef LECO_BACKEND_BACKEND_H
#define LECO_BACKEND_BACKEND_H

#include "backend/weight_form.h"
#include "graph/graph.h"

/* What a kernel is bound to. */
typedef struct kernel_site {
    const node *node;
    dtype compute;
    const device_memory *memory; /* the backend's */
} kernel_site;

typedef struct kernel_plan {
    void *state;                         /* the kernel's own, freed by its release; may be NULL */
    size_t scratch_bytes;                /* working memory in the session's arena during run */
    weight_form *form[NODE_MAX_INPUTS];  /* of inputs that are weights; NULL: the file's data in place */
    const void *weight[NODE_MAX_INPUTS]; /* the data of form, or the file's: there once it is prepared */
} kernel_plan;

/* What run gets. data[i] of inputs: tensors' memory (for weights kernel_plan.weight[i]); NULL for absent ones. Pointers
 * are 64-byte aligned, except those of weights used in place from a memory map. */
typedef struct kernel_args {
    const node *node;
    const kernel_plan *plan;
    const void *input[NODE_MAX_INPUTS];
    void *output[NODE_MAX_OUTPUTS];
    void *scratch; /* 64-byte aligned */
} kernel_args;

/* All but run are optional. */
typedef struct kernel {
    /* Sets state, scratch_bytes, and form where row-major compute dtype wouldn't do. */
    leco_status (*plan)(const kernel_site *at, kernel_plan *plan, leco_error *err);
    /* Takes and fills the forms that aren't plain, as far as they have no data yet. */
    leco_status (*prepare)(const kernel_site *at, kernel_plan *plan, leco_error *err);
    /* Cannot fail at once: what goes wrong on a device comes out of device_memory.synchronise. */
    void (*run)(const kernel_args *args);
    void (*release)(kernel_plan *plan); /* after plan, prepared or not, and whether or not either failed */
    /* The name of what does the work where there are several, for the log. Known once planned, valid as long as that.
     */
    const char *(*chosen)(const kernel_plan *plan);
} kernel;

/* What a run does, kept so that it can be done again with less to say: kernels run between begin and end are recorded,
 * not done. They see the pointers that they saw then. */
typedef struct recorder {
    leco_status (*begin)(leco_error *err);
    leco_status (*end)(void **recording, leco_error *err); /* of all since begin; *recording is the caller's */
    leco_status (*replay)(void *recording, leco_error *err);
    void (*release)(void *recording);
} recorder;

/* Times nodes without waiting for each of them. */
typedef struct stopwatch {
    leco_status (*begin)(size_t marks, leco_error *err);
    void (*mark)(size_t index);                           /* at this point of what is being done */
    leco_status (*end)(double *seconds, leco_error *err); /* [marks - 1] between each mark and the next */
} stopwatch;

typedef struct backend {
    const char *name; /* "ref", "cpu" */
    const device_memory *memory;
    /* Optional: finds and opens the device, before anything else is asked. Again is fine. LECO_UNSUPPORTED where there
     * is none, LECO_DEVICE where it is there and can't be used, both saying why. */
    leco_status (*open)(leco_error *err);
    bool (*supports)(dtype compute);
    /* The kernel of an operator for a compute dtype, or NULL where the backend has none. */
    const kernel *(*kernel_for)(op_code op, dtype compute);
    /* The dtype activations should have on this machine when the user names none: BF16, F16 or F32. */
    dtype (*preferred_dtype)(void);
    /* Optional. The device's own matrix rate in GFLOP/s, measured now (about 0.2 s): what reports relate speeds to. 0
     * where it has no product of that dtype. */
    double (*matrix_rate)(dtype compute);
    const char *(*device_name)(void); /* optional: of the device that is open */
    const recorder *recorder;         /* optional */
    const stopwatch *stopwatch;       /* optional */
} backend;

/* All backends, a row each: the first that has its device is what is used when none is named.
 *
 *     cuda  NVIDIA cards, F32, F16 and, from Ampere on, BF16; where leco was built with it
 *     cpu   oneDNN and OpenMP, F32 and BF16
 *     ref   plain loops, F32 and F64: the definition of correct */
#if defined(LECO_CUDA)
#define BACKEND_CUDA(ROW) ROW(cuda)
#else
#define BACKEND_CUDA(ROW)
#endif
#define BACKENDS(ROW)                                                                                                  \
    BACKEND_CUDA(ROW)                                                                                                  \
    ROW(cpu)                                                                                                           \
    ROW(ref)

#define BACKEND_ROW(name) extern const backend backend_##name;
BACKENDS(BACKEND_ROW)
#undef BACKEND_ROW

const backend *backend_at(size_t index);       /* NULL: no more */
const backend *backend_find(const char *name); /* NULL where there is none of that name */
/* The first whose device opens. A device that is there and can't be used is passed over with a warning, said once. */
const backend *backend_default(void);
leco_status backend_open(const backend *b, leco_error *err);
const char *backend_names(void); /* of all, for messages: "cpu", "ref", each in quotes */

/* What binding a kernel takes for any backend: plain weights are planned and filled here. On failure, too, the plan is
 * released with kernel_release. */
leco_status kernel_plan_node(const kernel *k, const kernel_site *at, kernel_plan *plan, leco_error *err);
leco_status kernel_prepare(const kernel *k, const kernel_site *at, kernel_plan *plan, leco_error *err);
void kernel_release(const kernel *k, kernel_plan *plan); /* zeroes it */

#endif
