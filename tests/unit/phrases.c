/* What the U-Net is told beside a text: which crop of which picture. Which alternatives a text becomes is tested with
 * the objectives. */
#include "test_support.h"

#include <string.h>

#include "model/family.h"
#include "model_support.h"
#include "train/phrases.h"

static leco_error err;

/* After torch.manual_seed(0), as p1atdev's get_add_time_ids draws it: a scale of 1.99251 (torch.rand's 0.49626), then
 * the second and third word of the generator, 2546248239 modulo 127 - 64 and 3071714933 modulo 159 - 80. */
static void crops_are_drawn_as_p1atdev_does(void **state)
{
    (void)state;
    static const float whole[] = {64, 80, 0, 0, 64, 80}, part[] = {127, 159, 45, 40, 64, 80};
    model *m;
    device d;
    conditioner *c;
    rng r;
    conditioning one, other;
    assert_works(model_open(FIXTURE("sdxl-like"), &m, &err), &err);
    assert_works(model_load(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    assert_works(conditioner_create(&d, m, NULL, m->family->text, &c, &err), &err);
    phrases *p = phrases_create();
    assert_non_null(p);
    rng_seed(&r, RNG_CPU, 0);
    phrases_draw_crop(p, &r); /* of no texts: nothing */
    assert_works(phrases_add(p, c, "a star", 64, 80, &one, &err), &err);
    assert_works(phrases_add(p, c, "", 64, 80, &other, &err), &err);
    assert_memory_equal(one.sizes, whole, sizeof whole);
    phrases_draw_crop(p, &r);
    assert_works(phrases_resolve(p, &err), &err);
    assert_memory_equal(one.sizes, part, sizeof part);
    assert_memory_equal(other.sizes, part, sizeof part);
    assert_int_equal(rng_word(&r), 3626093760);
    for (int i = 0; i < 1000; i++) {
        phrases_draw_crop(p, &r);
        assert_works(phrases_resolve(p, &err), &err);
        assert_true(one.sizes[0] >= 64 && one.sizes[0] < 192 && one.sizes[1] >= 80 && one.sizes[1] < 240);
        assert_true(one.sizes[2] + 64 <= one.sizes[0] && one.sizes[3] + 80 <= one.sizes[1]);
    }
    phrases_destroy(p);
    conditioner_destroy(c);
    device_close(&d);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(crops_are_drawn_as_p1atdev_does)};
    return cmocka_run_group_tests_name("unit/phrases", tests, NULL, NULL);
}
