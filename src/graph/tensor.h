/* Tensors and nodes: what a graph is made of.
 *
 * A graph is static: it is built once (src/op gives one function an operator), planned once, and run many times. A node
 * has an operator, inputs, attributes and outputs; a tensor knows the node that makes it, or is one of the three kinds
 * of leaf below. Layout: row-major; images are [N,H,W,C], tokens [N,T,C], so [N,H,W,C] and [N,HW,C] are the same
 * memory. */
#ifndef LECO_GRAPH_TENSOR_H
#define LECO_GRAPH_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

#define TENSOR_MAX_DIMS 4
#define NODE_MAX_INPUTS 6
#define NODE_MAX_OUTPUTS 3

typedef struct shape {
    int rank; /* 0 is a scalar */
    int64_t dim[TENSOR_MAX_DIMS];
} shape;

static inline shape shape_of(int rank, const int64_t *dim)
{
    shape s = {.rank = rank};
    for (int i = 0; i < rank; i++) s.dim[i] = dim[i];
    return s;
}
#define SHAPE(...) shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]){__VA_ARGS__})

int64_t shape_count(const shape *s); /* elements; 1 for a scalar */
bool shape_equal(const shape *a, const shape *b);
/* The product of all dimensions but the last, and the last: how row-wise operators see a tensor. */
int64_t shape_rows(const shape *s);
int64_t shape_last(const shape *s);
/* "[2,64,64,320]" into a static-sized buffer. Returns text. */
#define SHAPE_TEXT 96
const char *shape_format(const shape *s, char text[SHAPE_TEXT]);

typedef enum op_code {
#define OP(code, name, inputs, outputs, shared_input, summary) OP_##code,
#include "graph/ops.def"
#undef OP
    OP_COUNT
} op_code;

const char *op_name(op_code op); /* as ops.def has it: "linear" */

typedef enum activation { ACT_SILU, ACT_GELU, ACT_QUICK_GELU } activation;

/* The attributes of all operators; each uses the few that its header in src/op/op.h names, the rest are zero. */
typedef struct node_attr {
    float scale;
    float offset;   /* affine */
    bool turned[2]; /* product: is the first, the second matrix read transposed? */
    int64_t depth;  /* product: what is summed over */
    int64_t dim[4]; /* swap: of x, which may come in any shape */
    bool by_column; /* row_norms */
    float eps;
    int groups;                  /* group_norm */
    bool silu;                   /* group_norm followed by SiLU */
    int heads;                   /* attention */
    bool causal;                 /* attention */
    activation act;              /* activation */
    int stride;                  /* conv2d */
    int pad[4];                  /* conv2d: top, left, bottom, right */
    int64_t from, length;        /* slice: channels [from, from + length); add_rows: from, the id of the first row */
    bool flip_sin_to_cos;        /* timestep_embedding */
    float freq_shift;            /* timestep_embedding */
    bool want_q, want_k, want_v; /* attention_grad: which of dq, dk, dv to compute */
    shape target;                /* operators whose output shape is not implied by their inputs' */
} node_attr;

typedef struct weight weight; /* graph/weight.h: a frozen tensor of a model */
typedef struct param param;   /* graph/weight.h: a trainable tensor and its gradient */
typedef struct node node;

typedef enum tensor_kind {
    TENSOR_NODE,      /* made by a node */
    TENSOR_INPUT,     /* written by the caller before each run */
    TENSOR_WEIGHT,    /* frozen, in a weight */
    TENSOR_PARAM,     /* trainable f32 (f64 in an f64 graph), in a param */
    TENSOR_PARAM_GRAD /* a node's output that is stored in param->grad */
} tensor_kind;

typedef struct tensor {
    tensor_kind kind;
    dtype type;
    shape shape;
    const char *name; /* for messages and tables: module path of what made it */
    int id;           /* index among the graph's tensors */
    node *maker;      /* TENSOR_NODE, TENSOR_PARAM_GRAD */
    int maker_output; /* which of its outputs */
    weight *weight;   /* TENSOR_WEIGHT */
    param *param;     /* TENSOR_PARAM, TENSOR_PARAM_GRAD */
    bool trainable;   /* a trainable param is among what it was computed from */
    bool is_result;   /* stays valid after the run, for the caller to read */
} tensor;

struct node {
    op_code op;
    int id; /* position in execution order */
    node_attr attr;
    tensor *input[NODE_MAX_INPUTS];   /* NULL where an optional one is absent */
    tensor *output[NODE_MAX_OUTPUTS]; /* NULL where nobody wants it */
    const char *name;
    bool backward; /* emitted by the reverse walk */
    bool again;    /* a copy of a forward node, made by the reverse walk: graph_recompute */
    int block;     /* the block it was made in, from 1; 0: in none */
};

#endif
