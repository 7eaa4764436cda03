#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"

static leco_error err;

static const char *put(const char *text)
{
    const char *path = test_path("config.json");
    test_write(path, text, strlen(text));
    return path;
}

static json_t *parse(const char *text)
{
    json_t *root;
    assert_works(json_read_file(put(text), &root, &err), &err);
    return root;
}

static void syntax_errors_have_a_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *place;
    } cases[] = {{"{\n  \"a\": 1,\n  \"b\": oops\n}", ":3:"},
                 {"", ":1:"},
                 {"{\"a\":1}}", ":1:"},
                 {"{\"a\":1,\n\"a\":2}", ":2:"},
                 {"{\"a\":NaN}", ":1:"},
                 {"{\"a\":1e999}", ":1:"},
                 {"{\"a\":\"\xff\"}", ":1:"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = put(cases[i].text);
        json_t *root;
        assert_fails(json_read_file(path, &root, &err), LECO_FORMAT, &err, path, cases[i].place);
        assert_null(root);
    }
    json_t *root;
    assert_fails(json_read_file(test_path("absent"), &root, &err), LECO_IO, &err, "absent", "cannot open");
}

/* transformers writes model_max_length so where there is no limit. */
static void huge_integers_are_reals(void **state)
{
    (void)state;
    json_t *root = parse("{\"most\": 1000000000000000019884624838656, \"n\": 3}");
    assert_false(json_is_integer(json_object_get(root, "most")));
    double x;
    assert_works(json_get_double(root, "p", "most", 0, &x, &err), &err);
    assert_true(x == 1e30);
    int64_t n;
    assert_fails(json_get_int(root, "p", "most", 1, 0, INT64_MAX, &n, &err), LECO_INVALID, &err, "most", "whole");
    json_decref(root);
}

static void values_are_typed(void **state)
{
    (void)state;
    json_t *root = parse("{\"n\": 320, \"x\": 0.5, \"yes\": true, \"s\": \"silu\", \"none\": null}");
    int64_t n;
    double x;
    bool b;
    const char *s;
    assert_works(json_get_int(root, "p", "n", 1, 320, 320, &n, &err), &err);
    assert_true(n == 320);
    assert_works(json_get_double(root, "p", "x", 1, &x, &err), &err);
    assert_true(x == 0.5);
    assert_works(json_get_double(root, "p", "n", 1, &x, &err), &err); /* a whole number is a number */
    assert_true(x == 320);
    assert_works(json_get_bool(root, "p", "yes", false, &b, &err), &err);
    assert_true(b);
    assert_works(json_get_string(root, "p", "s", "gelu", &s, &err), &err);
    assert_string_equal(s, "silu");
    json_decref(root);
}

static void absent_and_null_keys_fall_back(void **state)
{
    (void)state;
    json_t *root = parse("{\"none\": null}");
    const json_t *const objects[] = {root, root, NULL};
    const char *const keys[] = {"none", "absent", "any"};
    for (size_t i = 0; i < 3; i++) {
        int64_t n;
        double x;
        bool b;
        const char *s;
        assert_works(json_get_int(objects[i], "p", keys[i], -5, 0, 1, &n, &err), &err); /* it need not be in range */
        assert_true(n == -5);
        assert_works(json_get_double(objects[i], "p", keys[i], 2.5, &x, &err), &err);
        assert_true(x == 2.5);
        assert_works(json_get_bool(objects[i], "p", keys[i], true, &b, &err), &err);
        assert_true(b);
        assert_works(json_get_string(objects[i], "p", keys[i], NULL, &s, &err), &err);
        assert_null(s);
    }
    json_decref(root);
}

static void wrong_values_are_named(void **state)
{
    (void)state;
    char text[400], filler[200];
    memset(filler, 'x', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    snprintf(text, sizeof text,
             "{\"n\": 7, \"x\": 0.5, \"s\": \"silu\", \"l\": [1], \"o\": {}, \"t\": true, \"long\": \"%s\"}", filler);
    json_t *root = parse(text);
    int64_t n;
    double x;
    bool b;
    const char *s;
    assert_fails(json_get_int(root, "dir/c.json", "n", 0, 8, 99, &n, &err), LECO_INVALID, &err, "dir/c.json",
                 "key \"n\"", "from 8 to 99", "found 7");
    assert_fails(json_get_int(root, "p", "n", 0, -3, 6, &n, &err), LECO_INVALID, &err, "from -3 to 6");
    assert_fails(json_get_int(root, "p", "x", 0, 0, 9, &n, &err), LECO_INVALID, &err, "found 0.5");
    assert_fails(json_get_int(root, "p", "t", 0, 0, 9, &n, &err), LECO_INVALID, &err, "found true");
    assert_fails(json_get_double(root, "p", "s", 0, &x, &err), LECO_INVALID, &err, "a number", "found \"silu\"");
    assert_fails(json_get_bool(root, "p", "n", 0, &b, &err), LECO_INVALID, &err, "true or false", "found 7");
    assert_fails(json_get_string(root, "p", "l", NULL, &s, &err), LECO_INVALID, &err, "a string", "found a list");
    assert_fails(json_get_string(root, "p", "o", NULL, &s, &err), LECO_INVALID, &err, "found an object");
    assert_fails(json_get_bool(root, "p", "long", 0, &b, &err), LECO_INVALID, &err, "found a long string");
    assert_fails(json_get_int(json_object_get(root, "l"), "p", "n", 0, 0, 9, &n, &err), LECO_INVALID, &err, "object");
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax_errors_have_a_place), cmocka_unit_test(huge_integers_are_reals),
        cmocka_unit_test(values_are_typed),           cmocka_unit_test(absent_and_null_keys_fall_back),
        cmocka_unit_test(wrong_values_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
