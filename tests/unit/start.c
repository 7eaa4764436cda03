/* A closed form as the beginning of a training: what its layers add is the same, whatever the adapter's rank and scale.
 */
#include "model_support.h"

#include <math.h>
#include <string.h>

#include "model/kinds.h"
#include "model/model.h"
#include "solve/start.h"

static leco_error err;

static trainable *create(model *m, int64_t rank, float alpha, training_method method)
{
    trainable *t;
    rng r;
    rng_seed(&r, RNG_CPU, (uint64_t)rank);
    const trainable_options o = {.kind = &kind_lora,
                                 .layers = {.scope = SCOPE_LIERLA, .method = method},
                                 .rank = rank,
                                 .alpha = alpha,
                                 .exact = DTYPE_F32};
    assert_works(trainable_create(m, &o, &r, &t, &err), &err);
    return t;
}

/* alpha / rank * (up down)[row, column] */
static double added(const trainable_module *m, int64_t row, int64_t column)
{
    const float *down = m->param[0].value, *up = m->param[1].value;
    double sum = 0;
    for (int64_t r = 0; r < m->rank; r++) sum += (double)up[row * m->rank + r] * (double)down[r * m->layer.in + column];
    return sum * (double)m->alpha / (double)m->rank;
}

static void any_rank_adds_the_same(void **state)
{
    (void)state;
    static const struct {
        int64_t rank;
        float alpha;
    } cases[] = {{3, 3}, {3, 1}, {5, 2}, {40, 80}};
    model *m;
    assert_works(model_open(FIXTURE("sd1-like"), &m, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        trainable *from = create(m, 3, 3, METHOD_XATTN_STRICT);
        trainable *into = create(m, cases[i].rank, cases[i].alpha, METHOD_FULL);
        rng r;
        rng_seed(&r, RNG_CPU, 9);
        rng_normal(&r, trainable_values(from), trainable_count(from));
        start_copy(from, into);
        size_t found = 0;
        for (size_t k = 0; k < trainable_module_count(into); k++) {
            const trainable_module *got = trainable_module_at(into, k), *want = NULL;
            for (size_t n = 0; n < trainable_module_count(from) && !want; n++)
                if (strcmp(trainable_module_at(from, n)->layer.path, got->layer.path) == 0)
                    want = trainable_module_at(from, n);
            found += want != NULL;
            for (int64_t row = 0; row < got->layer.out; row++)
                for (int64_t column = 0; column < got->layer.in; column++)
                    assert_true(fabs(added(got, row, column) - (want ? added(want, row, column) : 0)) < 1e-5);
        }
        assert_int_equal(found, trainable_module_count(from));
        trainable_destroy(from);
        trainable_destroy(into);
    }
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_rank_adds_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
