#include "trial.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/weight_form.h"
#include "base/mem.h"
#include "op/op.h"

uint64_t trial_seed(void)
{
    const char *text = getenv("LECO_TEST_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

uint64_t dice_word(dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double dice_uniform(dice *d, double low, double high)
{
    return low + (high - low) * (double)(dice_word(d) >> 11) * 0x1p-53;
}

dice dice_for(uint64_t seed, const char *name, const char *part)
{
    dice d = {seed};
    const char *const texts[] = {name, part};
    for (int i = 0; i < 2; i++) {
        for (const char *p = texts[i]; *p; p++) d.state = dice_word(&d) ^ (uint64_t)(unsigned char)*p;
    }
    return d;
}

/* The leaf of this name; a new one where there is none (*fresh). */
static leaf *leaf_named(trial *t, const char *name, shape s, bool *fresh)
{
    for (int i = 0; i < t->leaf_count; i++) {
        if (strcmp(t->leaves[i].name, name) != 0) continue;
        *fresh = false;
        return &t->leaves[i];
    }
    assert_true(t->leaf_count < TRIAL_MAX_LEAVES);
    leaf *l = &t->leaves[t->leaf_count++];
    l->name = name;
    l->count = (size_t)shape_count(&s);
    l->values = mem_calloc(l->count, sizeof *l->values);
    l->data = mem_calloc(l->count, sizeof *l->data);
    assert_non_null(l->values);
    assert_non_null(l->data);
    *fresh = true;
    return l;
}

static double rounded(dtype type, double value)
{
    switch (type) {
    case DTYPE_BF16:
        return (double)bf16_to_f32(bf16_from_f32((float)value));
    case DTYPE_F16:
        return (double)f16_to_f32(f16_from_f32((float)value));
    case DTYPE_F64:
        return value;
    default:
        return (double)(float)value;
    }
}

static void leaf_fill(trial *t, leaf *l, dtype rounding, double low, double high)
{
    dice d = dice_for(t->seed, t->c->name, l->name);
    for (size_t i = 0; i < l->count; i++) {
        l->values[i] = rounded(rounding, dice_uniform(&d, low, high));
        l->data[i] = (float)l->values[i];
    }
}

tensor *trial_input(trial *t, const char *name, shape s)
{
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    if (!fresh) return l->tensor;
    double centre = t->c->flags & OFFSET ? 25 : 0, width = t->c->flags & WIDE ? 40 : 1;
    leaf_fill(t, l, t->rounding, centre - width, centre + width);
    l->tensor = graph_input(t->g, name, graph_dtype(t->g), s);
    l->wants_gradient = true;
    if (l->tensor != NULL) graph_want_gradient(t->g, l->tensor);
    return l->tensor;
}

tensor *trial_constant(trial *t, const char *name, dtype type, shape s, double low, double high)
{
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    if (!fresh) return l->tensor;
    leaf_fill(t, l, t->rounding, low, high);
    return l->tensor = graph_input(t->g, name, type, s);
}

tensor *trial_indices(trial *t, const char *name, shape s, int64_t limit)
{
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    if (!fresh) return l->tensor;
    dice d = dice_for(t->seed, t->c->name, name);
    for (size_t i = 0; i < l->count; i++) l->values[i] = (double)(dice_word(&d) % (uint64_t)limit);
    return l->tensor = graph_input(t->g, name, DTYPE_I32, s);
}

/* The half-width of a uniform distribution that keeps the variance of sums over the inputs of [out, in, ...]. */
static double fan_in_limit(const shape *s)
{
    return s->rank < 2 ? 1 : sqrt(3.0 * (double)s->dim[0] / (double)shape_count(s));
}

static tensor *weight_between(trial *t, const char *name, shape s, double low, double high)
{
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    if (!fresh) return l->tensor;
    /* Files hold at most f32, whatever the graph computes in. */
    leaf_fill(t, l, t->rounding == DTYPE_F64 ? DTYPE_F32 : t->rounding, low, high);
    l->weight = (weight){.name = name, .type = DTYPE_F32, .shape = s, .data = l->data};
    return l->tensor = graph_weight(t->g, &l->weight);
}

tensor *trial_weight(trial *t, const char *name, shape s)
{
    double limit = fan_in_limit(&s);
    return weight_between(t, name, s, -limit, limit);
}

tensor *trial_narrow(trial *t, const char *name, shape s)
{
    tensor *w = weight_between(t, name, s, -127.0 / 128, 127.0 / 128);
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    for (size_t i = 0; i < l->count; i++) {
        l->values[i] = i % (size_t)s.dim[1] == 0 ? 127.0 / 128 : round(128 * l->values[i]) / 128;
        l->data[i] = (float)l->values[i];
    }
    l->weight.narrow = true;
    return w;
}

tensor *trial_vector(trial *t, const char *name, int64_t channels, double centre)
{
    return weight_between(t, name, SHAPE(channels), centre - 0.5, centre + 0.5);
}

static tensor *make_param(trial *t, const char *name, shape s, dtype rounding, bool trained)
{
    bool fresh;
    leaf *l = leaf_named(t, name, s, &fresh);
    if (!fresh) return l->tensor;
    double limit = fan_in_limit(&s);
    leaf_fill(t, l, rounding, -limit, limit);
    dtype type = graph_exact_dtype(t->g);
    l->param = (param){.name = name, .type = type, .shape = s};
    l->param.value = mem_aligned(l->count * dtype_size(type));
    assert_non_null(l->param.value);
    l->param.trained = trained;
    if (trained) l->param.grad = mem_aligned(l->count * dtype_size(type));
    assert_true(!trained || l->param.grad);
    dtype_convert(l->param.value, type, l->values, DTYPE_F64, l->count);
    l->wants_gradient = trained;
    return l->tensor = graph_param(t->g, &l->param);
}

tensor *trial_param(trial *t, const char *name, shape s)
{
    return make_param(t, name, s, DTYPE_F32, true);
}

tensor *trial_loaded(trial *t, const char *name, shape s)
{
    return make_param(t, name, s, t->rounding == DTYPE_F64 ? DTYPE_F32 : t->rounding, false);
}

/* Where the walk stored the gradient of a param. */
static tensor *param_grad(const trial *t, const param *p)
{
    for (size_t i = 0; i < graph_tensor_count(t->g); i++) {
        tensor *candidate = graph_tensor_at(t->g, i);
        if (candidate->kind == TENSOR_PARAM_GRAD && candidate->param == p) return candidate;
    }
    return NULL;
}

static void add_gradients(trial *t)
{
    tensor *wanted[TRIAL_MAX_LEAVES], *grads[TRIAL_MAX_LEAVES] = {NULL};
    size_t count = 0;
    int leaves = t->leaf_count;
    for (int i = 0; i < leaves; i++) {
        if (t->leaves[i].wants_gradient && t->leaves[i].tensor->kind == TENSOR_INPUT) {
            wanted[count++] = t->leaves[i].tensor;
        }
    }
    if (t->c->flags & LOSS) {
        graph_backward(t->g, t->y);
    } else {
        tensor *u = trial_constant(t, "u", t->y->type, t->y->shape, -1, 1);
        t->u = &t->leaves[t->leaf_count - 1];
        graph_backward_from(t->g, t->y, u, wanted, count, grads);
    }
    count = 0;
    for (int i = 0; i < leaves; i++) {
        leaf *l = &t->leaves[i];
        if (!l->wants_gradient) continue;
        l->grad = l->tensor->kind == TENSOR_INPUT ? grads[count++] : param_grad(t, &l->param);
    }
}

trial *trial_create(const op_case *c, dtype compute, dtype rounding)
{
    trial *t = mem_calloc(1, sizeof *t);
    assert_non_null(t);
    t->c = c;
    t->rounding = rounding;
    t->seed = trial_seed();
    t->g = graph_create(compute);
    assert_non_null(t->g);
    graph_set_name(t->g, c->name);
    t->y = c->build(t, c);
    if (c->flags & TWICE) t->y = op_add(t->g, t->y, c->build(t, c));
    leco_error err;
    if (t->y != NULL && !(c->flags & FORWARD_ONLY)) add_gradients(t);
    if (graph_finish(t->g, &err) != LECO_OK) fail_msg("%s: %s", c->name, err.message);
    return t;
}

void trial_destroy(trial *t)
{
    if (t == NULL) return;
    graph_destroy(t->g);
    for (int i = 0; i < t->leaf_count; i++) {
        leaf *l = &t->leaves[i];
        mem_free(l->values);
        mem_free(l->data);
        weight_release(&l->weight);
        mem_free_aligned(l->param.value);
        mem_free_aligned(l->param.grad);
    }
    mem_free(t);
}
