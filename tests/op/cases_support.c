/* The table of cases. A build function reads its sizes from c->n in the order that its comment gives. */
#include "op/op.h"
#include "trial.h"

static tensor *bias(trial *t, const op_case *c, const char *name, int64_t channels)
{
    return c->flags & BIAS ? trial_vector(t, name, channels, 0) : NULL;
}

/* rows, in, out, rows' second dimension (0: x is [rows,in]; -1: x is [in]; -2: the weight is [out,in,1,1]) */
static tensor *linear(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    shape x_shape = n[3] > 0 ? SHAPE(n[0], n[3], n[1]) : n[3] == -1 ? SHAPE(n[1]) : SHAPE(n[0], n[1]);
    shape w_shape = n[3] == -2 ? SHAPE(n[2], n[1], 1, 1) : SHAPE(n[2], n[1]);
    shape y_shape = x_shape;
    y_shape.dim[y_shape.rank - 1] = n[2];
    tensor *x = trial_input(t, "x", x_shape);
    tensor *w = c->flags & PARAM    ? trial_param(t, "w", w_shape)
                : c->flags & NARROW ? trial_narrow(t, "w", w_shape)
                                    : trial_weight(t, "w", w_shape);
    tensor *add = c->flags & ADD ? trial_input(t, "add", y_shape) : c->flags & ADD_X ? x : NULL;
    return op_linear(t->g, x, w, bias(t, c, "b", n[2]), add, c->flags & SCALED ? 0.375f : 1.0f);
}

/* rows, in, out, rank of the adapter */
static tensor *lora(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *x = trial_input(t, "x", SHAPE(1, n[0], n[1]));
    tensor *y = op_linear(t->g, x, trial_weight(t, "w", SHAPE(n[2], n[1])), bias(t, c, "b", n[2]), NULL, 1);
    tensor *down = op_linear(t->g, x, trial_param(t, "down", SHAPE(n[3], n[1])), NULL, NULL, 1);
    return op_linear(t->g, down, trial_param(t, "up", SHAPE(n[2], n[3])), NULL, y, 0.25f);
}

/* n, h, w, in, out, kernel, stride, padding as the four digits top left bottom right, kernel's width where it differs
 */
static tensor *conv(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const int pad[4] = {(int)(n[7] / 1000), (int)(n[7] / 100 % 10), (int)(n[7] / 10 % 10), (int)(n[7] % 10)};
    int64_t kw = n[8] > 0 ? n[8] : n[5];
    tensor *x = trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3]));
    const shape kernel = SHAPE(n[4], n[3], n[5], kw);
    tensor *w = c->flags & TRAINED  ? trial_param(t, "w", kernel)
                : c->flags & PARAM  ? trial_loaded(t, "w", kernel)
                : c->flags & NARROW ? trial_narrow(t, "w", kernel)
                                    : trial_weight(t, "w", kernel);
    int64_t height = (n[1] + pad[0] + pad[2] - n[5]) / n[6] + 1, width = (n[2] + pad[1] + pad[3] - kw) / n[6] + 1;
    tensor *add = NULL;
    if (c->flags & ADD) add = trial_input(t, "add", SHAPE(n[0], height, width, n[4]));
    if (c->flags & ADD_X) add = x;
    return op_conv2d(t->g, x, w, bias(t, c, "b", n[4]), add, (int)n[6], pad);
}

/* n, h, w (0: x is [n,c]), c, groups */
static tensor *group_norm(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *x = trial_input(t, "x", n[1] == 0 ? SHAPE(n[0], n[3]) : SHAPE(n[0], n[1], n[2], n[3]));
    tensor *gamma = trial_vector(t, "gamma", n[3], 1), *beta = trial_vector(t, "beta", n[3], 0);
    return op_group_norm(t->g, x, gamma, beta, (int)n[4], 1e-5f, c->flags & SILU);
}

/* rows, c */
static tensor *layer_norm(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *gamma = trial_vector(t, "gamma", n[1], 1), *beta = trial_vector(t, "beta", n[1], 0);
    return op_layer_norm(t->g, trial_input(t, "x", SHAPE(1, n[0], n[1])), gamma, beta, 1e-5f);
}

static tensor *tokens(trial *t, const op_case *c, const char *name, int64_t count, bool frozen)
{
    int64_t batch = c->n[0], channels = c->n[3] * c->n[4];
    shape s = c->flags & IMAGE ? SHAPE(batch, count, 1, channels) : SHAPE(batch, count, channels);
    if (frozen) return trial_constant(t, name, graph_dtype(t->g), s, -1, 1);
    return trial_input(t, name, s);
}

/* n, queries, keys (0: q, k and v are one tensor), heads, width of a head. Values well under and over 1 make the
 * softmax neither flat nor a maximum. */
static tensor *attention(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *q = tokens(t, c, "q", n[1], c->flags & FROZEN_Q), *k = q, *v = q;
    if (n[2] > 0) {
        k = tokens(t, c, "k", n[2], c->flags & FROZEN_K);
        v = tokens(t, c, "v", n[2], false);
    }
    /* WIDE: scores of over 100, whose exponentials overflow f32, but not so large that f32's rounding of a score alone
     * would change P by more than a part in 100000. */
    float scale = c->flags & WIDE ? 0.02f : c->flags & SCALED ? 1.5f : 0;
    return op_attention(t->g, q, k, v, (int)n[3], scale, c->flags & CAUSAL);
}

/* rows, c */
static tensor *geglu(trial *t, const op_case *c)
{
    return op_geglu(t->g, trial_input(t, "x", SHAPE(c->n[0], 2 * c->n[1])));
}

/* count, activation */
static tensor *activate(trial *t, const op_case *c)
{
    return op_activation(t->g, trial_input(t, "x", SHAPE(1, c->n[0])), (activation)c->n[1]);
}

/* rows, c */
static tensor *add(trial *t, const op_case *c)
{
    tensor *a = trial_input(t, "a", SHAPE(c->n[0], c->n[1]));
    return op_add(t->g, a, c->flags & ADD_X ? a : trial_input(t, "b", SHAPE(c->n[0], c->n[1])));
}

/* n, h, w, c */
static tensor *add_spatial(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    return op_add_spatial(t->g, trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3])),
                          trial_input(t, "v", SHAPE(n[0], n[3])));
}

/* n, h, w, c */
static tensor *sum_spatial(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    return op_sum_spatial(t->g, trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3])), 0.125f);
}

/* rows, channels of a, channels of b (0: a itself) */
static tensor *concat(trial *t, const op_case *c)
{
    tensor *a = trial_input(t, "a", SHAPE(1, c->n[0], c->n[1]));
    return op_concat(t->g, a, c->n[2] == 0 ? a : trial_input(t, "b", SHAPE(1, c->n[0], c->n[2])));
}

/* rows, c, from, length */
static tensor *slice(trial *t, const op_case *c)
{
    return op_slice(t->g, trial_input(t, "x", SHAPE(c->n[0], c->n[1])), c->n[2], c->n[3]);
}

/* n, h, w, c, height, width */
static tensor *upsample(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    return op_upsample(t->g, trial_input(t, "x", SHAPE(n[0], n[1], n[2], n[3])), n[4], n[5]);
}

/* n, width, freq_shift */
static tensor *timesteps(trial *t, const op_case *c)
{
    tensor *steps = trial_constant(t, "t", graph_exact_dtype(t->g), SHAPE(c->n[0]), 0, 1000);
    return op_timestep_embedding(t->g, steps, c->n[1], c->flags & SILU, (float)c->n[2]);
}

/* n, tokens, width, rows of the table, rows of position (0: none) */
static tensor *embedding(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *ids = trial_indices(t, "ids", SHAPE(n[0], n[1]), n[3]);
    tensor *position = n[4] > 0 ? trial_weight(t, "position", SHAPE(n[4], n[2])) : NULL;
    return op_embedding(t->g, ids, trial_weight(t, "table", SHAPE(n[3], n[2])), position);
}

/* n, tokens, width, ids, the first row's id, rows */
static tensor *add_rows(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *ids = trial_indices(t, "ids", SHAPE(n[0], n[1]), n[3]);
    tensor *x = trial_input(t, "x", SHAPE(n[0], n[1], n[2]));
    return op_add_rows(t->g, x, ids, trial_param(t, "rows", SHAPE(n[5], n[2])), n[4]);
}

/* The table's ids and those beyond it, of two sets of rows one after the other. n, tokens, width, rows of the table */
static tensor *extended_embedding(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    tensor *ids = trial_indices(t, "ids", SHAPE(n[0], n[1]), n[3] + 5);
    tensor *position = trial_weight(t, "position", SHAPE(n[1], n[2]));
    tensor *y = op_embedding(t->g, ids, trial_weight(t, "table", SHAPE(n[3], n[2])), position);
    y = op_add_rows(t->g, y, ids, trial_param(t, "first", SHAPE(2, n[2])), n[3]);
    return op_add_rows(t->g, y, ids, trial_param(t, "second", SHAPE(3, n[2])), n[3] + 2);
}

/* n, tokens, width */
static tensor *select_rows(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    return op_select_rows(t->g, trial_input(t, "x", SHAPE(n[0], n[1], n[2])),
                          trial_indices(t, "index", SHAPE(n[0]), n[1]));
}

/* rows, c. With LOSS the input is made from a param, since graph_backward gives no other gradients. */
static tensor *mse(trial *t, const op_case *c)
{
    dtype type = c->flags & EXACT ? graph_exact_dtype(t->g) : graph_dtype(t->g);
    shape s = SHAPE(c->n[0], c->n[1]);
    tensor *x = c->flags & LOSS ? trial_constant(t, "x", graph_dtype(t->g), s, -1, 1) : trial_input(t, "x", s);
    if (c->flags & LOSS) x = op_linear(t->g, x, trial_param(t, "w", SHAPE(c->n[1], c->n[1])), NULL, NULL, 1);
    return op_mse(t->g, x, trial_constant(t, "target", type, SHAPE(c->n[0], c->n[1]), -1, 1));
}

/* rows, c; flags as of mse. Differences are of the size of c and far beyond it. */
static tensor *huber(trial *t, const op_case *c)
{
    dtype type = c->flags & EXACT ? graph_exact_dtype(t->g) : graph_dtype(t->g);
    shape s = SHAPE(c->n[0], c->n[1]);
    tensor *x = c->flags & LOSS ? trial_constant(t, "x", graph_dtype(t->g), s, -1, 1) : trial_input(t, "x", s);
    if (c->flags & LOSS) x = op_linear(t->g, x, trial_param(t, "w", SHAPE(c->n[1], c->n[1])), NULL, NULL, 1);
    tensor *target = trial_constant(t, "target", type, SHAPE(c->n[0], c->n[1]), -1, 1);
    return op_huber(t->g, x, target, trial_constant(t, "c", graph_exact_dtype(t->g), (shape){0}, 0.1, 0.5));
}

/* ---- composed graphs ---- */

/* h, w, in, out, groups: a residual block with a timestep embedding and a 1x1 shortcut. */
static tensor *resnet_block(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const int pad[4] = {1, 1, 1, 1}, none[4] = {0};
    graph *g = t->g;
    tensor *x = trial_input(t, "x", SHAPE(2, n[0], n[1], n[2])), *time = trial_input(t, "time", SHAPE(2, 8));
    tensor *h = op_group_norm(g, x, trial_vector(t, "gamma1", n[2], 1), trial_vector(t, "beta1", n[2], 0), (int)n[4],
                              1e-5f, true);
    h = op_conv2d(g, h, trial_weight(t, "conv1", SHAPE(n[3], n[2], 3, 3)), trial_vector(t, "bias1", n[3], 0), NULL, 1,
                  pad);
    tensor *v =
        op_linear(g, op_activation(g, time, ACT_SILU), trial_weight(t, "time_w", SHAPE(n[3], 8)), NULL, NULL, 1);
    h = op_add_spatial(g, h, v);
    h = op_group_norm(g, h, trial_vector(t, "gamma2", n[3], 1), trial_vector(t, "beta2", n[3], 0), (int)n[4], 1e-5f,
                      true);
    tensor *shortcut = op_conv2d(g, x, trial_weight(t, "short", SHAPE(n[3], n[2], 1, 1)), NULL, NULL, 1, none);
    return op_conv2d(g, h, trial_weight(t, "conv2", SHAPE(n[3], n[3], 3, 3)), NULL, shortcut, 1, pad);
}

static tensor *adapted(trial *t, tensor *x, tensor *add, const char *w, const char *down, const char *up, int64_t in,
                       int64_t out)
{
    tensor *y = op_linear(t->g, x, trial_weight(t, w, SHAPE(out, in)), NULL, add, 1);
    tensor *low = op_linear(t->g, x, trial_param(t, down, SHAPE(2, in)), NULL, NULL, 1);
    return op_linear(t->g, low, trial_param(t, up, SHAPE(out, 2)), NULL, y, 0.5f);
}

static tensor *norm(trial *t, tensor *x, const char *gamma, const char *beta)
{
    int64_t channels = shape_last(&x->shape);
    return op_layer_norm(t->g, x, trial_vector(t, gamma, channels, 1), trial_vector(t, beta, channels, 0), 1e-5f);
}

/* h, w, c, heads, context tokens: cross-attention and GEGLU with residuals, LoRA on q and the output; as a training
 * step has it with LOSS: only adapters trainable, mse at the end. */
static tensor *transformer_block(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    int64_t channels = n[2];
    shape image = SHAPE(1, n[0], n[1], channels);
    tensor *x = c->flags & LOSS ? trial_constant(t, "x", graph_dtype(t->g), image, -1, 1) : trial_input(t, "x", image);
    tensor *context = trial_constant(t, "context", graph_dtype(t->g), SHAPE(1, n[4], 6), -1, 1);
    tensor *h = norm(t, x, "gamma1", "beta1");
    tensor *q = adapted(t, h, NULL, "q", "q_down", "q_up", channels, channels);
    tensor *k = op_linear(t->g, context, trial_weight(t, "k", SHAPE(channels, 6)), NULL, NULL, 1);
    tensor *v = op_linear(t->g, context, trial_weight(t, "v", SHAPE(channels, 6)), NULL, NULL, 1);
    tensor *o = op_attention(t->g, q, k, v, (int)n[3], 0, false);
    x = adapted(t, o, x, "o", "o_down", "o_up", channels, channels);
    h = norm(t, x, "gamma2", "beta2");
    h = op_geglu(t->g, op_linear(t->g, h, trial_weight(t, "ff1", SHAPE(4 * channels, channels)), NULL, NULL, 1));
    x = op_linear(t->g, h, trial_weight(t, "ff2", SHAPE(channels, 2 * channels)), NULL, x, 1);
    if (!(c->flags & LOSS)) return x;
    return op_mse(t->g, x, trial_constant(t, "target", graph_exact_dtype(t->g), image, -1, 1));
}

/* h, w, c: one tensor read by every kind of operator at once, some with an `add` gradient and some without. */
static tensor *fan_out(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const int pad[4] = {1, 1, 1, 1};
    graph *g = t->g;
    tensor *x = op_activation(g, trial_input(t, "x", SHAPE(1, n[0], n[1], n[2])), ACT_QUICK_GELU);
    tensor *y = op_linear(g, x, trial_param(t, "w", SHAPE(n[2], n[2])), NULL, x, 1);
    y = op_conv2d(g, x, trial_weight(t, "conv", SHAPE(n[2], n[2], 3, 3)), NULL, y, 1, pad);
    tensor *gamma = trial_vector(t, "gamma", n[2], 1), *beta = trial_vector(t, "beta", n[2], 0);
    y = op_add(g, y, op_group_norm(g, x, gamma, beta, 1, 1e-5f, false));
    y = op_add(g, y, op_layer_norm(g, x, gamma, beta, 1e-5f));
    y = op_add(g, y, op_attention(g, x, x, x, 1, 0, false));
    y = op_add(g, x, op_add(g, y, op_geglu(g, op_concat(g, y, x))));
    return op_add(g, y, op_activation(g, x, ACT_GELU));
}

/* h, w, c: the ends of a U-Net: stride 2 down, nearest up to an odd size, a skip connection. */
static tensor *down_and_up(trial *t, const op_case *c)
{
    const int64_t *n = c->n;
    const int pad[4] = {1, 1, 1, 1};
    graph *g = t->g;
    tensor *x = trial_input(t, "x", SHAPE(1, n[0], n[1], n[2]));
    tensor *h = op_conv2d(g, x, trial_weight(t, "down", SHAPE(n[2], n[2], 3, 3)), NULL, NULL, 2, pad);
    h = op_activation(g, h, ACT_SILU);
    h = op_concat(g, op_upsample(g, h, n[0], n[1]), x);
    return op_conv2d(g, h, trial_weight(t, "out", SHAPE(n[2], 2 * n[2], 3, 3)), NULL, x, 1, pad);
}

/* clang-format off */
const op_case op_cases[] = {
    {"linear 3x5->7", linear, {3, 5, 7}, 0},
    {"linear one of each", linear, {1, 1, 1}, BIAS | ADD},
    {"linear vector", linear, {1, 6, 5, -1}, BIAS},
    {"linear 17x33->31 bias add", linear, {17, 33, 31}, BIAS | ADD},
    {"linear 2x9x20->12 scaled", linear, {2, 20, 12, 9}, BIAS | ADD | SCALED},
    {"linear [out,in,1,1]", linear, {6, 10, 9, -2}, BIAS},
    {"linear [out,in,1,1] trainable", linear, {6, 10, 9, -2}, PARAM | SCALED},
    {"linear add is x", linear, {5, 12, 12}, ADD_X},
    {"linear twice", linear, {5, 11, 6}, BIAS | ADD | TWICE},
    {"linear trainable", linear, {13, 10, 4}, PARAM | BIAS},
    {"linear trainable twice", linear, {7, 9, 3}, PARAM | ADD | SCALED | TWICE},
    {"linear trainable, out 1", linear, {19, 18, 1}, PARAM},
    {"lora rank 1", lora, {10, 16, 12, 1}, BIAS},
    {"lora rank 2", lora, {9, 7, 16, 2}, 0},
    {"lora rank 3", lora, {5, 13, 11, 3}, 0},
    {"lora rank 4 twice", lora, {6, 8, 10, 4}, BIAS | TWICE},
    {"linear 64x320->320", linear, {64, 320, 320}, BIAS | ADD | LARGE},
    {"linear 77x768->320", linear, {77, 768, 320}, LARGE},
    {"linear 77x63->17", linear, {77, 63, 17}, BIAS | LARGE},
    {"linear 300x40->24 trainable", linear, {300, 40, 24}, PARAM | LARGE},
    {"linear 1x512->512 twice", linear, {1, 512, 512}, BIAS | TWICE | LARGE},
    {"hadamard", loha, {0, 7, 5, 2, 3}, 0},
    {"hadamard 300x200 of 5 and 9", loha, {0, 200, 300, 5, 9}, LARGE},
    {"loha rank 3 and 2", loha, {6, 7, 9, 3, 2}, SCALED},
    {"loha twice", loha, {5, 6, 8, 2, 2}, TWICE},
    {"loha one element", loha, {1, 1, 1, 1, 1}, 0},
    {"loha on a convolution", loha_conv, {2, 5, 4, 3, 6, 2}, 0},
    {"loha 300x200->136 rank 4", loha, {300, 200, 136, 4, 4}, SCALED | LARGE},
    {"loha 4096x320->320 rank 4", loha, {4096, 320, 320, 4, 4}, BENCH},
    {"lora 700x200->136 rank 12", lora, {700, 200, 136, 12}, LARGE},
    {"lora 200x64->96 rank 16 twice", lora, {200, 64, 96, 16}, BIAS | TWICE | LARGE},

    {"linear kept as int8", linear, {5, 7, 6, 0}, NARROW | BIAS | ADD},
    {"linear kept as int8, scaled, twice", linear, {3, 33, 17, 0}, NARROW | SCALED | TWICE},
    {"linear kept as int8, 200x300x130", linear, {200, 300, 130, 0}, NARROW | BIAS | LARGE},
    {"conv 1x1 kept as int8", conv, {2, 3, 5, 9, 7, 1, 1, 0}, NARROW | BIAS},
    {"conv 3x3 whose weight may be int8", conv, {1, 5, 6, 3, 4, 3, 1, 1111}, NARROW | BIAS},
    {"conv 3x3", conv, {1, 5, 6, 3, 4, 3, 1, 1111}, BIAS},
    {"conv 3x3 batch 2 add", conv, {2, 7, 5, 5, 9, 3, 1, 1111}, BIAS | ADD},
    {"conv 3x3 add is x", conv, {1, 4, 3, 6, 6, 3, 1, 1111}, ADD_X},
    {"conv 3x3 no padding", conv, {1, 6, 5, 4, 3, 3, 1, 0}, 0},
    {"conv 3x3 stride 2", conv, {2, 8, 6, 4, 5, 3, 2, 1111}, BIAS},
    {"conv 3x3 stride 2, odd", conv, {1, 7, 9, 3, 2, 3, 2, 1111}, BIAS | ADD},
    {"conv 3x3 stride 2, padded 0011 (VAE)", conv, {1, 8, 6, 5, 4, 3, 2, 11}, BIAS},
    {"conv 3x3 stride 2, padded 0011, odd", conv, {1, 7, 5, 3, 6, 3, 2, 11}, BIAS},
    {"conv 3x3 stride 2, rows nobody reads", conv, {1, 6, 6, 2, 3, 3, 2, 0}, 0},
    {"conv 3x3 padded 2013", conv, {1, 4, 5, 3, 4, 3, 1, 2013}, 0},
    {"conv 3x3 one pixel", conv, {1, 1, 1, 7, 5, 3, 1, 1111}, BIAS},
    {"conv 1x1", conv, {2, 3, 5, 9, 7, 1, 1, 0}, BIAS},
    {"conv 1x1 one pixel add", conv, {1, 1, 1, 4, 3, 1, 1, 0}, ADD},
    {"conv 1x1 stride 2", conv, {1, 5, 4, 3, 4, 1, 2, 0}, 0},
    {"conv 1x1 one channel", conv, {1, 4, 4, 1, 1, 1, 1, 0}, BIAS},
    {"conv 3x1", conv, {1, 5, 4, 3, 2, 3, 1, 1010, 1}, 0},
    {"conv 5x5", conv, {1, 6, 7, 2, 3, 5, 1, 2222}, BIAS},
    {"conv 2x2 stride 2", conv, {1, 6, 4, 3, 5, 2, 2, 0}, 0},
    {"conv 3x3 twice", conv, {1, 5, 4, 4, 3, 3, 1, 1111}, BIAS | ADD | TWICE},
    {"conv 3x3 stride 2 twice", conv, {1, 5, 4, 4, 3, 3, 2, 1111}, BIAS | TWICE},
    {"conv 4 -> 32", conv, {2, 8, 8, 4, 32, 3, 1, 1111}, BIAS | LARGE},
    {"conv 48 -> 17", conv, {1, 9, 7, 48, 17, 3, 1, 1111}, BIAS | ADD | LARGE},
    {"conv 64 -> 64", conv, {1, 16, 16, 64, 64, 3, 1, 1111}, BIAS | ADD | TWICE | LARGE},
    {"conv 32 -> 64 stride 2", conv, {2, 9, 8, 32, 64, 3, 2, 1111}, BIAS | TWICE | LARGE},
    {"conv 64 -> 4", conv, {1, 8, 8, 64, 4, 3, 1, 1111}, BIAS | LARGE},
    {"conv 3x3 param", conv, {2, 7, 5, 5, 9, 3, 1, 1111}, PARAM | BIAS | ADD},
    {"conv 3x3 param no padding", conv, {1, 6, 5, 4, 3, 3, 1, 0}, PARAM},
    {"conv 3x3 param stride 2, odd", conv, {1, 7, 9, 3, 2, 3, 2, 1111}, PARAM | BIAS | ADD},
    {"conv 3x3 param padded 2013", conv, {1, 4, 5, 3, 4, 3, 1, 2013}, PARAM},
    {"conv 3x1 param", conv, {1, 5, 4, 3, 2, 3, 1, 1010, 1}, PARAM},
    {"conv 1x1 param", conv, {2, 3, 5, 9, 7, 1, 1, 0}, PARAM | BIAS},
    {"conv 3x3 param twice", conv, {1, 5, 4, 4, 3, 3, 1, 1111}, PARAM | BIAS | TWICE},
    {"conv 64 -> 4 param", conv, {1, 8, 8, 64, 4, 3, 1, 1111}, PARAM | LARGE},
    {"conv 48 -> 17 param stride 2", conv, {1, 9, 7, 48, 17, 3, 2, 1111}, PARAM | ADD | LARGE},
    {"conv 64 -> 64 param", conv, {1, 16, 16, 64, 64, 3, 1, 1111}, PARAM | BIAS | ADD | LARGE},
    {"conv 3x3 trained", conv, {2, 5, 6, 3, 4, 3, 1, 1111}, TRAINED | BIAS},
    {"conv 3x3 trained, twice", conv, {1, 4, 5, 4, 3, 3, 1, 1111}, TRAINED | BIAS | TWICE},
    {"conv 3x3 trained, stride 2, odd", conv, {2, 7, 9, 3, 2, 3, 2, 1111}, TRAINED | ADD | TWICE},
    {"conv 3x3 trained, padded 2013", conv, {1, 4, 5, 3, 4, 3, 1, 2013}, TRAINED},
    {"conv 3x3 trained, out above in", conv, {1, 4, 3, 1, 20, 3, 1, 1111}, TRAINED},
    {"conv 3x1 trained", conv, {1, 5, 4, 3, 2, 3, 1, 1010, 1}, TRAINED},
    {"conv 1x1 trained", conv, {2, 3, 5, 9, 7, 1, 1, 0}, TRAINED | BIAS},
    {"conv 3x3 trained, one pixel", conv, {1, 1, 1, 3, 2, 3, 1, 1111}, TRAINED},
    {"conv 64 -> 4 trained", conv, {1, 30, 31, 64, 4, 3, 1, 1111}, TRAINED | LARGE},
    {"conv 48 -> 136 trained, stride 2", conv, {2, 17, 18, 48, 136, 3, 2, 1111}, TRAINED | TWICE | LARGE},
    {"conv 4 -> 64 trained", conv, {2, 12, 13, 4, 64, 3, 1, 1111}, TRAINED | LARGE},
    {"conv 4 -> 64 trained, 64x64", conv, {1, 64, 64, 320, 4, 3, 1, 1111}, TRAINED | BENCH},
    {"conv 320 -> 320 trained, 64x64", conv, {1, 64, 64, 320, 320, 3, 1, 1111}, TRAINED | BENCH},
    {"conv 1280 -> 4 trained, 16x16", conv, {1, 16, 16, 1280, 4, 3, 1, 1111}, TRAINED | BENCH},
    {"conv lora", conv_lora, {1, 5, 4, 3, 6, 2, 1}, 0},
    {"conv lora stride 2", conv_lora, {2, 5, 6, 4, 3, 2, 2}, BIAS},
    {"product", product, {3, 5, 7}, 0},
    {"product scaled, twice", product, {4, 6, 5, 3}, SCALED | TWICE},
    {"product of another shape, twice", product, {2, 7, 6, 5}, TWICE},
    {"product of a thin one, twice", product, {5, 2, 3, 4}, TWICE},
    {"product of vectors", product, {6, 1, 9}, SCALED},
    {"product one element", product, {1, 1, 1}, 0},
    {"product 200x130x300", product, {200, 130, 300}, SCALED | LARGE},
    {"product 1x5000x3", product, {1, 5000, 3}, LARGE},
    {"kronecker", kronecker, {2, 3, 4, 5, 0}, 0},
    {"kronecker of a decomposed matrix, twice", kronecker, {3, 2, 4, 3, 2, 5}, TWICE},
    {"kronecker of unequal sizes", kronecker, {2, 5, 3, 2, 1, 0}, 0},
    {"kronecker one element", kronecker, {1, 1, 1, 1, 0}, 0},
    {"kronecker 8x10 and 40x30", kronecker, {8, 10, 40, 30, 4}, LARGE},
    {"row norms", row_norms, {5, 7, 0, 2}, FORWARD_ONLY},
    {"row norms of columns", row_norms, {5, 7, 0, 2}, IMAGE | FORWARD_ONLY},
    {"row norms of a convolution", row_norms, {4, 5, 3, 3}, SCALED | FORWARD_ONLY},
    {"row norms of a convolution's columns", row_norms, {4, 5, 3, 3}, IMAGE | FORWARD_ONLY},
    {"row norms 300x200", row_norms, {300, 200, 0, 4}, FORWARD_ONLY},
    {"affine", affine, {3, 5}, 0},
    {"affine of all", affine, {4, 7}, BIAS | ADD | SCALED},
    {"affine twice", affine, {5, 6}, BIAS | ADD | SCALED | TWICE},
    {"affine without v", affine, {4, 6}, BIAS | ADD_X | FROZEN_K},
    {"affine one element", affine, {1, 1}, SCALED},
    {"affine 130x200", affine, {130, 200}, BIAS | ADD | SCALED | LARGE},
    {"multiply", multiply, {3, 7}, 0},
    {"multiply twice", multiply, {5, 6}, TWICE},
    {"multiply by itself", multiply, {4, 5}, ADD_X},
    {"multiply one element", multiply, {1, 1}, 0},
    {"multiply exact", multiply, {3, 9}, EXACT},
    {"multiply 77x300", multiply, {77, 300}, LARGE},
    {"dora", dora, {6, 7, 5, 2}, FROZEN_Q},
    {"conv 40 -> 48, gathered in several blocks", conv, {1, 36, 37, 40, 48, 3, 1, 1111}, BIAS | ADD | LARGE},
    {"conv 96 -> 32 1x1", conv, {1, 7, 9, 96, 32, 1, 1, 0}, BIAS | TWICE | LARGE},

    {"group_norm", group_norm, {1, 3, 5, 6, 2}, 0},
    {"group_norm silu", group_norm, {2, 5, 3, 12, 4}, SILU},
    {"group_norm 1 group", group_norm, {2, 3, 3, 5, 1}, SILU},
    {"group_norm a group a channel", group_norm, {1, 4, 3, 7, 7}, 0},
    {"group_norm one pixel", group_norm, {2, 1, 1, 12, 3}, SILU},
    {"group_norm rank 2", group_norm, {3, 0, 0, 20, 5}, 0},
    {"group_norm twice", group_norm, {1, 4, 4, 6, 3}, SILU | TWICE},
    {"group_norm plain twice", group_norm, {2, 2, 3, 8, 2}, TWICE},
    {"group_norm 32 groups of 10", group_norm, {1, 5, 7, 320, 32}, SILU | LARGE},
    {"group_norm 24x24x96", group_norm, {2, 24, 24, 96, 32}, SILU | TWICE | LARGE},
    {"group_norm far from zero", group_norm, {1, 6, 7, 32, 4}, OFFSET | LARGE},
    {"group_norm of large values", group_norm, {1, 6, 7, 32, 4}, SILU | WIDE | LARGE},
    {"layer_norm", layer_norm, {5, 7}, 0},
    {"layer_norm one row", layer_norm, {1, 33}, 0},
    {"layer_norm twice", layer_norm, {4, 18}, TWICE},
    {"layer_norm 768", layer_norm, {7, 768}, LARGE},
    {"layer_norm 200x100 twice", layer_norm, {200, 100}, TWICE | LARGE},
    {"layer_norm far from zero", layer_norm, {9, 320}, OFFSET | LARGE},

    {"attention 1 head of 5", attention, {1, 7, 9, 1, 5}, 0},
    {"attention heads of 5", attention, {2, 6, 5, 3, 5}, 0},
    {"attention heads of 8, images", attention, {2, 9, 9, 2, 8}, IMAGE},
    {"attention heads of 40", attention, {1, 6, 10, 2, 40}, 0},
    {"attention heads of 64", attention, {1, 5, 7, 2, 64}, SCALED},
    {"attention heads of 80", attention, {1, 4, 6, 2, 80}, 0},
    {"attention heads of 160", attention, {1, 3, 5, 2, 160}, 0},
    {"attention 1 head of 168", attention, {2, 4, 5, 1, 168}, 0},
    {"attention 77 keys", attention, {1, 17, 77, 2, 8}, 0},
    {"attention one query, one key", attention, {2, 1, 1, 2, 4}, 0},
    {"attention one key", attention, {1, 5, 1, 1, 6}, 0},
    {"attention causal", attention, {2, 9, 9, 2, 8}, CAUSAL},
    {"attention causal 77", attention, {1, 77, 77, 1, 4}, CAUSAL | SCALED},
    {"attention of one tensor", attention, {1, 8, 0, 2, 4}, 0},
    {"attention of one tensor causal", attention, {1, 8, 0, 2, 4}, CAUSAL},
    {"attention frozen k", attention, {1, 5, 6, 2, 4}, FROZEN_K},
    {"attention frozen q", attention, {1, 5, 6, 2, 4}, FROZEN_Q},
    {"attention frozen q and k", attention, {1, 5, 6, 2, 4}, FROZEN_Q | FROZEN_K},
    {"attention twice", attention, {1, 5, 6, 2, 4}, TWICE},
    {"attention 131x131", attention, {1, 131, 131, 2, 40}, LARGE},
    {"attention 70x200", attention, {2, 70, 200, 1, 64}, SCALED | LARGE},
    {"attention 100x620, parts of keys", attention, {1, 100, 620, 2, 24}, LARGE},
    {"attention 1 head of 512", attention, {1, 20, 20, 1, 512}, LARGE},
    {"attention causal 150", attention, {1, 150, 150, 2, 16}, CAUSAL | LARGE},
    {"attention 300x77 heads of 80", attention, {1, 300, 77, 2, 80}, LARGE},
    {"attention of large scores", attention, {1, 40, 50, 2, 8}, WIDE | LARGE},
    {"attention batch 3, 5 heads of 10, images", attention, {3, 35, 35, 5, 10}, IMAGE | TWICE | LARGE},

    {"geglu", geglu, {5, 7}, 0},
    {"geglu one", geglu, {1, 1}, TWICE},
    {"geglu 3x40", geglu, {3, 40}, 0},
    {"silu", activate, {37, ACT_SILU}, TWICE},
    {"gelu", activate, {35, ACT_GELU}, 0},
    {"quick_gelu", activate, {1, ACT_QUICK_GELU}, 0},
    {"quick_gelu twice", activate, {33, ACT_QUICK_GELU}, TWICE},
    {"silu of large values", activate, {1000, ACT_SILU}, WIDE | LARGE},
    {"gelu of large values", activate, {1000, ACT_GELU}, WIDE | LARGE},
    {"quick_gelu of large values", activate, {1000, ACT_QUICK_GELU}, WIDE | LARGE},
    {"geglu of large values", geglu, {37, 27}, WIDE | LARGE},
    {"geglu 100x130", geglu, {100, 130}, TWICE | LARGE},
    {"silu 5001", activate, {5001, ACT_SILU}, TWICE | LARGE},
    {"add", add, {5, 7}, 0},
    {"add a + a", add, {3, 11}, ADD_X},
    {"add twice", add, {3, 21}, TWICE},
    {"add_spatial", add_spatial, {2, 3, 5, 7}, 0},
    {"add_spatial twice", add_spatial, {1, 1, 1, 5}, TWICE},
    {"add_spatial 30x31x70", add_spatial, {2, 30, 31, 70}, TWICE | LARGE},
    {"sum_spatial", sum_spatial, {2, 5, 3, 7}, FORWARD_ONLY},
    {"concat", concat, {5, 3, 8}, 0},
    {"concat a then a", concat, {3, 5, 0}, 0},
    {"concat twice", concat, {4, 17, 1}, TWICE},
    {"concat 300 of 64 and 31", concat, {300, 64, 31}, TWICE | LARGE},
    {"slice", slice, {5, 9, 2, 4}, FORWARD_ONLY},
    {"slice all", slice, {3, 5, 0, 5}, FORWARD_ONLY},
    {"upsample x2", upsample, {2, 3, 4, 5, 6, 8}, 0},
    {"upsample to odd sizes", upsample, {1, 4, 3, 3, 7, 5}, 0},
    {"upsample to its own size", upsample, {1, 2, 3, 2, 2, 3}, TWICE},
    {"upsample one pixel", upsample, {1, 1, 1, 3, 4, 3}, 0},
    {"upsample 9x10x64", upsample, {2, 9, 10, 64, 18, 21}, TWICE | LARGE},
    {"timesteps", timesteps, {3, 10, 0}, FORWARD_ONLY},
    {"timesteps cos first, shift 1", timesteps, {2, 320, 1}, SILU | FORWARD_ONLY},
    {"embedding", embedding, {2, 7, 9, 11, 8}, FORWARD_ONLY},
    {"embedding without positions", embedding, {1, 5, 33, 4, 0}, FORWARD_ONLY},
    {"add_rows", add_rows, {2, 21, 7, 4, 1, 3}, 0},
    {"add_rows twice", add_rows, {1, 40, 9, 4, 0, 4}, TWICE},
    {"add_rows of none", add_rows, {1, 3, 5, 2, 2, 1}, LARGE},
    {"add_rows 2x77x65", add_rows, {2, 77, 65, 40, 30, 10}, TWICE | LARGE},
    {"embedding with two sets of rows", extended_embedding, {2, 40, 3, 2}, TWICE},
    {"select_rows", select_rows, {3, 5, 7}, 0},
    {"select_rows twice", select_rows, {2, 4, 9}, TWICE},
    {"select_rows 3x77x65", select_rows, {3, 77, 65}, TWICE | LARGE},
    {"select_rows one", select_rows, {1, 1, 1}, 0},
    {"mse", mse, {5, 7}, 0},
    {"mse of an exact target", mse, {3, 9}, EXACT},
    {"mse 300x90", mse, {300, 90}, LARGE},
    {"mse without a co-vector", mse, {4, 5}, LOSS},
    {"huber", huber, {5, 7}, 0},
    {"huber of an exact target", huber, {3, 9}, EXACT},
    {"huber 300x90", huber, {300, 90}, LARGE},
    {"huber 70x300 of an exact target", huber, {70, 300}, LARGE | EXACT},
    {"huber without a co-vector", huber, {4, 5}, LOSS},
    {"huber 1x1", huber, {1, 1}, 0},

    {"resnet block", resnet_block, {4, 3, 6, 8, 2}, 0},
    {"transformer block", transformer_block, {3, 2, 8, 2, 5}, 0},
    {"transformer block twice", transformer_block, {2, 2, 8, 2, 3}, TWICE},
    {"transformer training step", transformer_block, {2, 3, 8, 2, 5}, LOSS},
    {"transformer training step, larger", transformer_block, {9, 8, 64, 2, 77}, LOSS | LARGE},
    {"resnet block, larger", resnet_block, {12, 11, 32, 64, 8}, LARGE},
    {"one tensor, many readers", fan_out, {3, 3, 4}, 0},
    {"one tensor, many readers, twice", fan_out, {2, 3, 3}, TWICE},
    {"down and up", down_and_up, {5, 7, 4}, 0},

    {"linear 4096x320->320", linear, {4096, 320, 320}, BIAS | ADD | BENCH},
    {"linear 4096x320->2560", linear, {4096, 320, 2560}, BIAS | BENCH},
    {"linear 1024x640->640", linear, {1024, 640, 640}, BIAS | ADD | BENCH},
    {"linear 256x1280->1280", linear, {256, 1280, 1280}, BIAS | ADD | BENCH},
    {"lora 4096x320->320 rank 4", lora, {4096, 320, 320, 4}, BIAS | BENCH},
    {"lora 256x1280->1280 rank 16", lora, {256, 1280, 1280, 16}, BIAS | BENCH},
    {"lora 4096x320->320 rank 64", lora, {4096, 320, 320, 64}, BIAS | BENCH},
    {"conv 64x64 320->320", conv, {1, 64, 64, 320, 320, 3, 1, 1111}, BIAS | ADD | BENCH},
    {"conv 32x32 640->640", conv, {1, 32, 32, 640, 640, 3, 1, 1111}, BIAS | ADD | BENCH},
    {"conv 64x64 320->320 stride 2", conv, {1, 64, 64, 320, 320, 3, 2, 1111}, BIAS | BENCH},
    {"conv 64x64 640->320 1x1", conv, {1, 64, 64, 640, 320, 1, 1, 0}, BIAS | BENCH},
    {"conv 64x64 320->4 loaded", conv, {1, 64, 64, 320, 4, 3, 1, 1111}, PARAM | BENCH},
    {"conv 64x64 320->4", conv, {1, 64, 64, 320, 4, 3, 1, 1111}, BENCH},
    {"conv 64x64 4->320", conv, {1, 64, 64, 4, 320, 3, 1, 1111}, BIAS | BENCH},
    {"group_norm 64x64x320", group_norm, {1, 64, 64, 320, 32}, SILU | BENCH},
    {"layer_norm 4096x320", layer_norm, {4096, 320}, BENCH},
    {"attention 4096x4096 8x40", attention, {1, 4096, 4096, 8, 40}, BENCH},
    {"attention 4096x77 8x40", attention, {1, 4096, 77, 8, 40}, BENCH},
    {"attention 1024x1024 8x80", attention, {1, 1024, 1024, 8, 80}, BENCH},
    {"geglu 4096x1280", geglu, {4096, 1280}, BENCH},
    {"silu 4096x320", activate, {4096 * 320, ACT_SILU}, BENCH},
    {"add 4096x320", add, {4096, 320}, BENCH},
    {"add_spatial 64x64x320", add_spatial, {1, 64, 64, 320}, BENCH},
    {"concat 4096 of 320 and 320", concat, {4096, 320, 320}, BENCH},
    {"upsample 32x32x640", upsample, {1, 32, 32, 640, 64, 64}, BENCH},
};
/* clang-format on */
const size_t op_case_count = sizeof op_cases / sizeof *op_cases;
