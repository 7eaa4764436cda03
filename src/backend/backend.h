/* A backend: a table of kernels, one an operator, and how a graph is run with it.
 *
 * Kernels are bound to a node once (prepare: choose an implementation, fetch weights in the layout it wants, create
 * primitives) and run many times without allocating. */
#ifndef LECO_BACKEND_BACKEND_H
#define LECO_BACKEND_BACKEND_H

#include "graph/graph.h"

/* What prepare leaves for run. */
typedef struct kernel_plan {
    void *state;                         /* the kernel's own, freed by its release; may be NULL */
    const void *weight[NODE_MAX_INPUTS]; /* for inputs that are weights: the data in the kernel's layout */
    size_t scratch_bytes;                /* working memory in the session's arena during run */
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

typedef struct kernel {
    /* Optional. Without it the node has no state nor scratch and its weights come as row-major compute dtype. With it,
     * it must fill plan->weight for every weight input. */
    leco_status (*prepare)(const node *n, dtype compute, kernel_plan *plan, leco_error *err);
    void (*run)(const kernel_args *args);
    void (*release)(kernel_plan *plan); /* optional */
    /* Optional: the name of what does the work where there are several, for the log. Valid as long as the plan. */
    const char *(*chosen)(const kernel_plan *plan);
} kernel;

typedef struct backend {
    const char *name; /* "ref", "cpu" */
    bool (*supports)(dtype compute);
    /* The kernel of an operator for a compute dtype, or NULL where the backend has none. */
    const kernel *(*kernel_for)(op_code op, dtype compute);
    /* The dtype activations should have on this machine when the user names none: BF16 or F32. */
    dtype (*preferred_dtype)(void);
} backend;

extern const backend backend_ref; /* plain loops, F32 and F64: the definition of correct */
extern const backend backend_cpu; /* oneDNN and OpenMP, F32 and BF16 */

/* The machine's own matrix rate in GFLOP/s, measured now through oneDNN (about 0.2 s): what reports relate speeds to. 0
 * where it has no product of that dtype. */
double backend_cpu_matrix_rate(dtype compute);

/* "ref" or "cpu"; NULL for another name. */
const backend *backend_find(const char *name);

/* ---- sessions: a planned graph, ready to run ---- */

/* Memory shared by sessions that never run at the same time: it grows to the largest of them. Contents don't survive
 * from one session's run to another's. */
typedef struct workspace workspace;
workspace *workspace_create(void); /* NULL: out of memory */
void workspace_destroy(workspace *w);
size_t workspace_bytes(const workspace *w); /* what is allocated now */

typedef struct session session;

/* The memory plan of a finished graph, without running anything: bytes of the arena that a session needs. Kernels are
 * prepared (scratch is part of the plan), so weights get packed. The graph, its weights and params outlive the session;
 * `w` too. On failure *out is NULL. */
leco_status session_create(graph *g, const backend *b, workspace *w, session **out, leco_error *err);
void session_destroy(session *s);
void session_log_chosen(const session *s); /* debug messages: what does the work of its nodes, as kernel.chosen says */
size_t session_arena_bytes(const session *s);
size_t session_bytes(const session *s); /* of the session itself; not what libraries keep for its kernels */

/* Input and result memory. Valid until another session of the workspace runs or is created; write inputs before every
 * run, read results before the next. float arrays are converted to and from the tensor's dtype. */
void *session_data(session *s, const tensor *t);
void session_write(session *s, const tensor *t, const float *values, size_t count);
void session_write_i32(session *s, const tensor *t, const int32_t *values, size_t count);
void session_read(session *s, const tensor *t, float *values, size_t count);

/* Runs all nodes. No allocation, no failure. */
void session_run(session *s);

/* Seconds each node took in the last run (session_profile(s, true) first); by node id. NULL when off. */
leco_status session_profile(session *s, bool on, leco_error *err);
const double *session_seconds(const session *s);

#endif
