#include "model/module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/trainable.h"
#include "op/op.h"

void nn_init(nn *c, graph *g, weights *w, const adapter_set *adapters, model_part part)
{
    memset(c, 0, sizeof *c);
    c->g = g;
    c->weights = w;
    c->adapters = adapters;
    c->part = part;
}

nn_mark nn_enter(nn *c, const char *format, ...)
{
    nn_mark mark = {strlen(c->path), c->class};
    size_t used = mark.length;
    if (used && used + 1 < sizeof c->path) c->path[used++] = '.';
    va_list args;
    va_start(args, format);
    int length = vsnprintf(c->path + used, sizeof c->path - used, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof c->path - used)
        graph_fail(c->g, LECO_INTERNAL, "the module path \"%s\" is too long", c->path);
    graph_set_name(c->g, c->path);
    return mark;
}

nn_mark nn_enter_block(nn *c, layer_class class, const char *name)
{
    nn_mark mark = nn_enter(c, "%s", name);
    if (c->class == LAYER_OTHER) graph_begin_block(c->g); /* else a part of the block around it */
    c->class = class;
    return mark;
}

void nn_leave(nn *c, nn_mark mark)
{
    c->path[mark.length] = '\0';
    if (c->class != LAYER_OTHER && mark.class == LAYER_OTHER) graph_end_block(c->g);
    c->class = mark.class;
    graph_set_name(c->g, c->path);
}

tensor *nn_weight(nn *c, const char *name, shape s)
{
    if (!graph_ok(c->g)) return NULL;
    char full[NN_PATH_LENGTH + 32];
    snprintf(full, sizeof full, "%s%s%s", c->path, c->path[0] ? "." : "", name);
    leco_error err = {0};
    weight *w = NULL;
    if (weights_get(c->weights, full, s, &w, &err) != LECO_OK) return graph_fail(c->g, err.status, "%s", err.message);
    return graph_weight(c->g, w);
}

bool nn_has(const nn *c, const char *name)
{
    char full[NN_PATH_LENGTH + 32];
    snprintf(full, sizeof full, "%s%s%s", c->path, c->path[0] ? "." : "", name);
    return weights_has(c->weights, full);
}

static int64_t channels_of(const tensor *x)
{
    return shape_last(&x->shape);
}

static void visit(nn *c, int64_t in, int64_t out, int kernel, bool is_conv, layer_class class)
{
    if (!c->visit) return;
    layer_info info = {
        .part = c->part, .path = c->path, .in = in, .out = out, .kernel = kernel, .is_conv = is_conv, .class = class};
    c->visit(c->visit_user, &info);
}

/* A linear layer and a 1x1 convolution differ in how their files shape the weight only. */
static tensor *pointwise(nn *c, const char *name, tensor *x, int64_t out, bool bias, bool is_conv, tensor *add)
{
    if (!x || !graph_ok(c->g)) return NULL;
    nn_mark mark = nn_enter(c, "%s", name);
    int64_t in = channels_of(x);
    tensor *w = nn_weight(c, "weight", is_conv ? SHAPE(out, in, 1, 1) : SHAPE(out, in));
    tensor *b = bias ? nn_weight(c, "bias", SHAPE(out)) : NULL;
    layer_site at = {.g = c->g, .x = x, .stride = 1, .w = w, .weights = c->weights};
    if (adapters_want_base(c->adapters, c->part, c->path)) at.base = op_linear(c->g, x, w, NULL, NULL, 1.0f);
    at.y = at.base ? op_affine(c->g, at.base, NULL, b, add, 1, 0) : op_linear(c->g, x, w, b, add, 1.0f);
    tensor *y = adapters_apply(c->adapters, c->part, c->path, &at);
    visit(c, in, out, 1, is_conv, c->class);
    nn_leave(c, mark);
    return y;
}

tensor *nn_linear(nn *c, const char *name, tensor *x, int64_t out, bool bias, tensor *add)
{
    return pointwise(c, name, x, out, bias, false, add);
}

static tensor *convolution(nn *c, const char *name, tensor *x, int64_t out, int kernel, int stride, const int pad[4],
                           tensor *add)
{
    if (!x || !graph_ok(c->g)) return NULL;
    nn_mark mark = nn_enter(c, "%s", name);
    int64_t in = channels_of(x);
    tensor *w = nn_weight(c, "weight", SHAPE(out, in, kernel, kernel));
    tensor *b = nn_weight(c, "bias", SHAPE(out));
    layer_site at = {.g = c->g, .x = x, .stride = stride, .pad = pad, .w = w, .weights = c->weights};
    if (adapters_want_base(c->adapters, c->part, c->path)) at.base = op_conv2d(c->g, x, w, NULL, NULL, stride, pad);
    at.y = at.base ? op_affine(c->g, at.base, NULL, b, add, 1, 0) : op_conv2d(c->g, x, w, b, add, stride, pad);
    tensor *y = adapters_apply(c->adapters, c->part, c->path, &at);
    visit(c, in, out, kernel, true, c->class);
    nn_leave(c, mark);
    return y;
}

tensor *nn_conv2d(nn *c, const char *name, tensor *x, int64_t out, int kernel, tensor *add)
{
    if (kernel == 1) return pointwise(c, name, x, out, true, true, add);
    int p = kernel / 2;
    return convolution(c, name, x, out, kernel, 1, (const int[4]){p, p, p, p}, add);
}

tensor *nn_conv2d_strided(nn *c, const char *name, tensor *x, int64_t out, int kernel, const int pad[4])
{
    return convolution(c, name, x, out, kernel, 2, pad, NULL);
}

tensor *nn_token_table(nn *c, const char *name, tensor *ids, int64_t rows, int64_t width, tensor *positions)
{
    if (!ids || !graph_ok(c->g)) return NULL;
    nn_mark mark = nn_enter_block(c, LAYER_TOKENS, name);
    tensor *y = op_embedding(c->g, ids, nn_weight(c, "weight", SHAPE(rows, width)), positions);
    y = adapters_apply(c->adapters, c->part, c->path, &(layer_site){.g = c->g, .x = ids, .y = y});
    visit(c, rows, width, 0, false, c->class);
    nn_leave(c, mark);
    return y;
}

/* A norm over groups of channels; over all of a row where groups is 0. */
typedef struct norm {
    int groups;
    float eps;
    bool silu;
} norm;

static tensor *normalised(nn *c, const norm *n, tensor *x, tensor *gamma, tensor *beta, bool silu)
{
    return n->groups ? op_group_norm(c->g, x, gamma, beta, n->groups, n->eps, silu)
                     : op_layer_norm(c->g, x, gamma, beta, n->eps);
}

/* What adapters change of a norm's scale goes by the normalised x, and before SiLU. */
static tensor *adapted_norm(nn *c, const norm *n, tensor *x, tensor *gamma, tensor *beta)
{
    const int64_t channels = channels_of(x);
    tensor *one = nn_constant(c->g, c->weights, 1, channels), *zero = nn_constant(c->g, c->weights, 0, channels);
    const layer_site at = {.g = c->g,
                           .x = normalised(c, n, x, one, zero, false),
                           .y = normalised(c, n, x, gamma, beta, false),
                           .weights = c->weights};
    tensor *y = adapters_apply(c->adapters, c->part, c->path, &at);
    return n->silu ? op_activation(c->g, y, ACT_SILU) : y;
}

static tensor *build_norm(nn *c, const char *name, tensor *x, const norm *n)
{
    if (!x || !graph_ok(c->g)) return NULL;
    nn_mark mark = nn_enter(c, "%s", name);
    const int64_t channels = channels_of(x);
    tensor *gamma = nn_weight(c, "weight", SHAPE(channels));
    tensor *beta = nn_weight(c, "bias", SHAPE(channels));
    tensor *y = adapters_are_on(c->adapters, c->part, c->path) ? adapted_norm(c, n, x, gamma, beta)
                                                               : normalised(c, n, x, gamma, beta, n->silu);
    visit(c, channels, channels, 0, false, LAYER_NORMS);
    nn_leave(c, mark);
    return y;
}

tensor *nn_group_norm(nn *c, const char *name, tensor *x, int groups, float eps, bool silu)
{
    return build_norm(c, name, x, &(norm){groups, eps, silu});
}

tensor *nn_layer_norm(nn *c, const char *name, tensor *x, float eps)
{
    return build_norm(c, name, x, &(norm){0, eps, false});
}
