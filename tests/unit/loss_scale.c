/* The factor of a loss in float16: halved where a gradient isn't finite, doubled after a while. */
#include "test_support.h"

#include "diffusion/loss_scale.h"

static void it_is_halved_until_it_is_1(void **state)
{
    (void)state;
    loss_scale s = loss_scale_start();
    assert_true(loss_scale_factor(&s) == 65536);
    s.good = 7;
    assert_true(loss_scale_shrink(&s));
    assert_true(loss_scale_factor(&s) == 32768 && s.good == 0);
    for (int i = 0; i < 15; i++) assert_true(loss_scale_shrink(&s));
    assert_true(loss_scale_factor(&s) == 1);
    assert_false(loss_scale_shrink(&s));
    assert_true(loss_scale_factor(&s) == 1 && loss_scale_valid(&s));
}

static void it_is_doubled_after_2000_that_went_well(void **state)
{
    (void)state;
    loss_scale s = loss_scale_start();
    for (int i = 0; i < LOSS_SCALE_PATIENCE - 1; i++) loss_scale_passed(&s);
    assert_int_equal(s.exponent, LOSS_SCALE_FIRST);
    loss_scale_passed(&s);
    assert_true(loss_scale_factor(&s) == 131072 && s.good == 0);
    for (int i = 0; i < 20 * LOSS_SCALE_PATIENCE; i++) {
        loss_scale_passed(&s);
        assert_true(loss_scale_valid(&s));
    }
    assert_int_equal(s.exponent, LOSS_SCALE_MOST);
}

static void what_cannot_be_one_is_told(void **state)
{
    (void)state;
    const loss_scale bad[] = {{-1, 0}, {LOSS_SCALE_MOST + 1, 0}, {3, -1}, {3, LOSS_SCALE_PATIENCE}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(loss_scale_valid(&bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_halved_until_it_is_1),
        cmocka_unit_test(it_is_doubled_after_2000_that_went_well),
        cmocka_unit_test(what_cannot_be_one_is_told),
    };
    return cmocka_run_group_tests_name("unit/loss_scale", tests, NULL, NULL);
}
