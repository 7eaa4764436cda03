/* A trial: one case of the table built as a graph, with seeded values for its leaves and the gradients of
 * sum(u * y) for a random u.
 *
 * The build functions of cases_support.c make their leaves with the trial_* functions below. A leaf asked for twice
 * under one name is the same tensor. All values depend on the case's name, the leaf's name and the seed only, so the
 * same case built for another dtype has the same values. */
#ifndef LECO_TESTS_TRIAL_H
#define LECO_TESTS_TRIAL_H

#include "graph/graph.h"

#define TRIAL_MAX_LEAVES 24

typedef struct trial trial;

typedef enum case_flags {
    BIAS = 1,
    ADD = 2,             /* a tensor of its own to add */
    ADD_X = 4,           /* x itself is added: it reaches the operator as two inputs */
    PARAM = 8,           /* the weight is trainable; a convolution's is a loaded param */
    SCALED = 16,         /* a scale other than the default */
    SILU = 32,           /* a norm followed by SiLU; a sinusoid with cos first */
    CAUSAL = 64,         /* attention */
    FROZEN_K = 128,      /* keys want no gradient */
    FROZEN_Q = 256,      /* nor do queries */
    IMAGE = 512,         /* tokens come as [N,T,1,C] */
    EXACT = 1024,        /* mse's target is of the exact dtype */
    TWICE = 2048,        /* y + y built twice from the same leaves: every gradient accumulates */
    LOSS = 4096,         /* y is a loss: graph_backward, without u */
    FORWARD_ONLY = 8192, /* an operator without a gradient */
    LARGE = 16384,       /* gradients are compared between backends, but not with central differences */
    WIDE = 32768,        /* inputs in [-40, 40) */
    OFFSET = 65536,      /* inputs in [24, 26) */
    BENCH = 131072,      /* run under --bench only */
    TRAINED = 262144,    /* a convolution's weight is trained */
    NARROW = 524288,     /* the weight is kept as int8 where kernels can, and holds what that can */
} case_flags;

typedef struct op_case {
    const char *name;
    tensor *(*build)(trial *t, const struct op_case *c);
    int64_t n[9]; /* sizes; the build function says what they mean */
    unsigned flags;
} op_case;

/* Of hadamard_support.c. */
tensor *loha(trial *t, const op_case *c);
tensor *loha_conv(trial *t, const op_case *c);
/* Of adapter_support.c. */
tensor *conv_lora(trial *t, const op_case *c);
tensor *product(trial *t, const op_case *c);
tensor *kronecker(trial *t, const op_case *c);
tensor *row_norms(trial *t, const op_case *c);
tensor *affine(trial *t, const op_case *c);
tensor *multiply(trial *t, const op_case *c);
tensor *dora(trial *t, const op_case *c);

extern const op_case op_cases[];
extern const size_t op_case_count;

typedef struct leaf {
    const char *name;
    tensor *tensor;
    tensor *grad;   /* of sum(u * y); NULL where none is wanted */
    double *values; /* rounded to the trial's rounding dtype, except those of params */
    size_t count;
    bool wants_gradient;
    float *data; /* what weight.data points at */
    weight weight;
    param param;
} leaf;

struct trial {
    graph *g;
    const op_case *c;
    dtype rounding;
    uint64_t seed;
    leaf leaves[TRIAL_MAX_LEAVES];
    int leaf_count;
    tensor *y;
    leaf *u; /* NULL: y is a loss, or has no gradient */
};

/* The seed of this run: 1, or what LECO_TEST_SEED says. */
uint64_t trial_seed(void);

/* Builds case c for `compute`, with gradients. Leaf values are rounded to `rounding`. Fails the cmocka test where the
 * graph does not build. Release with trial_destroy. */
trial *trial_create(const op_case *c, dtype compute, dtype rounding);
void trial_destroy(trial *t);

/* ---- for build functions ---- */

/* Uniform in [-1, 1) unless the case is WIDE or OFFSET, of the compute dtype; its gradient is wanted. */
tensor *trial_input(trial *t, const char *name, shape s);
/* Uniform in [low, high), without a gradient. */
tensor *trial_constant(trial *t, const char *name, dtype type, shape s, double low, double high);
/* Whole numbers in [0, limit), I32. */
tensor *trial_indices(trial *t, const char *name, shape s, int64_t limit);
/* A frozen weight [out, in, ...], uniform and scaled so that outputs have the size of inputs. */
tensor *trial_weight(trial *t, const char *name, shape s);
/* Uniform around `centre`: gamma and beta of norms. */
tensor *trial_vector(trial *t, const char *name, int64_t channels, double centre);
/* Of multiples of 1/128, 127 of them the most of each row, kept as int8. */
tensor *trial_narrow(trial *t, const char *name, shape s);
/* As trial_weight, trainable. */
tensor *trial_param(trial *t, const char *name, shape s);
/* As trial_weight, in a param that isn't trained: its values may change between runs. */
tensor *trial_loaded(trial *t, const char *name, shape s);

/* ---- a generator of its own (splitmix64): the tests don't rest on base/rng ---- */

typedef struct dice {
    uint64_t state;
} dice;

dice dice_for(uint64_t seed, const char *name, const char *part);
uint64_t dice_word(dice *d);
double dice_uniform(dice *d, double low, double high);

#endif
