/* What may go to a terminal, from files that nobody has checked. */
#include "test_support.h"

#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

static const struct {
    const char *text, *line, *lines; /* as one line; where several are fine */
} cases[] = {
    {"plain", "plain", "plain"},
    {"", "", ""},
    {"\x1b[2Jred\a\x7f", "?[2Jred??", "?[2Jred??"}, /* C0 and DEL */
    {"a\xc2\x9b"
     "31mb\xc2\x80\xc2\x9f",
     "a?31mb??", "a?31mb??"}, /* C1, as UTF-8 */
    {"a\x9b"
     "31mb",
     "a?31mb", "a?31mb"}, /* C1, as a byte */
    {"\xc2\xa0\xc3\xa9\xe2\x82\xac", "\xc2\xa0\xc3\xa9\xe2\x82\xac", "\xc2\xa0\xc3\xa9\xe2\x82\xac"},
    {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    {"\xe2\x80\xaegnp.exe\xe2\x80\xac", "?gnp.exe?", "?gnp.exe?"},                        /* U+202E, U+202C */
    {"\xe2\x81\xa6x\xe2\x81\xa9\xe2\x81\xa5", "?x?\xe2\x81\xa5", "?x?\xe2\x81\xa5"},      /* U+2066, 2069; not U+2065 */
    {"\xe2\x80\xa7\xe2\x80\xaf", "\xe2\x80\xa7\xe2\x80\xaf", "\xe2\x80\xa7\xe2\x80\xaf"}, /* U+2027, U+202F */
    {"caf\xe9 \xff\xfe", "caf? ??", "caf? ??"},                                           /* Latin-1; no UTF-8 at all */
    {"\xc0\x9b\xed\xa0\x80\xf4\x90\x80\x80", "?????????", "?????????"}, /* overlong, surrogate, too large */
    {"cut \xe2\x82", "cut ??", "cut ??"},
    {"a\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\x8e\xd8\x9c\xf3\xa0\x81\x81z", "a?????z", "a?????z"}, /* U+2028, ... U+E0041 */
    {"a\n\tb\r\nc\rd", "a  b? c?d", "a\n\tb\nc?d"},
};

static void texts_are_tidied(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int lines = 0; lines < 2; lines++) {
            char text[64];
            strcpy(text, cases[i].text);
            for (int again = 0; again < 2; again++) { /* the second time changes nothing */
                utf8_tidy(text, lines != 0);
                assert_string_equal(text, lines ? cases[i].lines : cases[i].line);
            }
        }
    }
}

static void json_says_controls_by_number(void **state)
{
    (void)state;
    static const struct {
        const char *json, *escaped;
    } texts[] = {
        {"{\n  \"a\": \"\\u001b\"\n}\n", "{\n  \"a\": \"\\u001b\"\n}\n"}, /* as it was */
        {"\"\x7f\xc2\x9b\xe2\x80\xae\"", "\"\\u007f\\u009b\\u202e\""},
        {"\"\xf3\xa0\x81\x81 \xc3\xa4\xf0\x9f\x98\x80\"", "\"\\udb40\\udc41 \xc3\xa4\xf0\x9f\x98\x80\""},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *out = utf8_escape_json(texts[i].json);
        assert_non_null(out);
        assert_string_equal(out, texts[i].escaped);
        mem_free(out);
    }
}

static void errors_are_tidy(void **state)
{
    (void)state;
    leco_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error_set(&err, LECO_FORMAT, "%s", cases[i].text);
        assert_string_equal(err.message, cases[i].line);
    }
}

static char logged[64];

static void keep(void *user, log_level level, const char *message)
{
    (void)user;
    (void)level;
    strcpy(logged, message);
}

static void the_log_is_tidy(void **state)
{
    (void)state;
    log_set_callback(keep, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        log_message(LOG_WARNING, "%s", cases[i].text);
        assert_string_equal(logged, cases[i].line);
    }
    log_set_callback(NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_tidied),
        cmocka_unit_test(json_says_controls_by_number),
        cmocka_unit_test(errors_are_tidy),
        cmocka_unit_test(the_log_is_tidy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
