/* Names to numbers: what was added is found, nothing else is, and running out of memory leaves the table whole. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/name_table.h"

enum { COUNT = 5000 };
static char names[COUNT][16];

static void finds_what_was_added(void **state)
{
    (void)state;
    name_table t = {0};
    assert_null(name_table_find(&t, ""));
    for (size_t i = 0; i < COUNT; i++) {
        assert_null(name_table_find(&t, names[i]));
        assert_true(name_table_add(&t, names[i], i));
    }
    assert_int_equal(t.count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        char same[16]; /* by what it says, not by where it stands */
        memcpy(same, names[i], sizeof same);
        assert_non_null(name_table_find(&t, same));
        assert_int_equal(*name_table_find(&t, same), i);
    }
    *name_table_find(&t, names[7]) = 123;
    assert_int_equal(*name_table_find(&t, names[7]), 123);
    assert_null(name_table_find(&t, "name 5000"));
    assert_null(name_table_find(&t, "name"));
    name_table_free(&t);
    assert_null(name_table_find(&t, names[0]));
    name_table_free(&t);
}

static void without_memory_it_stays_as_it_was(void **state)
{
    (void)state;
    name_table t = {0};
    mem_fail_at(1);
    assert_false(name_table_add(&t, names[0], 0));
    for (size_t i = 0; i < COUNT; i++) {
        mem_fail_at(1);
        if (!name_table_add(&t, names[i], i)) assert_true(name_table_add(&t, names[i], i));
    }
    mem_fail_at(0);
    assert_int_equal(t.count, COUNT);
    for (size_t i = 0; i < COUNT; i++) assert_int_equal(*name_table_find(&t, names[i]), i);
    name_table_free(&t);
}

int main(void)
{
    for (int i = 0; i < COUNT; i++) snprintf(names[i], sizeof names[i], i ? "name %d" : "", i);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_added),
        cmocka_unit_test(without_memory_it_stays_as_it_was),
    };
    return cmocka_run_group_tests_name("unit/name_table", tests, NULL, NULL);
}
