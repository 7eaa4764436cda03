/* Runs the nodes of a trial one by one on one backend, each tensor in memory of its own, and watches the kernels:
 *
 * - 256 bytes of a pattern lie before and after every tensor and every scratch; they must stay as they are;
 * - outputs and scratch are NaN before each run: what a kernel forgets to write, or reads unwritten, shows;
 * - inputs must not be changed;
 * - with `shared`, output 0 has the memory of the input that ops.def names, as the memory plan may arrange it. */
#ifndef LECO_TESTS_MACHINE_H
#define LECO_TESTS_MACHINE_H

#include "backend/session.h"
#include "trial.h"

typedef struct machine machine;

/* Prepares all kernels and loads the leaves' values. Fails the cmocka test where the backend refuses. The trial
 * outlives the machine. */
machine *machine_create(trial *t, const backend *b);
void machine_destroy(machine *m);

/* Values of a tensor (not of a weight), converted from and to its dtype. */
void machine_read(const machine *m, const tensor *x, double *values);
void machine_write(machine *m, const tensor *x, const double *values);
void machine_set(machine *m, const tensor *x, size_t index, double value);

/* Runs node `id`, or all nodes up to and including `last`. False, with a sentence in machine_problem, where a kernel
 * misbehaved. */
bool machine_run_node(machine *m, int id, bool shared);
bool machine_run(machine *m, int last, bool shared);
const char *machine_problem(const machine *m);

/* Runs node `id` without any of the checks, for timing. */
void machine_run_bare(machine *m, int id);

/* Marks y and all gradients as results, for a session to keep. */
void trial_mark_results(trial *t);
/* Writes the leaves' values into a session of the trial's graph. */
void trial_load(const trial *t, session *s);

/* Whether the memory plan could ever let output 0 of n take over its shared input's memory. */
bool node_can_share(const node *n);

#endif
