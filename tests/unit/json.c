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
                 {"{\"a\":nan}", ":1:8"},
                 {"{\"a\":+Infinity}", ":1:"},
                 {"{\"a\":Infinityx}", ":1:"},
                 {"{\"a\":--Infinity}", ":1:"},
                 {"{\"a\":1NaN}", ":1:"},
                 {"{NaN:1}", ":1:"},
                 {"{\"a\":1,NaN:1}", ":1:"},
                 {"{\"a\" NaN}", ":1:"},
                 {"[1 NaN]", ":1:"},
                 {"{\"a\":[-Infinity, NaN],\n \"b\":-Infinity, \"c\": oops}", ":2:"},
                 {"{\"a\":1e999x}", ":1:"},
                 {"{\"a\":1e999", ":1:"},
                 {"{\"a\":01000000000000000000000}", ":1:"},
                 {"1e999", ":1:"},
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

/* Python's json writes these three. They are values like any other as long as nobody asks for a number. */
static void pythons_words_are_no_numbers(void **state)
{
    (void)state;
    json_t *root = parse("{\"low\": -Infinity ,\n\"high\":Infinity,\"no\" : NaN\n, \"list\": [NaN,-Infinity, 1],"
                         " \"text\": \"a \\\\\\\": NaN, -Infinity\", \"n\": 3}");
    static const char *const keys[] = {"low", "high", "no"}, *const found[] = {"-Infinity", "Infinity", "NaN"};
    for (size_t i = 0; i < 3; i++) {
        double x;
        int64_t n;
        bool b;
        char says[40];
        snprintf(says, sizeof says, "found %s", found[i]);
        assert_fails(json_get_double(root, "p", keys[i], 0, &x, &err), LECO_INVALID, &err, keys[i], "a number", says);
        assert_fails(json_get_int(root, "p", keys[i], 0, 0, 9, &n, &err), LECO_INVALID, &err, keys[i], says);
        assert_fails(json_get_bool(root, "p", keys[i], false, &b, &err), LECO_INVALID, &err, keys[i], says);
    }
    int64_t n;
    const char *s;
    assert_works(json_get_int(root, "p", "n", 0, 0, 9, &n, &err), &err);
    assert_true(n == 3);
    assert_works(json_get_string(root, "p", "text", "", &s, &err), &err);
    assert_string_equal(s, "a \\\": NaN, -Infinity");
    assert_int_equal(json_array_size(json_object_get(root, "list")), 3);
    json_decref(root);

    char text[32];
    root = parse(" NaN ");
    assert_string_equal(json_describe(root, text, sizeof text), "NaN");
    json_decref(root);
}

/* Positions are those of the file as it is. */
static void places_behind_pythons_words(void **state)
{
    (void)state;
    json_t *root;
    static const char text[] = "{\"a\": [-Infinity, 1e40000, NaN],\"z\":{ }, \"b\": oops}";
    assert_fails(json_read_file(put(text), &root, &err), LECO_FORMAT, &err, ":1:50:", "oops");
}

/* Numbers are told as the file has them, with no digits of the machine's. */
static void values_are_told_as_they_stand(void **state)
{
    (void)state;
    static const char *const values[] = {"1.4142", "0.1",  "1e-5", "0.00085",  "-7",           "0.30000000000000004",
                                         "1.0",    "true", "null", "\"silu\"", "[0.1,1.4142]", "{\"a\":0.7}"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[100];
        json_t *value = parse(values[i]);
        assert_string_equal(json_describe(value, text, sizeof text), values[i]);
        json_decref(value);
    }
    char text[32];
    assert_string_equal(json_number(1.4142, text), "1.4142");
    assert_string_equal(json_number(0.1 + 0.2, text), "0.30000000000000004");
    json_t *list = parse("[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]");
    assert_string_equal(json_describe(list, text, sizeof text), "a list");
    json_decref(list);
    json_t *root = parse("{\"x\": 1.4142}");
    int64_t n;
    assert_fails(json_get_int(root, "p", "x", 0, 0, 9, &n, &err), LECO_INVALID, &err, "found 1.4142");
    assert_null(strstr(err.message, "1.41420"));
    assert_null(strstr(err.message, "1.41419"));
    json_decref(root);
}

/* transformers writes model_max_length as 10^30 where there is no limit. Such a number changes no other one. */
static void huge_numbers_are_told_by_their_own_keys(void **state)
{
    (void)state;
    json_t *root =
        parse("{\"most\": 1000000000000000019884624838656, \"n\": 3, \"x\": [1e400, -99999999999999999999, 7],"
              "\"max\": 9223372036854775807, \"over\": -1.5E+999 }");
    double x;
    assert_works(json_get_double(root, "p", "most", 0, &x, &err), &err);
    assert_true(x == 1e30);
    int64_t n;
    assert_fails(json_get_int(root, "p", "most", 1, 0, INT64_MAX, &n, &err), LECO_INVALID, &err, "most", "whole",
                 "found 1000000000000000019884624838656");
    assert_fails(json_get_double(root, "p", "over", 0, &x, &err), LECO_INVALID, &err, "over", "found -1.5E+999");
    const char *s;
    assert_fails(json_get_string(root, "p", "over", 0, &s, &err), LECO_INVALID, &err, "a string", "found -1.5E+999");
    assert_works(json_get_int(root, "p", "n", 1, 0, INT64_MAX, &n, &err), &err);
    assert_true(n == 3);
    assert_works(json_get_int(root, "p", "max", 1, 0, INT64_MAX, &n, &err), &err);
    assert_true(n == INT64_MAX);
    char text[64];
    assert_string_equal(json_describe(json_object_get(root, "x"), text, sizeof text),
                        "[1e400,-99999999999999999999,7]");
    assert_true(json_integer_value(json_array_get(json_object_get(root, "x"), 2)) == 7);
    json_decref(root);
    char file[1100], ones[1001];
    memset(ones, '1', 1000);
    ones[1000] = '\0';
    snprintf(file, sizeof file, "{\"n\": %s, \"m\": 5}", ones);
    root = parse(file);
    assert_fails(json_get_int(root, "p", "n", 1, 0, 9, &n, &err), LECO_INVALID, &err, "a number of many digits");
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
        cmocka_unit_test(syntax_errors_have_a_place),
        cmocka_unit_test(huge_numbers_are_told_by_their_own_keys),
        cmocka_unit_test(values_are_typed),
        cmocka_unit_test(absent_and_null_keys_fall_back),
        cmocka_unit_test(wrong_values_are_named),
        cmocka_unit_test(pythons_words_are_no_numbers),
        cmocka_unit_test(places_behind_pythons_words),
        cmocka_unit_test(values_are_told_as_they_stand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
