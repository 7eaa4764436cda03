/* Cases of what adapters compute beside linear and conv2d, alone and as LoKr and DoRA put them together. */
#include "op/op.h"
#include "trial.h"

static float scale_of(const op_case *c)
{
    return c->flags & SCALED ? 0.375f : 1.0f;
}

/* n, h, w, in, out, rank, stride */
tensor *conv_lora(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const int pad[] = {1, 1, 1, 1};
    tensor *x = trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3]));
    tensor *b = c->flags & BIAS ? trial_vector(t, "b", n[4], 0) : NULL;
    tensor *y = op_conv2d(t->g, x, trial_weight(t, "w", SHAPE(n[4], n[3], 3, 3)), b, NULL, (int)n[6], pad);
    tensor *down = op_conv2d(t->g, x, trial_param(t, "down", SHAPE(n[5], n[3], 3, 3)), NULL, NULL, (int)n[6], pad);
    return op_linear(t->g, down, trial_param(t, "up", SHAPE(n[4], n[5])), NULL, y, 0.25f);
}

/* w itself, or as a layer's weight on so many rows. */
static tensor *used(trial *t, tensor *w, int64_t rows)
{
    if (rows == 0) return w;
    return op_linear(t->g, trial_input(t, "x", SHAPE(rows, w->shape.dim[1])), w, NULL, NULL, 1);
}

/* rows, what is summed over, columns, rows of x (0: the product is y) */
tensor *product(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *a = trial_param(t, "a", SHAPE(n[0], n[1])), *b = trial_param(t, "b", SHAPE(n[1], n[2]));
    return used(t, op_product(t->g, a, b, n[1], scale_of(c), SHAPE(n[0], n[2])), n[3]);
}

/* The Kronecker product of [a,c] and [b,d]: a, c, b, d, rank of the second (0: it is whole), rows of x */
tensor *kronecker(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *left = trial_param(t, "left", SHAPE(n[0], n[1]));
    tensor *right = n[4] ? op_product(t->g, trial_param(t, "up", SHAPE(n[2], n[4])),
                                      trial_param(t, "down", SHAPE(n[4], n[3])), n[4], 1, SHAPE(n[2], n[3]))
                         : trial_param(t, "right", SHAPE(n[2], n[3]));
    tensor *outer = op_product(t->g, left, right, 1, 0.75f, SHAPE(n[0], n[1], n[2], n[3]));
    return used(t, op_swap(t->g, outer, n, SHAPE(n[0] * n[2], n[1] * n[3])), n[5]);
}

/* out, in, kernel (0: linear), rank. IMAGE: of columns */
tensor *row_norms(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const shape w = n[2] ? SHAPE(n[0], n[1], n[2], n[2]) : SHAPE(n[0], n[1]);
    const shape down = n[2] ? SHAPE(n[3], n[1], n[2], n[2]) : SHAPE(n[3], n[1]);
    return op_row_norms(t->g, trial_weight(t, "w", w), trial_loaded(t, "up", SHAPE(n[0], n[3])),
                        trial_loaded(t, "down", down), scale_of(c), c->flags & IMAGE);
}

/* rows, channels. FROZEN_K: without v */
tensor *affine(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *x = trial_input(t, "x", SHAPE(1, n[0], n[1]));
    tensor *v = c->flags & FROZEN_K ? NULL : trial_param(t, "v", SHAPE(n[1]));
    tensor *b = c->flags & BIAS ? trial_vector(t, "b", n[1], 0) : NULL;
    tensor *add = c->flags & ADD ? trial_input(t, "add", SHAPE(1, n[0], n[1])) : c->flags & ADD_X ? x : NULL;
    return op_affine(t->g, x, v, b, add, c->flags & SCALED ? -0.5f : 0.25f, c->flags & SCALED ? 0.375f : 1.0f);
}

/* rows, channels. ADD_X: one tensor twice; EXACT: of params */
tensor *multiply(trial *t, const op_case *c)
{
    const shape s = SHAPE(c->n[0], c->n[1]);
    if (c->flags & EXACT) return op_multiply(t->g, trial_param(t, "a", s), trial_param(t, "b", s));
    tensor *a = trial_input(t, "a", s);
    return op_multiply(t->g, a, c->flags & ADD_X ? a : trial_input(t, "b", s));
}

/* rows, in, out, rank. The norm is of other params, since it is a constant in the gradient. */
tensor *dora(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    graph *g = t->g;
    tensor *x = trial_input(t, "x", SHAPE(1, n[0], n[1])), *w = trial_weight(t, "w", SHAPE(n[2], n[1]));
    tensor *down = trial_param(t, "down", SHAPE(n[3], n[1])), *up = trial_param(t, "up", SHAPE(n[2], n[3]));
    tensor *q = op_row_norms(g, w, trial_loaded(t, "up, fixed", SHAPE(n[2], n[3])),
                             trial_loaded(t, "down, fixed", SHAPE(n[3], n[1])), 0.5f, false);
    tensor *v = op_multiply(g, trial_param(t, "magnitude", SHAPE(n[2])), q);
    tensor *base = op_linear(g, x, w, NULL, NULL, 1),
           *y = op_affine(g, base, NULL, trial_vector(t, "b", n[2], 0), NULL, 1, 0);
    tensor *low = op_linear(g, op_linear(g, x, down, NULL, NULL, 1), up, NULL, NULL, 1);
    return op_affine(g, low, v, NULL, op_affine(g, base, v, NULL, y, -1, 1), 0, 0.5f);
}
