#include "test_support.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static void every_status_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(leco_status_name(LECO_OK), "ok");
    assert_string_equal(leco_status_name(LECO_FORMAT), "format");
    assert_string_equal(leco_status_name(LECO_INTERNAL), "internal");
    assert_string_equal(leco_status_name(LECO_DEVICE), "device");
    assert_string_equal(leco_status_name((leco_status)99), "unknown");
    for (leco_status a = LECO_OK; a < LECO_DEVICE; a++)
        assert_string_not_equal(leco_status_name(a), leco_status_name(a + 1));
}

static void a_sentence_is_kept_with_its_status(void **state)
{
    (void)state;
    leco_error err = {0};
    assert_int_equal(error_set(&err, LECO_FORMAT, "%s: %d bytes", "a.png", 7), LECO_FORMAT);
    assert_int_equal(err.status, LECO_FORMAT);
    assert_string_equal(err.message, "a.png: 7 bytes");
    assert_int_equal(error_set(NULL, LECO_IO, "nobody listens"), LECO_IO);
}

static void a_long_sentence_is_cut_between_characters(void **state)
{
    (void)state;
    char text[2048];
    for (size_t shift = 0; shift < 3; shift++) { /* every position of the cut inside a three-byte character */
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
        leco_error err = {0};
        error_set(&err, LECO_INVALID, "%s", text);
        size_t length = strlen(err.message);
        assert_true(length >= sizeof err.message - 4 && length < sizeof err.message);
        assert_int_equal((length - shift) % 3, 0);
        assert_memory_equal(err.message, text, length);
    }
}

static void control_characters_never_reach_the_terminal(void **state)
{
    (void)state;
    leco_error err = {0};
    error_set(&err, LECO_FORMAT, "tensor \"%s\"", "\x1b[2Jred\r\a\x7f\n\tz");
    assert_string_equal(err.message, "tensor \"?[2Jred???  z\"");
}

static void the_arguments_may_be_the_old_message(void **state)
{
    (void)state;
    leco_error err = {0};
    error_set(&err, LECO_FORMAT, "inner");
    error_set(&err, LECO_INVALID, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
}

static void a_prefix_keeps_the_status(void **state)
{
    (void)state;
    leco_error err = {0};
    error_set(&err, LECO_FORMAT, "no such key");
    assert_int_equal(error_prefix(&err, LECO_INVALID, "%s:%d", "c.yaml", 3), LECO_FORMAT);
    assert_string_equal(err.message, "c.yaml:3: no such key");
    assert_int_equal(error_prefix(NULL, LECO_INVALID, "x"), LECO_INVALID);
    leco_error empty = {0};
    assert_int_equal(error_prefix(&empty, LECO_IO, "x"), LECO_IO);
    assert_int_equal(empty.status, LECO_IO);
}

static void the_usual_failures_have_a_form(void **state)
{
    (void)state;
    leco_error err = {0};
    assert_int_equal(error_memory(&err, 4096, "the latents"), LECO_MEMORY);
    assert_string_equal(err.message, "out of memory: could not allocate 4096 bytes for the latents");
    assert_int_equal(error_errno(&err, "a/b", "cannot open", ENOENT), LECO_IO);
    assert_string_equal(err.message, "a/b: cannot open: No such file or directory");
    assert_int_equal(err.status, LECO_IO);
}

static leco_status fail_in_the_middle(int *reached)
{
    LECO_TRY(LECO_OK);
    *reached = 1;
    LECO_TRY(LECO_UNSUPPORTED);
    *reached = 2;
    return LECO_OK;
}

static void try_returns_at_the_first_failure(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(fail_in_the_middle(&reached), LECO_UNSUPPORTED);
    assert_int_equal(reached, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(a_sentence_is_kept_with_its_status),
        cmocka_unit_test(a_long_sentence_is_cut_between_characters),
        cmocka_unit_test(control_characters_never_reach_the_terminal),
        cmocka_unit_test(the_arguments_may_be_the_old_message),
        cmocka_unit_test(a_prefix_keeps_the_status),
        cmocka_unit_test(the_usual_failures_have_a_form),
        cmocka_unit_test(try_returns_at_the_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
