/* Reading fixtures and comparing with them. See fixtures/README.md for what each file holds. */
#ifndef PARITY_SUPPORT_H
#define PARITY_SUPPORT_H

#include "backend/session.h"
#include "format/safetensors.h"
#include "test_support.h"

#define FIXTURES LECO_SOURCE_DIR "/tests/parity/fixtures/"

/* A backend and the dtype it computes in. */
typedef struct way {
    const char *name;
    const char *device;
    dtype type;
} way;

enum { WAY_REF_F32, WAY_CPU_F32, WAY_CPU_BF16, WAY_CUDA_F32, WAY_CUDA_BF16, WAY_CUDA_F16, WAY_COUNT };
extern const way ways[WAY_COUNT];
bool way_available(const way *w); /* does this machine have it? */
int way_grade(const way *w);      /* which bounds are its: those of float32 0, bfloat16 1, float16 2 */

safetensors *fixture_open(const char *path); /* below fixtures/ */
/* Whether its model is one of those in models/. */
bool fixture_is_embedded(const char *name);
/* The folder of one part of a fixture's model ("unet"): beside its case files, or models/NAME for the embedded models,
 * whose names begin with "shapes". In static storage, until the next call. */
const char *fixture_model(const char *name, const char *part);
bool fixture_has(const safetensors *file, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A tensor as floats (whatever its type), test-owned: free with values_free. */
typedef struct values {
    float *at;
    size_t count;
    int rank;
    int64_t dim[SAFETENSORS_MAX_DIMS];
} values;

values fixture_read(const safetensors *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with [N,C,H,W] turned into [N,H,W,C]; dim is in the new order. */
values fixture_read_nhwc(const safetensors *file, const char *format, ...) __attribute__((format(printf, 2, 3)));
void values_free(values *v);

/* Largest difference over largest magnitude of `want`; infinite for a NaN. */
double worst_error(const float *got, const values *want);
/* Euclidean norm of the difference over that of `want`. */
double norm_error(const float *got, const values *want);

/* Prints "what: way error" and fails where error is above `bound`. */
void check_error(const char *what, const way *w, double error, double bound);

/* A finished graph in a session of its own. */
typedef struct running {
    const way *way;
    workspace *memory;
    session *session;
} running;
running run_start(graph *g, const way *w);
void run_all(running *r);
void run_write(running *r, const tensor *t, const values *v);
/* The error of a result of the last run: worst_error in float32, as issue 3 asks; norm_error in 16 bits, whose worst
 * element is a matter of luck. */
double run_compare(running *r, const tensor *t, const values *want);
void run_end(running *r);

#endif
