/* Cases of the weight that a LoHa adds, alone and as what linear and conv2d read. */
#include "op/op.h"
#include "trial.h"

/* rows (0: the weight itself is y), in, out, the two ranks */
tensor *loha(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *a = trial_param(t, "a", SHAPE(n[2], n[3])), *b = trial_param(t, "b", SHAPE(n[3], n[1]));
    tensor *left = trial_param(t, "c", SHAPE(n[2], n[4])), *right = trial_param(t, "d", SHAPE(n[4], n[1]));
    tensor *w = op_hadamard(t->g, a, b, left, right, 0.75f, SHAPE(n[2], n[1]));
    if (n[0] == 0) return w;
    return op_linear(t->g, trial_input(t, "x", SHAPE(n[0], n[1])), w, NULL, NULL, c->flags & SCALED ? 0.375f : 1.0f);
}

/* n, h, w, in, out, rank */
tensor *loha_conv(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *x = trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3]));
    tensor *a = trial_param(t, "a", SHAPE(n[4], n[5])), *b = trial_param(t, "b", SHAPE(n[5], 9 * n[3]));
    tensor *left = trial_param(t, "c", SHAPE(n[4], n[5])), *right = trial_param(t, "d", SHAPE(n[5], 9 * n[3]));
    tensor *w = op_hadamard(t->g, a, b, left, right, 0.75f, SHAPE(n[4], n[3], 3, 3));
    return op_conv2d(t->g, x, w, NULL, NULL, 1, (const int[]){1, 1, 1, 1});
}
