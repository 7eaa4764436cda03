/* Sessions: a graph that is planned, and then ready to run.
 *
 *     session_plan *p;
 *     LECO_TRY(session_plan_create(g, backend, &p, err));          how much it takes; nothing is taken yet
 *     LECO_TRY(session_create(p, workspace, &s, err));             memory, packed weights, kernels
 *     LECO_TRY(session_write(s, x, values, count, err));
 *     LECO_TRY(session_run(s, err)); */
#ifndef LECO_BACKEND_SESSION_H
#define LECO_BACKEND_SESSION_H

#include "backend/backend.h"
#include "backend/workspace.h"

typedef struct session_plan session_plan;
typedef struct session session;

/* Plans a finished graph: chooses its kernels and lays out the arena. Takes no memory but for the plan itself, and
 * reads neither weights nor params. The graph, its weights and params outlive the plan. On failure *out is NULL. */
leco_status session_plan_create(graph *g, const backend *b, session_plan **out, leco_error *err);
void session_plan_destroy(session_plan *p); /* NULL is fine */

size_t session_plan_arena_bytes(const session_plan *p); /* of the workspace */
/* Of the forms of weights that its kernels want, each once: with other sessions it may share some or all of them. */
size_t session_plan_weight_bytes(const session_plan *p);
size_t session_plan_bytes(const session_plan *p);    /* of a session itself; not what libraries keep for its kernels */
void session_plan_log_chosen(const session_plan *p); /* debug messages: what will do the work of its nodes */

/* Takes what was planned: room in the workspace, which is of the backend's memory and outlives the session; weights in
 * their forms; kernels. The plan is the session's from now on, and destroyed where this fails; *out is NULL then. */
leco_status session_create(session_plan *p, workspace *w, session **out, leco_error *err);
void session_destroy(session *s); /* NULL is fine */
const session_plan *session_planned(const session *s);

/* Both at once, where nobody asks for the plan. */
leco_status session_open(graph *g, const backend *b, workspace *w, session **out, leco_error *err);

/* Inputs and results. Write inputs before every run, read results before the next; another session of the workspace
 * that runs or is created spoils them. float arrays are converted to and from the tensor's dtype. These fail, as
 * session_run does, where a device does; on the host never. */
leco_status session_write(session *s, const tensor *t, const float *values, size_t count, leco_error *err);
leco_status session_write_i32(session *s, const tensor *t, const int32_t *values, size_t count, leco_error *err);
leco_status session_read(session *s, const tensor *t, float *values, size_t count, leco_error *err);

/* Runs all nodes, with params' values as they are now (on a device, where they have a buffer, as they were when its
 * version changed last); gradients are in param->grad when it returns. No allocation. */
leco_status session_run(session *s, leco_error *err);

/* A tensor's own memory, where that is the host's; valid as results are. */
void *session_data(session *s, const tensor *t);

/* Seconds each node took in the last run (session_profile(s, true) first); by node id. NULL when off. */
leco_status session_profile(session *s, bool on, leco_error *err);
const double *session_seconds(const session *s);

#endif
