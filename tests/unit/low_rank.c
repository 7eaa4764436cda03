/* Approximations of lower rank, against what is known of the matrices: their own factors, their singular values, and
 * the least that must be lost. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "solve/low_rank.h"

static double *numbers(int64_t count, uint64_t seed)
{
    double *a = malloc((size_t)count * sizeof *a);
    float *f = malloc((size_t)count * sizeof *f);
    rng r;
    assert_true(a && f);
    rng_seed(&r, RNG_CPU, seed);
    rng_normal(&r, f, (size_t)count);
    for (int64_t i = 0; i < count; i++) a[i] = (double)f[i];
    free(f);
    return a;
}

/* [rows, columns] = up [rows, inner] down [inner, columns], by plain loops. */
static double *multiply(const double *up, const double *down, int64_t rows, int64_t inner, int64_t columns)
{
    double *a = calloc((size_t)(rows * columns), sizeof *a);
    assert_non_null(a);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < inner; k++)
            for (int64_t j = 0; j < columns; j++) a[i * columns + j] += up[i * inner + k] * down[k * columns + j];
    return a;
}

static double norm(const double *a, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i] * a[i];
    return sqrt(sum);
}

/* |a - up down| / |a| */
static double difference(const double *a, const low_rank *r)
{
    double *b = multiply(r->up, r->down, r->rows, r->rank, r->columns);
    const int64_t count = r->rows * r->columns;
    for (int64_t i = 0; i < count; i++) b[i] -= a[i];
    const double result = norm(b, count) / norm(a, count);
    free(b);
    return result;
}

/* Both sides share the singular values: the columns of up and the rows of down have the length sqrt(s), at right
 * angles.
 */
static void check_sides(const low_rank *r)
{
    for (int64_t p = 0; p < r->rank; p++) {
        for (int64_t q = 0; q <= p; q++) {
            double up = 0, down = 0;
            for (int64_t i = 0; i < r->rows; i++) up += r->up[i * r->rank + p] * r->up[i * r->rank + q];
            for (int64_t j = 0; j < r->columns; j++) down += r->down[p * r->columns + j] * r->down[q * r->columns + j];
            const double expected = p == q ? r->singular[p] : 0;
            assert_true(fabs(up - expected) <= 1e-10 * r->singular[0]);
            assert_true(fabs(down - expected) <= 1e-10 * r->singular[0]);
        }
        assert_true(p == 0 || r->singular[p] <= r->singular[p - 1]);
    }
}

static void a_matrix_of_that_rank_comes_back(void **state)
{
    (void)state;
    /* small ones, by LAPACK alone, and large ones */
    static const struct {
        int64_t rows, columns, inner, rank;
    } cases[] = {{1, 1, 1, 1},     {5, 7, 2, 2},       {7, 5, 2, 3},       {40, 40, 40, 40},
                 {200, 90, 4, 4},  {90, 200, 4, 8},    {300, 700, 16, 16}, {700, 300, 16, 16},
                 {257, 65, 5, 11}, {65, 1025, 12, 12}, {400, 400, 1, 1},   {129, 321, 20, 4 + 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t m = cases[i].rows, n = cases[i].columns, k = cases[i].inner, rank = cases[i].rank;
        double *up = numbers(m * k, 1), *down = numbers(k * n, 2), *a = multiply(up, down, m, k, n);
        low_rank r = {0};
        leco_error err = {0};
        assert_works(low_rank_of_matrix(a, m, n, rank, &r, &err), &err);
        assert_true(r.rows == m && r.columns == n && r.rank == rank);
        if (difference(a, &r) > 1e-13) fail_msg("[%d,%d]: off by %g", (int)m, (int)n, difference(a, &r));
        assert_true(r.lost < 1e-13);
        check_sides(&r);
        low_rank_free(&r);
        if (rank <= k) { /* a product's rank is its inner side at most */
            assert_works(low_rank_of_product(up, down, m, k, n, rank, &r, &err), &err);
            if (difference(a, &r) > 1e-13) fail_msg("[%d,%d]: product off by %g", (int)m, (int)n, difference(a, &r));
            check_sides(&r);
            low_rank_free(&r);
        }
        free(up), free(down), free(a);
    }
}

/* [m, n] with the singular values 1, 1/2, 1/3, ... and the vectors of the discrete sine transform. */
static double *with_known_values(int64_t m, int64_t n)
{
    const double pi = acos(-1);
    const int64_t k = m < n ? m : n;
    double *a = calloc((size_t)(m * n), sizeof *a);
    assert_non_null(a);
    for (int64_t p = 0; p < k; p++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                a[i * n + j] += sin(pi * (double)((i + 1) * (p + 1)) / (double)(m + 1)) *
                                sin(pi * (double)((j + 1) * (p + 1)) / (double)(n + 1)) * sqrt(2.0 / (double)(m + 1)) *
                                sqrt(2.0 / (double)(n + 1)) / (double)(p + 1);
    return a;
}

static void what_is_lost_is_near_the_least(void **state)
{
    (void)state;
    static const struct {
        int64_t rows, columns, rank;
        double more, off; /* what is lost, above the least; singular values, from the true ones */
    } cases[] = {
        {30, 50, 4, 1e-12, 1e-12}, {50, 30, 29, 1e-12, 1e-12}, {120, 250, 8, 1e-5, 1e-4}, {250, 120, 30, 1e-3, 1e-2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t m = cases[i].rows, n = cases[i].columns, rank = cases[i].rank;
        double *a = with_known_values(m, n), all = 0, least = 0;
        for (int64_t p = 1; p <= (m < n ? m : n); p++) {
            all += 1 / (double)(p * p);
            if (p > rank) least += 1 / (double)(p * p);
        }
        least = sqrt(least / all);
        low_rank r = {0};
        leco_error err = {0};
        assert_works(low_rank_of_matrix(a, m, n, rank, &r, &err), &err);
        assert_true(r.lost >= least * (1 - 1e-12) && r.lost <= least * (1 + cases[i].more));
        assert_true(fabs(difference(a, &r) - r.lost) < 1e-12);
        assert_true(fabs(r.norm / sqrt(all) - 1) < 1e-12);
        for (int64_t p = 0; p < rank; p++) assert_true(fabs(r.singular[p] * (double)(p + 1) - 1) <= 1);
        low_rank_free(&r);
        free(a);
    }
}

static void products_lose_as_matrices_do(void **state)
{
    (void)state;
    /* inner longer than both sides, than one, than none */
    static const int64_t cases[][4] = {{12, 20, 33, 5}, {12, 33, 20, 12}, {60, 24, 40, 9}, {5, 1, 3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t m = cases[i][0], n = cases[i][1], k = cases[i][2], rank = cases[i][3];
        double *up = numbers(m * k, 3), *down = numbers(k * n, 4), *a = multiply(up, down, m, k, n);
        low_rank of_matrix = {0}, of_product = {0};
        leco_error err = {0};
        assert_works(low_rank_of_matrix(a, m, n, rank, &of_matrix, &err), &err);
        assert_works(low_rank_of_product(up, down, m, k, n, rank, &of_product, &err), &err);
        assert_true(fabs(of_matrix.lost - of_product.lost) < 1e-12);
        assert_true(fabs(difference(a, &of_product) - of_product.lost) < 1e-12);
        check_sides(&of_product);
        low_rank_free(&of_matrix);
        low_rank_free(&of_product);
        free(up), free(down), free(a);
    }
}

static void nothing_comes_out_as_nothing(void **state)
{
    (void)state;
    double *zero = calloc(100 * 150, sizeof *zero);
    low_rank r = {0};
    leco_error err = {0};
    assert_non_null(zero);
    for (int64_t rank = 2; rank <= 60; rank += 58) {
        assert_works(low_rank_of_matrix(zero, 100, 150, rank, &r, &err), &err);
        assert_true(r.lost == 0 && norm(r.up, 100 * rank) == 0 && norm(r.down, 150 * rank) == 0);
        low_rank_free(&r);
    }
    assert_works(low_rank_of_product(zero, zero, 10, 3, 20, 3, &r, &err), &err);
    assert_true(r.lost == 0 && norm(r.up, 30) == 0 && norm(r.down, 60) == 0);
    low_rank_free(&r);
    free(zero);
}

static void the_number_of_threads_changes_nothing(void **state)
{
    (void)state;
    double *a = with_known_values(150, 600);
    low_rank r[2] = {{0}, {0}};
    leco_error err = {0};
    for (int i = 0; i < 2; i++) {
        cpu_set_threads(i + 1);
        assert_works(low_rank_of_matrix(a, 150, 600, 6, &r[i], &err), &err);
    }
    cpu_set_threads(0);
    assert_memory_equal(r[0].up, r[1].up, 150 * 6 * sizeof(double));
    assert_memory_equal(r[0].down, r[1].down, 600 * 6 * sizeof(double));
    low_rank_free(&r[0]);
    low_rank_free(&r[1]);
    free(a);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    double a[12] = {1, 2, 3}, down[12] = {1};
    low_rank r = {0};
    leco_error err = {0};
    assert_fails(low_rank_of_matrix(a, 3, 4, 0, &r, &err), LECO_INVALID, &err, "[3,4]", "rank 0", "1 to 3");
    assert_fails(low_rank_of_matrix(a, 3, 4, 4, &r, &err), LECO_INVALID, &err, "rank 4", "1 to 3");
    assert_fails(low_rank_of_matrix(a, 0, 4, 1, &r, &err), LECO_INVALID, &err, "[0,0,4]");
    assert_fails(low_rank_of_matrix(a, 3, INT64_MAX, 1, &r, &err), LECO_INVALID, &err, "sides");
    assert_fails(low_rank_of_product(a, down, 3, 2, 4, 3, &r, &err), LECO_INVALID, &err, "rank 3", "1 to 2");
    assert_fails(low_rank_of_product(a, down, 3, INT64_MAX, 4, 3, &r, &err), LECO_INVALID, &err, "sides");
    static const double wrong[] = {NAN, INFINITY, 1e200};
    for (size_t i = 0; i < 3; i++) {
        a[5] = wrong[i];
        assert_fails(low_rank_of_matrix(a, 3, 4, 2, &r, &err), LECO_INVALID, &err, "finite");
        assert_fails(low_rank_of_product(a, down, 3, 2, 4, 2, &r, &err), LECO_INVALID, &err, "finite");
    }
    assert_null(r.up);
}

static void memory_that_runs_out_is_told(void **state)
{
    (void)state;
    double *a = numbers(100 * 120, 5);
    for (int kind = 0; kind < 3; kind++) {
        leco_status status = LECO_MEMORY;
        for (uint64_t n = 1; status != LECO_OK; n++) {
            low_rank r = {0};
            leco_error err = {0};
            mem_fail_at(n);
            status = kind == 0   ? low_rank_of_matrix(a, 100, 120, 3, &r, &err)
                     : kind == 1 ? low_rank_of_matrix(a, 100, 120, 80, &r, &err)
                                 : low_rank_of_product(a, a, 100, 9, 120, 3, &r, &err);
            mem_fail_at(0);
            if (status != LECO_OK) assert_fails(status, LECO_MEMORY, &err, "out of memory");
            if (status != LECO_OK) assert_null(r.up);
            low_rank_free(&r);
            assert_true(n < 100);
        }
    }
    free(a);
}

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* `low_rank ROWS COLUMNS RANK`: how long that takes, for people. */
static int measure(char **argv)
{
    const int64_t rows = atoll(argv[1]), columns = atoll(argv[2]), rank = atoll(argv[3]);
    double *a = numbers(rows * columns, 1);
    low_rank r = {0};
    leco_error err = {0};
    const double wall = cpu_seconds(), busy = processor_seconds();
    leco_status status = low_rank_of_matrix(a, rows, columns, rank, &r, &err);
    printf("%.2f s, %.2f s of processors; %.4f lost %s\n", cpu_seconds() - wall, processor_seconds() - busy, r.lost,
           err.message);
    low_rank_free(&r);
    free(a);
    return status != LECO_OK;
}

int main(int argc, char **argv)
{
    if (argc == 4) return measure(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_matrix_of_that_rank_comes_back),      cmocka_unit_test(what_is_lost_is_near_the_least),
        cmocka_unit_test(products_lose_as_matrices_do),          cmocka_unit_test(nothing_comes_out_as_nothing),
        cmocka_unit_test(the_number_of_threads_changes_nothing), cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
