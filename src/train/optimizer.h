/* Optimizers: how values move against their gradients. Each is a row, over the flat buffers of a trainable.
 *
 *     optimizer_options options = optimizer_defaults(OPTIMIZER_ADAMW);
 *     LECO_TRY(optimizer_parse(&options, "betas=(0.9,0.99) weight_decay=0.1", err));
 *     const flat_params on = flat_params_of(t);
 *     LECO_TRY(optimizer_create(&options, &on, &o, err));
 *     ...gradients...
 *     optimizer_step(o, trainable_grads(t), 1.0f, lr);
 *     optimizer_destroy(o);
 *
 * The rows are as torch.optim has them (single tensor, f32 states), or their own authors; their formulas stand in their
 * files. */
#ifndef LECO_TRAIN_OPTIMIZER_H
#define LECO_TRAIN_OPTIMIZER_H

#include "model/trainable.h"

/* ---- what an optimizer works on ---- */

/* Values in one buffer of f32, and the params that lie in it: params[i].value points into values. Between params there
 * may be elements that belong to none. These are 0, as are their gradients, and a step must leave them 0: a rule that
 * goes element by element does so by itself where no gradient means no change. */
typedef struct flat_params {
    float *values; /* [count] */
    size_t count;
    const param *params;
    size_t param_count;
} flat_params;

flat_params flat_params_of(trainable *t); /* one of f32; borrowed */

/* ---- rows ---- */

typedef enum optimizer_kind {
    OPTIMIZER_ADAMW,
    OPTIMIZER_ADAM,
    OPTIMIZER_SGD,
    OPTIMIZER_LION,
    OPTIMIZER_COUNT
} optimizer_kind;

enum { OPTIMIZER_MAX_ARGUMENTS = 12 };

typedef struct optimizer_argument {
    const char *key; /* NULL ends a table */
    enum { ARGUMENT_NUMBER, ARGUMENT_PAIR, ARGUMENT_FLAG } form;
    double initial[2]; /* the default; [1] of a pair only; 0 or 1 of a flag */
    double low, high;  /* a number lies in [low, high) */
} optimizer_argument;

typedef struct optimizer_options {
    optimizer_kind kind;
    double value[OPTIMIZER_MAX_ARGUMENTS][2]; /* of the row's arguments, in its order */
} optimizer_options;

/* One step, as a row sees it. */
typedef struct optimizer_update {
    const optimizer_options *options;
    flat_params on;
    const float *grads; /* [on.count], of the same layout as the values */
    float scale;        /* the gradient is grads times this */
    double lr;
    int64_t step; /* 1 at the first */
    float *state; /* as many floats as the row asked for; 0 at first */
} optimizer_update;

typedef struct optimizer_row {
    const char *name; /* in configs: "adamw" */
    optimizer_argument argument[OPTIMIZER_MAX_ARGUMENTS + 1];
    /* What the arguments must be beside in range; NULL: nothing. */
    leco_status (*check)(const optimizer_options *options, leco_error *err);
    /* By the number of elements, or by the params' shapes. */
    size_t (*state_floats)(const optimizer_options *options, const flat_params *on);
    void (*step)(const optimizer_update *u);
} optimizer_row;

/* The rows there are, in the order of optimizer_kind; optimizers.c lists them. */
extern const optimizer_row optimizer_adamw, optimizer_adam, optimizer_sgd, optimizer_lion;
extern const optimizer_row *const optimizer_rows[OPTIMIZER_COUNT];

/* ---- use ---- */

/* torch's defaults for a kind. */
optimizer_options optimizer_defaults(optimizer_kind kind);

/* Applies p1atdev's optimizer_args, "key=value key=value" ("betas=(0.9,0.99) weight_decay=0.01"). An unknown key, or a
 * value out of range, is LECO_INVALID with a message that starts with the key. */
leco_status optimizer_parse(optimizer_options *options, const char *args, leco_error *err);

typedef struct optimizer optimizer;

/* Bytes of the states that one will keep. The buffers of `on` may be missing. */
size_t optimizer_planned_bytes(const optimizer_options *options, const flat_params *on);

/* What `on` points to is borrowed. On failure *out is NULL. */
leco_status optimizer_create(const optimizer_options *options, const flat_params *on, optimizer **out, leco_error *err);
void optimizer_destroy(optimizer *o); /* NULL is fine */

/* One step with gradients grads [count] times scale. */
void optimizer_step(optimizer *o, const float *grads, float scale, double lr);

int64_t optimizer_steps(const optimizer *o); /* done so far */
size_t optimizer_bytes(const optimizer *o);  /* of the states */

/* All that it knows beside the values: floats [*count], NULL where the kind has none, and the steps. Whoever changes
 * the floats sets the steps that they are of. */
float *optimizer_state(const optimizer *o, size_t *count);
void optimizer_set_steps(optimizer *o, int64_t steps);

/* "adamw(betas=(0.9,0.999),eps=1e-08,weight_decay=0.01)": to the last digit; mem_free it; NULL: out of memory. */
char *optimizer_text(const optimizer_options *options);

#endif
