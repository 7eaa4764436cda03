#include "test_support.h"

#include <string.h>

#include "base/arena.h"

static void allocations_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static unsigned char *blocks[COUNT];
    arena *a = arena_create();
    assert_non_null(a);
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i % 200;
        blocks[i] = arena_alloc(a, size, 1);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t k = 0; k < size; k++) assert_int_equal(blocks[i][k], 0);
        memset(blocks[i], (int)(i % 251) + 1, size);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t k = 0; k < i % 200; k++) assert_int_equal(blocks[i][k], i % 251 + 1);
    arena_destroy(a);
}

static void a_large_request_gets_a_block_of_its_own(void **state)
{
    (void)state;
    arena *a = arena_create();
    char *before = arena_strdup(a, "before");
    char *large = arena_alloc(a, 1 << 20, 3);
    assert_non_null(large);
    memset(large, 7, (size_t)3 << 20);
    char *after = arena_strdup(a, "after");
    assert_string_equal(before, "before");
    assert_string_equal(after, "after");
    assert_int_equal(large[((size_t)3 << 20) - 1], 7);
    arena_destroy(a);
}

static void empty_requests_differ(void **state)
{
    (void)state;
    arena *a = arena_create();
    void *first = arena_alloc(a, 0, 8), *second = arena_alloc(a, 8, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    arena_destroy(a);
}

static void overflow_is_refused(void **state)
{
    (void)state;
    arena *a = arena_create();
    assert_null(arena_alloc(a, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(a, SIZE_MAX, 1));
    assert_null(arena_alloc(a, SIZE_MAX - 40, 1));
    assert_non_null(arena_alloc(a, 1, 1));
    arena_destroy(a);
}

static void strings(void **state)
{
    (void)state;
    arena *a = arena_create();
    char *name = arena_printf(a, "%s.%d.%s", "down_blocks", 2, "weight");
    char *copy = arena_strdup(a, "");
    assert_string_equal(name, "down_blocks.2.weight");
    assert_string_equal(copy, "");
    arena_destroy(a);
    arena_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_zeroed_aligned_and_apart),
        cmocka_unit_test(a_large_request_gets_a_block_of_its_own),
        cmocka_unit_test(empty_requests_differ),
        cmocka_unit_test(overflow_is_refused),
        cmocka_unit_test(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
