/* The estimate of how long a training takes. */
#include "test_support.h"

#include <math.h>

#include "train/pace.h"

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    const pace p = {0};
    assert_true(pace_seconds(&p, 10, 10) < 0);
}

static void each_sort_of_work_has_its_own_cost(void **state)
{
    (void)state;
    const pace p = {.denoising = 6, .denoised = 3, .learning = 10, .learnt = 2};
    assert_true(pace_seconds(&p, 4, 1) == 4 * 2 + 5);
    assert_true(pace_seconds(&p, 0, 0) == 0);
}

static void what_was_not_done_yet_is_guessed_from_the_other(void **state)
{
    (void)state;
    const pace denoised = {.denoising = 4, .denoised = 2}, learnt = {.learning = 6, .learnt = 1};
    assert_true(pace_seconds(&denoised, 1, 2) == 2 + 2 * 6);
    assert_true(pace_seconds(&learnt, 3, 1) == 3 * 2 + 6);
}

/* Against the mean over all choices of two, and of all. */
static void the_mean_length_of_a_trajectory_is_right(void **state)
{
    (void)state;
    double sum = 0;
    int choices = 0;
    for (int a = 1; a < 9; a++)
        for (int b = 1; b < a; b++, choices++) sum += a;
    assert_true(fabs(pace_mean_largest(1, 9, 2) - sum / choices) < 1e-12);
    assert_true(fabs(pace_mean_largest(0, 50, 1) - 24.5) < 1e-12);
    assert_true(fabs(pace_mean_largest(0, 12, 12) - 11) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(each_sort_of_work_has_its_own_cost),
        cmocka_unit_test(what_was_not_done_yet_is_guessed_from_the_other),
        cmocka_unit_test(the_mean_length_of_a_trajectory_is_right),
    };
    return cmocka_run_group_tests_name("unit/pace", tests, NULL, NULL);
}
