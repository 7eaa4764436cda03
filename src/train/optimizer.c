#include "train/optimizer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"

struct optimizer {
    optimizer_options options;
    param *params;
    size_t count;
    int64_t steps;
    size_t state_floats;
    float *first, *second; /* momenta of all params one after the other; NULL where the kind needs none */
};

optimizer_options optimizer_defaults(optimizer_kind kind)
{
    optimizer_options o = {.kind = kind, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    if (kind == OPTIMIZER_ADAMW) o.weight_decay = 0.01;
    return o;
}

/* ---- arguments ---- */

/* Without an eps that float32 can hold, a gradient of 0 (which all of a LoRA's down have at first) is divided by 0. */
#define LEAST_EPS 1e-37

typedef struct argument {
    const char *key;
    double *value;
    double low, high; /* high is excluded */
    bool for_adam, for_sgd;
} argument;

/* Reads a number that ends where `text` does, at end_mark or at its end; *rest is behind it. */
static leco_status parse_number(const char *text, const argument *a, char end_mark, const char **rest, leco_error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || (*end != '\0' && *end != end_mark))
        return error_set(err, LECO_INVALID, "%s: expected a number, found \"%.100s\"", a->key, text);
    if (!(value >= a->low && value < a->high))
        return error_set(err, LECO_INVALID, "%s: expected a number from %g to below %g, found %.*s", a->key, a->low,
                         a->high, end - text < 100 ? (int)(end - text) : 100, text);
    *a->value = value;
    *rest = *end ? end + 1 : end;
    return LECO_OK;
}

/* "(0.9,0.99)", in round, square or no brackets. */
static leco_status parse_betas(optimizer_options *o, const char *text, leco_error *err)
{
    argument beta1 = {"betas", &o->beta1, 0, 1, true, false}, beta2 = {"betas", &o->beta2, 0, 1, true, false};
    const char close = (char)(*text == '(' ? ')' : *text == '[' ? ']' : '\0');
    const size_t length = strlen(text);
    const char *rest = close ? text + 1 : text;
    bool whole = strchr(text, ',') && (!close || text[length - 1] == close);
    if (!whole) return error_set(err, LECO_INVALID, "betas: expected two numbers, found \"%.100s\"", text);
    LECO_TRY(parse_number(rest, &beta1, ',', &rest, err));
    LECO_TRY(parse_number(rest, &beta2, close, &rest, err));
    if (*rest) return error_set(err, LECO_INVALID, "betas: expected two numbers, found \"%.100s\"", text);
    return LECO_OK;
}

static leco_status parse_argument(optimizer_options *o, const char *key, const char *value, leco_error *err)
{
    const bool sgd = o->kind == OPTIMIZER_SGD;
    const argument known[] = {
        {"eps", &o->eps, LEAST_EPS, 1, true, false},
        {"weight_decay", &o->weight_decay, 0, 10, true, true},
        {"momentum", &o->momentum, 0, 1, false, true},
        {"dampening", &o->dampening, 0, 1, false, true},
    };
    if (strcmp(key, "betas") == 0 && !sgd) return parse_betas(o, value, err);
    if (strcmp(key, "nesterov") == 0 && sgd) {
        o->nesterov = strcmp(value, "True") == 0 || strcmp(value, "true") == 0;
        if (!o->nesterov && strcmp(value, "False") != 0 && strcmp(value, "false") != 0)
            return error_set(err, LECO_INVALID, "nesterov: expected True or False, found \"%.100s\"", value);
        return LECO_OK;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const char *rest;
        if (strcmp(key, known[i].key) == 0 && (sgd ? known[i].for_sgd : known[i].for_adam))
            return parse_number(value, &known[i], '\0', &rest, err);
    }
    static const char *const adam_keys[] = {"betas", "eps", "weight_decay"};
    static const char *const sgd_keys[] = {"momentum", "dampening", "weight_decay", "nesterov"};
    const char *near = sgd ? suggest(key, sgd_keys, 4) : suggest(key, adam_keys, 3);
    return error_set(err, LECO_INVALID, "\"%s\" is not an argument of this optimizer%s%s%s", key,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

leco_status optimizer_parse(optimizer_options *options, const char *args, leco_error *err)
{
    char *copy = mem_strdup(args);
    if (!copy) return error_memory(err, strlen(args), "optimizer_args");
    leco_status status = LECO_OK;
    char *rest = NULL;
    for (char *word = strtok_r(copy, " \t\n", &rest); word && status == LECO_OK;
         word = strtok_r(NULL, " \t\n", &rest)) {
        char *equals = strchr(word, '=');
        if (!equals) {
            status = error_set(err, LECO_INVALID, "expected key=value, found \"%.100s\"", word);
            break;
        }
        *equals = '\0';
        status = parse_argument(options, word, equals + 1, err);
    }
    mem_free(copy);
    if (status == LECO_OK && options->nesterov && (options->momentum <= 0 || options->dampening != 0))
        return error_set(err, LECO_INVALID, "nesterov needs a momentum and no dampening");
    return status;
}

/* ---- steps ---- */

leco_status optimizer_create(const optimizer_options *options, param *params, size_t count, optimizer **out,
                             leco_error *err)
{
    *out = NULL;
    optimizer *o = mem_calloc(1, sizeof *o);
    if (!o) return error_memory(err, sizeof *o, "the optimizer");
    o->options = *options;
    o->params = params;
    o->count = count;
    for (size_t i = 0; i < count; i++) {
        assert(params[i].type == DTYPE_F32 && params[i].grad);
        o->state_floats += (size_t)shape_count(&params[i].shape);
    }
    bool adam = options->kind != OPTIMIZER_SGD;
    if (adam || options->momentum > 0) o->first = mem_calloc(o->state_floats, sizeof(float));
    if (adam) o->second = mem_calloc(o->state_floats, sizeof(float));
    if ((adam && !o->second) || ((adam || options->momentum > 0) && !o->first)) {
        leco_status status = error_memory(err, optimizer_bytes(o), "the optimizer's state");
        optimizer_destroy(o);
        return status;
    }
    *out = o;
    return LECO_OK;
}

void optimizer_destroy(optimizer *o)
{
    if (!o) return;
    mem_free(o->first);
    mem_free(o->second);
    mem_free(o);
}

int64_t optimizer_steps(const optimizer *o)
{
    return o->steps;
}

size_t optimizer_bytes(const optimizer *o)
{
    size_t tensors = o->options.kind != OPTIMIZER_SGD ? 2 : o->options.momentum > 0 ? 1 : 0;
    return tensors * o->state_floats * sizeof(float);
}

/* torch computes scalars in double and rounds them once, when they meet f32 tensors; so do these. */
static void adam_step(const optimizer *o, param *p, size_t offset, double lr, float gradient_scale)
{
    const optimizer_options *k = &o->options;
    const bool decoupled = k->kind == OPTIMIZER_ADAMW;
    const float keep = (float)(1.0 - lr * k->weight_decay), decay = (float)k->weight_decay;
    const float beta2 = (float)k->beta2, rest1 = (float)(1.0 - k->beta1), rest2 = (float)(1.0 - k->beta2);
    const float step = (float)(lr / (1.0 - pow(k->beta1, (double)o->steps)));
    const float correction = (float)sqrt(1.0 - pow(k->beta2, (double)o->steps));
    const float eps = (float)k->eps;
    float *value = p->value, *m = o->first + offset, *v = o->second + offset;
    const float *grad = p->grad;
    size_t count = (size_t)shape_count(&p->shape);
    for (size_t i = 0; i < count; i++) {
        float g = grad[i] * gradient_scale;
        if (decoupled)
            value[i] *= keep;
        else
            g += decay * value[i];
        m[i] += rest1 * (g - m[i]);
        v[i] = beta2 * v[i] + rest2 * g * g;
        value[i] -= step * (m[i] / (sqrtf(v[i]) / correction + eps));
    }
}

static void sgd_step(const optimizer *o, param *p, size_t offset, double lr, float gradient_scale)
{
    const optimizer_options *k = &o->options;
    const float decay = (float)k->weight_decay, momentum = (float)k->momentum, rest = (float)(1.0 - k->dampening);
    const float rate = (float)lr;
    const bool first = o->steps == 1;
    float *value = p->value, *buffer = o->first ? o->first + offset : NULL;
    const float *grad = p->grad;
    size_t count = (size_t)shape_count(&p->shape);
    for (size_t i = 0; i < count; i++) {
        float g = grad[i] * gradient_scale + decay * value[i];
        if (buffer) {
            buffer[i] = first ? g : momentum * buffer[i] + rest * g;
            g = k->nesterov ? g + momentum * buffer[i] : buffer[i];
        }
        value[i] -= rate * g;
    }
}

void optimizer_step(optimizer *o, double lr, float gradient_scale)
{
    o->steps++;
    size_t offset = 0;
    for (size_t i = 0; i < o->count; i++) {
        if (o->options.kind == OPTIMIZER_SGD)
            sgd_step(o, &o->params[i], offset, lr, gradient_scale);
        else
            adam_step(o, &o->params[i], offset, lr, gradient_scale);
        offset += (size_t)shape_count(&o->params[i].shape);
    }
}

double lr_at(lr_schedule schedule, double lr, int64_t step, int64_t steps)
{
    const double pi = 3.14159265358979323846, least = lr / 100;
    switch (schedule) {
    case LR_CONSTANT:
        return lr;
    case LR_COSINE:
        return least + (lr - least) * 0.5 * (1 + cos(pi * (double)step / (double)steps));
    }
    return lr;
}
