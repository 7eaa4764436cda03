/* Keys and values of a whole model, edited in closed form so that texts read like others, against PyTorch in float64:
 * what the file that is written adds to them, for erasing and, the other way, for enhancing; and what a training that
 * network.init: erase starts begins with. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/kinds.h"
#include "model/model.h"
#include "solve/start.h"

#define FOLDER FIXTURES "sd1-like"
#define AWAY 0.3 /* as leco enhance has it */

static leco_error err;
static safetensors *file;
static model *m;
static device d;

static const erase_pair pairs[] = {{"a large red circle", "a large blue circle"},
                                   {"a red moon, flat style", "a blue moon, flat style"}};
static const char *const stays[] = {"a green circle", "a large painting", "the old man"};
/* relative to a state's mean square, and what of the change the float32 of leco's states may cost: a small lambda
 * makes much of little */
static const struct {
    double lambda, bound;
} cases[] = {{1e-4, 5e-5}, {1e-2, 1e-5}};
#define ROUNDING 2e-6 /* of weights, where lambda makes much of nothing */

static erase_options options(int index, bool enhance)
{
    return (erase_options){.pair = pairs,
                           .pairs = 2,
                           .keep = stays,
                           .keeps = 3,
                           .certain = 3,
                           .lambda = cases[index].lambda,
                           .strength = enhance ? -AWAY : 1,
                           .rank = 24,
                           .max_rank = 24};
}

/* The edited weight of a module's layer, W + alpha / rank * up down, beside what it should be: off by which part of the
 * change, and of the weight. */
typedef struct distance {
    double of_change, of_weight;
} distance;

static distance compare(const trainable_module *module, const char *what, int index)
{
    char name[300];
    weight *own;
    const int64_t rows = module->layer.out, columns = module->layer.in;
    snprintf(name, sizeof name, "%s.weight", module->layer.path);
    assert_works(weights_get(m->weights[PART_UNET], name, SHAPE(rows, columns), &own, &err), &err);
    assert_int_equal(own->type, DTYPE_F32);
    snprintf(name, sizeof name, "%s.%d.%s", what, index, module->layer.path);
    const safetensors_entry *e = safetensors_find(file, name);
    if (!e) fail_msg("no tensor %s", name);
    assert_true(e->type == DTYPE_F64 && (int64_t)e->count == rows * columns);
    const float *w = own->data, *down = module->param[0].value, *up = module->param[1].value;
    double error = 0, change = 0, whole = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++) {
            double want, sum = 0;
            memcpy(&want, (const char *)e->data + (size_t)(i * columns + k) * sizeof want, sizeof want);
            for (int64_t r = 0; r < module->rank; r++)
                sum += (double)up[i * module->rank + r] * (double)down[r * columns + k];
            const double old = (double)w[i * columns + k];
            const double got = old + sum * (double)module->alpha / (double)module->rank;
            error += (got - want) * (got - want);
            change += (want - old) * (want - old);
            whole += want * want;
        }
    return (distance){sqrt(error / change), sqrt(error / whole)};
}

static void check(trainable *t, const char *what, int index)
{
    distance worst = {0};
    assert_int_equal(trainable_module_count(t), 14);
    for (size_t i = 0; i < 14; i++) {
        const distance of = compare(trainable_module_at(t, i), what, index);
        worst.of_change = fmax(worst.of_change, of.of_change);
        worst.of_weight = fmax(worst.of_weight, of.of_weight);
    }
    print_message("%s, lambda %g: off by %.1e of the change, %.1e of the weights\n", what, cases[index].lambda,
                  worst.of_change, worst.of_weight);
    assert_true(worst.of_change < cases[index].bound);
    assert_true(index == 0 || worst.of_weight < ROUNDING);
}

/* Written, and loaded again. */
static trainable *by_way_of_a_file(const trainable *t)
{
    trainable *loaded;
    adapter_layers layers;
    const trainable_metadata metadata = {.comment = "", .family = m->family};
    assert_works(trainable_save(t, test_path("edited.safetensors"), DTYPE_F32, &metadata, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    assert_works(trainable_load(test_path("edited.safetensors"), &layers, DTYPE_F32, &loaded, &err), &err);
    return loaded;
}

static void files_hold_the_edit(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        const erase_options o = options(i / 2, i % 2);
        erase_result r;
        assert_works(erase_solve(m, &d, &o, &r, &err), &err);
        assert_int_equal(r.rank, 24);
        assert_true(r.lost < 1e-6);
        trainable *loaded = by_way_of_a_file(r.trainable);
        check(loaded, i % 2 ? "enhance" : "erase", i / 2);
        trainable_destroy(loaded);
        erase_result_free(&r);
    }
}

/* ---- where a training begins ---- */

static train_config read_config(const char *action)
{
    char text[2000];
    train_config c;
    snprintf(text, sizeof text,
             "pretrained_model: " FOLDER "\n"
             "prompts:\n"
             "  - {target: '%s', neutral: '%s', action: %s}\n"
             "  - {target: '%s', neutral: '%s', action: %s}\n"
             "preserve: '%s'\n"
             "network: {rank: 24, alpha: 6, training_method: xattn-strict, init: erase}\n"
             "train: {precision: float32}\n",
             pairs[0].text, pairs[0].becomes, action, pairs[1].text, pairs[1].becomes, action, stays[0]);
    FILE *out = fopen(test_path("start.yaml"), "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0 && fclose(out) == 0);
    assert_works(train_config_read(test_path("start.yaml"), NULL, 0, &c, &err), &err);
    return c;
}

/* What a module adds: [out, in], test-owned. */
static double *added(trainable_module *module)
{
    const int64_t rows = module->layer.out, columns = module->layer.in;
    const float *down = module->param[0].value, *up = module->param[1].value;
    double *out = calloc((size_t)(rows * columns), sizeof *out);
    assert_non_null(out);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t r = 0; r < module->rank; r++)
            for (int64_t k = 0; k < columns; k++)
                out[i * columns + k] += (double)up[i * module->rank + r] * (double)down[r * columns + k] *
                                        (double)module->alpha / (double)module->rank;
    return out;
}

/* What `t` adds is `times` what `other` adds. */
static void check_multiple(trainable *t, trainable *other, double times)
{
    assert_int_equal(trainable_module_count(t), trainable_module_count(other));
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        trainable_module *a = trainable_module_at(t, i), *b = trainable_module_at(other, i);
        assert_string_equal(a->layer.path, b->layer.path);
        double *x = added(a), *y = added(b), error = 0, norm = 0;
        for (int64_t k = 0; k < a->layer.out * a->layer.in; k++) {
            error += (x[k] - times * y[k]) * (x[k] - times * y[k]);
            norm += x[k] * x[k];
        }
        assert_true(norm > 0 && sqrt(error / norm) < 1e-6);
        free(x);
        free(y);
    }
}

/* An erase pair becomes what is in its place, an enhance pair goes the other way, part of it; of the adapter's own
 * rank and alpha. */
static void a_training_begins_with_the_edit(void **state)
{
    (void)state;
    erase_result erased;
    erase_options o = options(0, false);
    o.keeps = o.certain = 1;
    assert_works(erase_solve(m, &d, &o, &erased, &err), &err);
    for (int enhance = 0; enhance < 2; enhance++) {
        train_config c = read_config(enhance ? "enhance" : "erase");
        trainable *from, *into;
        rng r;
        rng_seed(&r, RNG_CPU, 1);
        assert_true(start_is_asked_for(&c));
        assert_works(start_solve(&c, "cpu", &from, &err), &err);
        check_multiple(from, erased.trainable, enhance ? -AWAY : 1);
        assert_works(trainable_create(m, &c.network, &r, &into, &err), &err);
        assert_int_equal(start_copy(from, into), 14);
        check_multiple(into, erased.trainable, enhance ? -AWAY : 1);
        trainable_destroy(from);
        trainable_destroy(into);
        train_config_free(&c);
    }
    erase_result_free(&erased);
}

int main(void)
{
    file = fixture_open("solve/pairs.safetensors");
    assert_works(model_open(FOLDER, &m, &err), &err);
    assert_works(model_map(m, MODEL_UNET, &err), &err);
    assert_works(model_load(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_hold_the_edit),
        cmocka_unit_test(a_training_begins_with_the_edit),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(&d);
    model_close(m);
    safetensors_close(file);
    return failed;
}
