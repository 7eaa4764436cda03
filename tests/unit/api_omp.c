/* The public library, called from wherever a program's threads may stand: a model's pictures stay what they are. */
#include "test_support.h"

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>

#include "leco/leco.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_model *model;
static leco_images reference; /* drawn with four threads */

static leco_status draw(leco_images *out, leco_progress_callback progress, leco_error *err)
{
    static const char *const prompts[] = {"a red circle"};
    leco_generate_options o = leco_generate_defaults();
    o.prompts = prompts;
    o.prompt_count = 1;
    o.steps = 4;
    o.guidance_scale = 4;
    o.seed = 11;
    o.progress = progress;
    return leco_generate(model, &o, out, err);
}

/* Whether the picture is the reference's but for the last bit: another number of threads may round otherwise. */
static void check(leco_images *got)
{
    const leco_image *a = &reference.image[0], *b = &got->image[0];
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->height, b->height);
    for (int i = 0; i < 3 * a->width * a->height; i++)
        if (abs(a->rgb[i] - b->rgb[i]) > 1) fail_msg("pixel %d: %d and %d", i / 3, a->rgb[i], b->rgb[i]);
    leco_images_free(got);
}

static void draw_and_check(leco_progress_callback progress)
{
    leco_error err;
    leco_images got = {0};
    assert_works(draw(&got, progress, &err), &err);
    check(&got);
}

static void the_number_may_change_between_calls(void **state)
{
    (void)state;
    static const int counts[] = {1, 4, 3, 7, 2, 4};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        leco_set_threads(counts[i]);
        draw_and_check(NULL);
    }
}

/* Calls that another thread, or a callback, could make at any time. */
static bool meddle(void *user, const leco_progress *p)
{
    (void)user;
    leco_set_threads(p->done % 2 ? 1 : 9);
    omp_set_dynamic(1);
    omp_set_num_threads(p->done % 2 ? 8 : 1);
    return true;
}

static void the_number_may_change_during_a_call(void **state)
{
    (void)state;
    leco_set_threads(4);
    draw_and_check(NULL);
    draw_and_check(meddle);
    leco_set_threads(4);
    draw_and_check(NULL);
}

static void calls_may_come_from_a_parallel_region(void **state)
{
    (void)state;
    leco_set_threads(4);
    draw_and_check(NULL); /* sessions for four threads are there now */
    for (int levels = 1; levels <= 2; levels++) {
        leco_images got = {0};
        leco_status status = LECO_INTERNAL;
        leco_error err;
        omp_set_max_active_levels(levels);
#pragma omp parallel num_threads(2)
        if (omp_get_thread_num() == 1) status = draw(&got, NULL, &err);
        assert_works(status, &err);
        check(&got);
        draw_and_check(NULL);
    }
    omp_set_max_active_levels(1);
}

typedef struct call {
    leco_images got;
    leco_status status;
    leco_error err;
} call;

static void *draw_elsewhere(void *data)
{
    call *c = data;
    omp_set_dynamic(1); /* this thread's alone */
    omp_set_num_threads(1);
    c->status = draw(&c->got, NULL, &c->err);
    return NULL;
}

static void calls_may_come_from_another_thread(void **state)
{
    (void)state;
    leco_set_threads(4);
    draw_and_check(NULL);
    call c = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, draw_elsewhere, &c), 0);
    pthread_join(thread, NULL);
    assert_works(c.status, &c.err);
    check(&c.got);
}

static int setup(void **state)
{
    (void)state;
    leco_error err;
    const leco_model_options float32 = {.precision = "float32"};
    leco_set_threads(4);
    return leco_model_open(FIXTURE, &float32, &model, &err) != LECO_OK || draw(&reference, NULL, &err) != LECO_OK;
}

static int teardown(void **state)
{
    (void)state;
    leco_images_free(&reference);
    leco_model_close(model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_number_may_change_between_calls),
        cmocka_unit_test(the_number_may_change_during_a_call),
        cmocka_unit_test(calls_may_come_from_a_parallel_region),
        cmocka_unit_test(calls_may_come_from_another_thread),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
