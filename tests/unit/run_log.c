/* The log of a training: a line a step, none twice, whatever a kill left. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "train/run_log.h"

static leco_error err;

static void write_steps(run_log *l, int64_t first, int64_t last)
{
    for (int64_t i = first; i <= last; i++) {
        const step_figures s = {.step = i,
                                .loss = 0.5,
                                .loss_mean = 0.1 * (double)i,
                                .lr = 1e-4,
                                .grad_norm = (double)NAN,
                                .seconds = (double)i,
                                .entry = "a \"quoted\".yaml:3",
                                .timestep = 541};
        const effect_figures e = {.effect = 0.25, .moved = 0.5, .kept = (double)NAN, .neighbours = 1, .unrelated = 0};
        assert_works(run_log_write(l, &s, i == 2 ? &e : NULL, &err), &err);
    }
}

static void write_new(const char *path, int64_t steps)
{
    run_log *l;
    assert_works(run_log_open(path, -1, &l, &err), &err);
    write_steps(l, 1, steps);
    run_log_close(l);
}

/* The steps of its lines, which must all be whole: "1 2 3 ". */
static const char *steps_of(const char *path)
{
    static char text[400];
    char *all = (char *)test_read(path, NULL), *rest = all;
    text[0] = '\0';
    for (char *line; (line = strsep(&rest, "\n")) && rest;) {
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%lld ",
                 (long long)json_integer_value(json_object_get(object, "step")));
        json_decref(object);
    }
    assert_true(!rest); /* it ends with a line's end */
    free(all);
    return text;
}

static void a_line_has_what_is_known(void **state)
{
    (void)state;
    run_log *l;
    const step_figures before = {.step = 0, .seconds = 0.5};
    const effect_figures e = {.effect = 0.25, .moved = 0.5, .kept = (double)NAN, .neighbours = 1, .unrelated = 0};
    assert_works(run_log_open(test_path("log"), -1, &l, &err), &err);
    assert_works(run_log_write(l, &before, &e, &err), &err);
    write_steps(l, 1, 2);
    run_log_close(l);
    char *text = (char *)test_read(test_path("log"), NULL);
    assert_string_equal(
        text,
        "{\"step\": 0, \"seconds\": 0.5, \"effect\": 0.25, \"moved\": 0.5, \"kept\": null, \"neighbours\": 1.0, "
        "\"unrelated\": 0.0}\n"
        "{\"step\": 1, \"loss\": 0.5, \"loss_mean\": 0.1, \"lr\": 0.0001, \"grad_norm\": null, \"entry\": \"a "
        "\\\"quoted\\\".yaml:3\", \"timestep\": 541.0, \"seconds\": 1.0}\n"
        "{\"step\": 2, \"loss\": 0.5, \"loss_mean\": 0.2, \"lr\": 0.0001, \"grad_norm\": null, \"entry\": \"a "
        "\\\"quoted\\\".yaml:3\", \"timestep\": 541.0, \"seconds\": 2.0, \"effect\": 0.25, \"moved\": 0.5, \"kept\": "
        "null, \"neighbours\": 1.0, \"unrelated\": 0.0}\n");
    free(text);
}

static void one_that_goes_on_has_each_step_once(void **state)
{
    (void)state;
    const char *path = test_path("log");
    run_log *l;
    size_t size;
    write_new(path, 5);
    unsigned char *whole = test_read(path, &size);
    for (size_t cut = 0; cut < size; cut += 7) { /* killed at any byte */
        test_write(path, whole, size - cut);
        assert_works(run_log_open(path, 3, &l, &err), &err);
        write_steps(l, 4, 6);
        run_log_close(l);
        const char *steps = steps_of(path);
        const char *end = "4 5 6 "; /* of the first three, those that were there */
        assert_true(strlen(steps) >= strlen(end) && strcmp(steps + strlen(steps) - strlen(end), end) == 0);
        assert_true(strncmp("1 2 3 4 5 6 ", steps, strlen(steps) - strlen(end)) == 0);
    }
    test_write(path, whole, size);
    assert_works(run_log_open(path, 3, &l, &err), &err);
    assert_true(fabs(run_log_last_mean(l) - 0.3) < 1e-6);
    run_log_close(l);
    assert_string_equal(steps_of(path), "1 2 3 ");
    assert_works(run_log_open(path, -1, &l, &err), &err); /* anew */
    run_log_close(l);
    assert_string_equal(steps_of(path), "");
    assert_int_equal(remove(path), 0);
    assert_works(run_log_open(path, 3, &l, &err), &err); /* lost */
    assert_true(isnan(run_log_last_mean(l)));
    write_steps(l, 4, 4);
    run_log_close(l);
    assert_string_equal(steps_of(path), "4 ");
    free(whole);
}

static void what_is_no_log_is_left_alone(void **state)
{
    (void)state;
    run_log *l;
    const char *path = test_path("other");
    test_write(path, "a poem\nof two lines\n", 20);
    assert_fails(run_log_open(path, 3, &l, &err), LECO_FORMAT, &err, ":1", "no line of a log");
    assert_null(l);
    char *text = (char *)test_read(path, NULL);
    assert_string_equal(text, "a poem\nof two lines\n");
    free(text);
    assert_fails(run_log_open(test_path("nowhere/log"), -1, &l, &err), LECO_IO, &err, "cannot write");
}

/* A line that something damaged costs a training nothing. */
static void damaged_lines_stay(void **state)
{
    (void)state;
    run_log *l;
    const char *path = test_path("damaged");
    static const char text[] = "{\"step\": 1, \"loss_me\nan\n{\"step\": 2, \"loss_mean\": 0.0}\n{\"step\": 4}\n";
    test_write(path, text, strlen(text));
    assert_works(run_log_open(path, 3, &l, &err), &err);
    assert_true(run_log_last_mean(l) == 0); /* which is a mean, too */
    run_log_close(l);
    char *left = (char *)test_read(path, NULL);
    assert_string_equal(left, "{\"step\": 1, \"loss_me\nan\n{\"step\": 2, \"loss_mean\": 0.0}\n");
    free(left);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    run_log *l;
    if (access("/dev/full", W_OK) != 0) skip();
    assert_works(run_log_open("/dev/full", -1, &l, &err), &err);
    const step_figures s = {.step = 1, .entry = ""};
    leco_status status = run_log_write(l, &s, NULL, &err);
    if (status == LECO_OK) status = run_log_flush(l, &err);
    assert_fails(status, LECO_IO, &err, "/dev/full", "cannot write");
    run_log_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_what_is_known),     cmocka_unit_test(one_that_goes_on_has_each_step_once),
        cmocka_unit_test(what_is_no_log_is_left_alone), cmocka_unit_test(damaged_lines_stay),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests_name("unit/run_log", tests, NULL, NULL);
}
