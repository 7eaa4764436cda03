/* Matrices kept as int8: how exact they are, and what memory they take. */
#include "test_support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/narrow.h"
#include "base/mem.h"
#include "base/rng.h"

enum { ROWS = 9, WIDTH = 37 };

static leco_error err;

static float *random_matrix(void)
{
    float *x = malloc(ROWS * WIDTH * sizeof *x);
    rng random;
    assert_non_null(x);
    rng_seed(&random, RNG_CPU, 3);
    rng_uniform(&random, x, ROWS * WIDTH, -0.5f, 0.5f);
    for (int c = 0; c < WIDTH; c++) x[2 * WIDTH + c] = 0; /* a row of zeros, and one that spans much */
    x[3 * WIDTH] = 1000;
    return x;
}

static void values_are_within_half_a_step(void **state)
{
    (void)state;
    static const dtype stored[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16}, computed[] = {DTYPE_F32, DTYPE_BF16};
    float *x = random_matrix(), *back = malloc(ROWS * WIDTH * sizeof *back);
    void *data = malloc(ROWS * WIDTH * sizeof(float)), *expanded = malloc(ROWS * WIDTH * sizeof(float));
    assert_true(back && data && expanded);
    for (size_t s = 0; s < 3; s++) {
        weight w = {.name = "w", .type = stored[s], .shape = SHAPE(ROWS, WIDTH), .data = data, .narrow = true};
        weight_form *f;
        dtype_convert(data, stored[s], x, DTYPE_F32, ROWS * WIDTH);
        dtype_convert(x, DTYPE_F32, data, stored[s], ROWS * WIDTH); /* what it holds */
        assert_works(narrow_want(&w, &host_memory, &f, &err), &err);
        assert_true(weight_wanted_bytes(&w) < ROWS * WIDTH + 2 * MEM_ALIGNMENT);
        assert_works(narrow_fill(&w, f, &err), &err);
        for (size_t k = 0; k < 2; k++) {
            narrow_expand(expanded, computed[k], &w, f->data);
            dtype_convert(back, DTYPE_F32, expanded, computed[k], ROWS * WIDTH);
            for (int i = 0; i < ROWS * WIDTH; i++) {
                float largest = 0;
                for (int c = 0; c < WIDTH; c++) largest = fmaxf(largest, fabsf(x[i / WIDTH * WIDTH + c]));
                const float rounding = computed[k] == DTYPE_BF16 ? largest / 256 : 1e-6f * largest;
                assert_true(fabsf(back[i] - x[i]) <= largest / 254 * 1.0001f + rounding);
            }
        }
        weight_release(&w);
    }
    free(x);
    free(back);
    free(data);
    free(expanded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_are_within_half_a_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
