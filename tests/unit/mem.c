#include "test_support.h"

#include <string.h>

#include "base/mem.h"

static void zeroed_and_checked(void **state)
{
    (void)state;
    unsigned char *block = mem_calloc(1000, 3);
    assert_non_null(block);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(block[i], 0);
    mem_free(block);
    assert_null(mem_calloc(SIZE_MAX / 2, 3));
    void *empty = mem_calloc(0, 8);
    assert_non_null(empty);
    mem_free(empty);
    mem_free(NULL);
}

static void realloc_keeps_contents_and_checks_the_product(void **state)
{
    (void)state;
    char *block = mem_realloc(NULL, 4, 1);
    assert_non_null(block);
    memcpy(block, "abc", 4);
    block = mem_realloc(block, 100000, 2);
    assert_non_null(block);
    assert_string_equal(block, "abc");
    assert_null(mem_realloc(block, SIZE_MAX, 2));
    assert_string_equal(block, "abc"); /* still ours */
    block = mem_realloc(block, 0, 1);
    assert_non_null(block);
    mem_free(block);
}

static void aligned_for_tensors(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *block = mem_aligned(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        memset(block, 1, sizes[i]);
        mem_free_aligned(block);
    }
    assert_null(mem_aligned(SIZE_MAX - 10));
    mem_free_aligned(NULL);
}

static void strings(void **state)
{
    (void)state;
    char *a = mem_strdup("red"), *b = mem_strndup("circle", 3), *c = mem_strndup("star", 100),
         *d = mem_printf("%s-%d", a, 7);
    assert_string_equal(a, "red");
    assert_string_equal(b, "cir");
    assert_string_equal(c, "star");
    assert_string_equal(d, "red-7");
    mem_free(a);
    mem_free(b);
    mem_free(c);
    mem_free(d);
}

static void products_and_sums_are_bounded(void **state)
{
    (void)state;
    size_t out = 5;
    assert_true(mem_mul(1 << 20, 1 << 20, &out));
    assert_int_equal(out, (size_t)1 << 40);
    assert_false(mem_mul(SIZE_MAX, 2, &out));
    assert_false(mem_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, (size_t)1 << 40); /* untouched */
    assert_true(mem_add(SIZE_MAX - 1, 1, &out));
    assert_int_equal(out, SIZE_MAX);
    assert_true(mem_mul(SIZE_MAX, 0, &out));
    assert_int_equal(out, 0);
}

static void the_chosen_allocation_fails_once(void **state)
{
    (void)state;
    uint64_t before = mem_allocations();
    mem_fail_at(3);
    void *first = mem_calloc(1, 1), *second = mem_aligned(1), *third = mem_strdup("x"),
         *fourth = mem_realloc(NULL, 1, 1);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(third);
    assert_non_null(fourth);
    assert_int_equal(mem_allocations() - before, 4);
    mem_fail_at(1);
    assert_null(mem_realloc(first, 10, 1));
    mem_fail_at(1);
    assert_null(mem_aligned(10));
    mem_fail_at(1);
    mem_fail_at(0);
    void *fifth = mem_calloc(1, 1);
    assert_non_null(fifth);
    mem_free(first);
    mem_free_aligned(second);
    mem_free(fourth);
    mem_free(fifth);
}

static void the_counter_is_atomic(void **state)
{
    (void)state;
    enum { EACH = 2000 };
    uint64_t before = mem_allocations();
    int failed = 0;
    mem_fail_at(3 * EACH);
#pragma omp parallel for num_threads(4) reduction(+ : failed)
    for (int i = 0; i < 4 * EACH; i++) {
        void *block = mem_calloc(1, 8);
        failed += block == NULL;
        mem_free(block);
    }
    mem_fail_at(0);
    assert_int_equal(failed, 1);
    assert_int_equal(mem_allocations() - before, 4 * EACH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_and_checked),
        cmocka_unit_test(realloc_keeps_contents_and_checks_the_product),
        cmocka_unit_test(aligned_for_tensors),
        cmocka_unit_test(strings),
        cmocka_unit_test(products_and_sums_are_bounded),
        cmocka_unit_test(the_chosen_allocation_fails_once),
        cmocka_unit_test(the_counter_is_atomic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
