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
    OPTIMIZER_PRODIGY,
    OPTIMIZER_DADAPTADAM,
    OPTIMIZER_DADAPTLION,
    OPTIMIZER_ADAFACTOR,
    OPTIMIZER_ADAMW_SCHEDULE_FREE,
    OPTIMIZER_COUNT
} optimizer_kind;

enum { OPTIMIZER_MAX_ARGUMENTS = 12, OPTIMIZER_MAX_NUMBERS = 4 };

/* The value of an argument that is None. */
#define OPTIMIZER_NONE (-1.0)

typedef struct optimizer_argument {
    const char *key; /* NULL ends a table */
    /* An optional one is a number or None. */
    enum { ARGUMENT_NUMBER, ARGUMENT_PAIR, ARGUMENT_FLAG, ARGUMENT_OPTIONAL } form;
    double initial[2]; /* the default; [1] of a pair only; 0 or 1 of a flag */
    double low, high;  /* a number lies in [low, high); where high is INFINITY, it may be that, too */
} optimizer_argument;

typedef struct optimizer_options {
    optimizer_kind kind;
    double value[OPTIMIZER_MAX_ARGUMENTS][2]; /* of the row's arguments, in its order */
    const char *narrow; /* the name of states in 8 bits that it was asked for by, which are kept in 32; or NULL */
} optimizer_options;

/* One step, as a row sees it. */
typedef struct optimizer_update {
    const optimizer_options *options;
    flat_params on;
    const float *grads; /* [on.count], of the same layout as the values */
    float scale;        /* the gradient is grads times this */
    double lr;
    int64_t step;    /* 1 at the first */
    float *state;    /* as many floats as the row asked for; 0 at first */
    double *numbers; /* [numbers of the row] that are of no element; 0 at first */
} optimizer_update;

typedef struct optimizer_row {
    const char *name; /* in configs: "adamw" */
    optimizer_argument argument[OPTIMIZER_MAX_ARGUMENTS + 1];
    /* What the arguments must be beside in range; NULL: nothing. */
    leco_status (*check)(const optimizer_options *options, leco_error *err);
    /* By the number of elements, or by the params' shapes. */
    size_t (*state_floats)(const optimizer_options *options, const flat_params *on);
    size_t numbers; /* at most OPTIMIZER_MAX_NUMBERS */
    void (*step)(const optimizer_update *u);
    /* Of rules that train other values than those they give in the end: out [on->count] gets the latter. After a step
     * at least. NULL: they are the same. */
    void (*average)(const optimizer_options *options, const flat_params *on, const float *state, float *out);
    bool finds_rate; /* lr is a factor of a rate that the rule finds by itself: 1 is usual */
    bool (*own_rate)(const optimizer_options *options); /* whether lr means nothing to it; NULL: it does */
} optimizer_row;

/* The rows there are, in the order of optimizer_kind; optimizers.c lists them. */
extern const optimizer_row optimizer_adamw, optimizer_adam, optimizer_sgd, optimizer_lion, optimizer_prodigy,
    optimizer_dadaptadam, optimizer_dadaptlion, optimizer_adafactor, optimizer_adamw_schedule_free;
extern const optimizer_row *const optimizer_rows[OPTIMIZER_COUNT];

/* What else configs of other programs call them. */
typedef struct optimizer_alias {
    const char *name; /* NULL ends the table */
    optimizer_kind kind;
    const char *args; /* what its defaults are beside the row's, as optimizer_args; or NULL */
    bool narrow;      /* there, it keeps its states in 8 bits */
} optimizer_alias;
extern const optimizer_alias optimizer_aliases[];

/* ---- use ---- */

/* Its authors' defaults for a kind. */
optimizer_options optimizer_defaults(optimizer_kind kind);
optimizer_options optimizer_by_alias(const optimizer_alias *alias);

/* Applies p1atdev's optimizer_args, "key=value key=value" ("betas=(0.9,0.99) weight_decay=0.01"), with spaces or commas
 * between them. An unknown key, or a value out of range, is LECO_INVALID with a message that starts with the key. */
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

/* Does it train other values than those that are to be saved, drawn with and measured? These go to out [count]. */
bool optimizer_averages(const optimizer_options *options);
void optimizer_average(const optimizer *o, float *out);

/* All that it knows beside the values: floats [*count], NULL where the kind has none, and the steps. Some of them may
 * be the bits of doubles: they are to be copied, not computed with. Whoever changes the floats sets the steps that they
 * are of. */
float *optimizer_state(const optimizer *o, size_t *count);
void optimizer_set_steps(optimizer *o, int64_t steps);

/* "adamw(betas=(0.9,0.999),eps=1e-08,weight_decay=0.01)": to the last digit; mem_free it; NULL: out of memory. */
char *optimizer_text(const optimizer_options *options);

#endif
