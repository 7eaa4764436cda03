/* Optimizers, as torch.optim has them (single tensor, f32 states), over the params of an adapter.
 *
 * AdamW  p -= lr wd p;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
 *        p -= lr / (1 - b1^n) * m / (sqrt(v) / sqrt(1 - b2^n) + eps)
 * Adam   the same with g += wd p in place of the first step
 * SGD    g += wd p;  b = momentum b + (1 - dampening) g (at first b = g);  p -= lr b, or lr (g + momentum b) for
 * nesterov
 *
 * Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (2019); Kingma and Ba, "Adam" (2015). */
#ifndef LECO_TRAIN_OPTIMIZER_H
#define LECO_TRAIN_OPTIMIZER_H

#include "base/error.h"
#include "graph/weight.h"

typedef enum optimizer_kind { OPTIMIZER_ADAMW, OPTIMIZER_ADAM, OPTIMIZER_SGD } optimizer_kind;

typedef struct optimizer_options {
    optimizer_kind kind;
    double beta1, beta2, eps; /* Adam, AdamW */
    double weight_decay;
    double momentum, dampening; /* SGD */
    bool nesterov;
} optimizer_options;

/* torch's defaults for a kind. */
optimizer_options optimizer_defaults(optimizer_kind kind);

/* Applies P's optimizer_args, "key=value key=value" ("betas=(0.9,0.99) weight_decay=0.01"). An unknown key, or a value
 * out of range, is LECO_INVALID with a message that starts with the key. */
leco_status optimizer_parse(optimizer_options *options, const char *args, leco_error *err);

typedef struct optimizer optimizer;

/* params [count], f32 and trainable, borrowed. */
leco_status optimizer_create(const optimizer_options *options, param *params, size_t count, optimizer **out,
                             leco_error *err);
void optimizer_destroy(optimizer *o); /* NULL is fine */

/* One step with the params' gradients times gradient_scale. */
void optimizer_step(optimizer *o, double lr, float gradient_scale);

int64_t optimizer_steps(const optimizer *o); /* done so far */
size_t optimizer_bytes(const optimizer *o);  /* of the states */

/* How the learning rate moves over a run. LR_COSINE falls from lr to lr / 100 by half a cosine, as P1atdev's trainer
 * and torch's CosineAnnealingLR(T_max = steps, eta_min = lr / 100) have it; step counts from 0. */
typedef enum lr_schedule { LR_CONSTANT, LR_COSINE } lr_schedule;
double lr_at(lr_schedule schedule, double lr, int64_t step, int64_t steps);

#endif
