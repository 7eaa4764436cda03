#include "train/optimizer.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/number.h"
#include "base/suggest.h"

struct optimizer {
    optimizer_options options;
    flat_params on;
    int64_t steps;
    float *state; /* [state_floats]; NULL where the kind needs none: the row's floats, then the bits of its numbers */
    size_t state_floats;
};

enum { FLOATS_A_NUMBER = sizeof(double) / sizeof(float) };

static size_t floats_of(const optimizer_options *options, const flat_params *on)
{
    const optimizer_row *row = optimizer_rows[options->kind];
    return row->state_floats(options, on) + row->numbers * FLOATS_A_NUMBER;
}

static const optimizer_argument *arguments_of(const optimizer_options *options)
{
    return optimizer_rows[options->kind]->argument;
}

optimizer_options optimizer_defaults(optimizer_kind kind)
{
    optimizer_options o = {.kind = kind};
    const optimizer_argument *a = arguments_of(&o);
    for (size_t i = 0; a[i].key; i++) memcpy(o.value[i], a[i].initial, sizeof o.value[i]);
    return o;
}

optimizer_options optimizer_by_alias(const optimizer_alias *alias)
{
    optimizer_options o = optimizer_defaults(alias->kind);
    leco_error err;
    leco_status status = alias->args ? optimizer_parse(&o, alias->args, &err) : LECO_OK;
    assert(status == LECO_OK && "an alias's own arguments");
    (void)status;
    if (alias->narrow) o.narrow = alias->name;
    return o;
}

/* ---- arguments ---- */

#define BLANKS " \t\r\n"
#define SEPARATORS BLANKS ","

/* Reads a number that ends where `text` does, at end_mark or at its end; *rest is behind it. */
static leco_status parse_number(const char *text, const optimizer_argument *a, char end_mark, double *out,
                                const char **rest, leco_error *err)
{
    char *end;
    double value = strtod(text, &end);
    const int length = end - text < 100 ? (int)(end - text) : 100;
    if (end != text) end += strspn(end, BLANKS);
    if (end == text || (*end != '\0' && *end != end_mark))
        return error_set(err, LECO_INVALID, "%s: expected a number, found \"%.100s\"", a->key, text);
    if (!(value >= a->low && (value < a->high || isinf(a->high))))
        return error_set(err, LECO_INVALID, "%s: expected a number from %g to below %g, found %.*s", a->key, a->low,
                         a->high, length, text);
    *out = value;
    *rest = *end ? end + 1 : end;
    return LECO_OK;
}

/* "(0.9,0.99)", in round, square or no brackets. */
static leco_status parse_pair(const char *text, const optimizer_argument *a, double out[2], leco_error *err)
{
    const char close = (char)(*text == '(' ? ')' : *text == '[' ? ']' : '\0');
    const size_t length = strlen(text);
    const char *rest = close ? text + 1 : text;
    bool whole = strchr(text, ',') && (!close || text[length - 1] == close);
    if (!whole) return error_set(err, LECO_INVALID, "%s: expected two numbers, found \"%.100s\"", a->key, text);
    LECO_TRY(parse_number(rest, a, ',', &out[0], &rest, err));
    LECO_TRY(parse_number(rest, a, close, &out[1], &rest, err));
    if (*rest) return error_set(err, LECO_INVALID, "%s: expected two numbers, found \"%.100s\"", a->key, text);
    return LECO_OK;
}

/* As Python writes it, and as YAML does. */
static leco_status parse_flag(const char *text, const optimizer_argument *a, double *out, leco_error *err)
{
    *out = strcmp(text, "True") == 0 || strcmp(text, "true") == 0;
    if (*out == 0 && strcmp(text, "False") != 0 && strcmp(text, "false") != 0)
        return error_set(err, LECO_INVALID, "%s: expected True or False, found \"%.100s\"", a->key, text);
    return LECO_OK;
}

static leco_status parse_value(const char *text, const optimizer_argument *a, double out[2], leco_error *err)
{
    const char *rest;
    switch (a->form) {
    case ARGUMENT_NUMBER:
        return parse_number(text, a, '\0', &out[0], &rest, err);
    case ARGUMENT_PAIR:
        return parse_pair(text, a, out, err);
    case ARGUMENT_FLAG:
        return parse_flag(text, a, &out[0], err);
    case ARGUMENT_OPTIONAL:
        if (strcasecmp(text, "None") != 0) return parse_number(text, a, '\0', &out[0], &rest, err);
        out[0] = OPTIMIZER_NONE;
        break;
    }
    return LECO_OK;
}

static leco_status parse_argument(optimizer_options *o, const char *key, const char *value, leco_error *err)
{
    const optimizer_argument *a = arguments_of(o);
    const char *keys[OPTIMIZER_MAX_ARGUMENTS];
    size_t count = 0;
    for (; a[count].key; count++) {
        if (strcmp(key, a[count].key) == 0) return parse_value(value, &a[count], o->value[count], err);
        keys[count] = a[count].key;
    }
    const char *near = suggest(key, keys, count);
    return error_set(err, LECO_INVALID, "\"%s\" is not an argument of this optimizer%s%s%s", key,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Does "key=" stand here, behind what separates it? */
static bool begins_argument(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    text += strspn(text, SEPARATORS);
    const size_t length = strspn(text, letters);
    return length > 0 && text[length] == '=';
}

/* Of the argument that begins here. A comma or a space ends it only where another argument follows, and not within
 * brackets: "betas=0.9, 0.99 eps=1e-6". */
static size_t argument_length(const char *text)
{
    int depth = 0;
    size_t i = 0;
    for (; text[i]; i++) {
        depth += (text[i] == '(' || text[i] == '[') - (text[i] == ')' || text[i] == ']');
        if (depth <= 0 && strchr(SEPARATORS, text[i]) && begins_argument(text + i)) break;
    }
    while (i > 0 && strchr(SEPARATORS, text[i - 1])) i--;
    return i;
}

static leco_status parse_all(optimizer_options *options, char *text, leco_error *err)
{
    for (text += strspn(text, SEPARATORS); *text; text += strspn(text, SEPARATORS)) {
        const size_t length = argument_length(text);
        char *next = text[length] ? text + length + 1 : text + length, *equals;
        text[length] = '\0';
        equals = strchr(text, '=');
        if (!equals) return error_set(err, LECO_INVALID, "expected key=value, found \"%.100s\"", text);
        *equals = '\0';
        LECO_TRY(parse_argument(options, text, equals + 1 + strspn(equals + 1, BLANKS), err));
        text = next;
    }
    return LECO_OK;
}

leco_status optimizer_parse(optimizer_options *options, const char *args, leco_error *err)
{
    char *copy = mem_strdup(args);
    if (!copy) return error_memory(err, strlen(args), "optimizer_args");
    leco_status status = parse_all(options, copy, err);
    mem_free(copy);
    const optimizer_row *row = optimizer_rows[options->kind];
    return status == LECO_OK && row->check ? row->check(options, err) : status;
}

/* ---- steps ---- */

flat_params flat_params_of(trainable *t)
{
    flat_params on = {.values = trainable_values(t), .count = trainable_count(t)};
    on.params = trainable_params(t, &on.param_count);
    return on;
}

size_t optimizer_planned_bytes(const optimizer_options *options, const flat_params *on)
{
    return floats_of(options, on) * sizeof(float);
}

leco_status optimizer_create(const optimizer_options *options, const flat_params *on, optimizer **out, leco_error *err)
{
    *out = NULL;
    for (size_t i = 0; i < on->param_count; i++) assert(on->params[i].type == DTYPE_F32);
    optimizer *o = mem_calloc(1, sizeof *o);
    if (!o) return error_memory(err, sizeof *o, "the optimizer");
    *o = (optimizer){.options = *options, .on = *on};
    o->state_floats = floats_of(options, on);
    if (o->state_floats > 0) o->state = mem_calloc(o->state_floats, sizeof *o->state);
    if (o->state_floats > 0 && !o->state) {
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
    mem_free(o->state);
    mem_free(o);
}

int64_t optimizer_steps(const optimizer *o)
{
    return o->steps;
}

size_t optimizer_bytes(const optimizer *o)
{
    return o->state_floats * sizeof *o->state;
}

float *optimizer_state(const optimizer *o, size_t *count)
{
    *count = o->state_floats;
    return o->state;
}

void optimizer_set_steps(optimizer *o, int64_t steps)
{
    o->steps = steps;
}

static const char *said_of(const optimizer_argument *a, double value, const char *number)
{
    if (a->form == ARGUMENT_FLAG) return value != 0 ? "True" : "False";
    return a->form == ARGUMENT_OPTIONAL && value == OPTIMIZER_NONE ? "None" : number;
}

char *optimizer_text(const optimizer_options *options)
{
    const optimizer_argument *a = arguments_of(options);
    char *text = mem_printf("%s(", optimizer_rows[options->kind]->name);
    for (size_t i = 0; a[i].key && text; i++) {
        const double *value = options->value[i];
        char number[2][32], *longer;
        for (size_t k = 0; k < 2; k++) number_exact(value[k], number[k], sizeof number[k]);
        if (a[i].form == ARGUMENT_PAIR)
            longer = mem_printf("%s%s%s=(%s,%s)", text, i ? "," : "", a[i].key, number[0], number[1]);
        else
            longer = mem_printf("%s%s%s=%s", text, i ? "," : "", a[i].key, said_of(&a[i], value[0], number[0]));
        mem_free(text);
        text = longer;
    }
    char *whole = text ? mem_printf("%s)", text) : NULL;
    mem_free(text);
    return whole;
}

void optimizer_step(optimizer *o, const float *grads, float scale, double lr)
{
    const optimizer_row *row = optimizer_rows[o->options.kind];
    double numbers[OPTIMIZER_MAX_NUMBERS];
    const size_t bytes = row->numbers * sizeof *numbers;
    float *kept = o->state + o->state_floats - row->numbers * FLOATS_A_NUMBER;
    const optimizer_update u = {.options = &o->options,
                                .on = o->on,
                                .grads = grads,
                                .scale = scale,
                                .lr = lr,
                                .step = ++o->steps,
                                .state = o->state,
                                .numbers = numbers};
    if (bytes > 0) memcpy(numbers, kept, bytes);
    row->step(&u);
    if (bytes > 0) memcpy(kept, numbers, bytes);
}

bool optimizer_averages(const optimizer_options *options)
{
    return optimizer_rows[options->kind]->average != NULL;
}

void optimizer_average(const optimizer *o, float *out)
{
    const optimizer_row *row = optimizer_rows[o->options.kind];
    if (row->average && o->steps > 0)
        row->average(&o->options, &o->on, o->state, out);
    else
        memcpy(out, o->on.values, o->on.count * sizeof *out);
}
