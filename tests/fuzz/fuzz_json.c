#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "format/json.h"

const char *const fuzz_words[] = {
    "\"sample_size\":", "\"act_fn\":", "null", "true", "false", "1e400",    "-1",  "9223372036854775808",
    "\"\\ud800\"",      "\\u0000",     "[[",   "{\"",  "}",     "\"silu\"", "0.5", "//",
    "-Infinity",        "NaN",         NULL};

static const char *const keys[] = {"sample_size", "eps", "use_linear", "act_fn", "blocks", "none", "a"};

static void read_key(const json_t *root, const char *key)
{
    leco_error err = {0};
    int64_t number;
    double real;
    bool flag;
    const char *text;
    leco_status status = json_get_int(root, "config", key, 3, 1, 64, &number, &err);
    FUZZ_CHECK(status == LECO_OK ? number >= 1 && number <= 64 : status == LECO_INVALID && strstr(err.message, key));
    status = json_get_double(root, "config", key, 1, &real, &err);
    FUZZ_CHECK(status == LECO_OK ? real - real == 0 : status == LECO_INVALID); /* finite */
    status = json_get_bool(root, "config", key, true, &flag, &err);
    FUZZ_CHECK(status == LECO_OK || status == LECO_INVALID);
    status = json_get_string(root, "config", key, "x", &text, &err);
    FUZZ_CHECK(status == LECO_OK ? text != NULL : status == LECO_INVALID);
}

/* What was read, written and read again is the same. */
static void check_again(const json_t *root)
{
    leco_error err = {0};
    json_t *again;
    char *text = json_dumps(root, JSON_ENCODE_ANY | JSON_COMPACT);
    FUZZ_CHECK(text);
    FUZZ_CHECK(json_read_file(fuzz_path((const uint8_t *)text, strlen(text)), &again, &err) == LECO_OK);
    FUZZ_CHECK(json_equal(root, again));
    json_decref(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    json_t *root;
    leco_status status = json_read_file(fuzz_path(data, size), &root, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(root == NULL && status == LECO_FORMAT);
        return 0;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) read_key(root, keys[i]);
    check_again(root);
    json_decref(root);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "{}", "[]", "{\"sample_size\": 64, \"eps\": 1e-05, \"use_linear\": true, \"act_fn\": \"silu\", \"none\": null}",
        "{\"blocks\": [\"DownBlock2D\", {\"a\": [1, 2.5, -3]}], \"a\": \"\\u00e9\\ud83d\\ude00\\n\"}",
        "{\"eps\": -Infinity, \"blocks\": [NaN, Infinity], \"a\": \"NaN\"}"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
