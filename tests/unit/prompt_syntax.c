/* What is syntax elsewhere, and what is only text. */
#include "test_support.h"

#include <string.h>

#include "model/prompt_syntax.h"

static void syntax_is_found_with_its_piece(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a (red:1.3) star", "(red:1.3)"},
        {"a ( red star : 0.8 ) on navy", "( red star : 0.8 )"},
        {"(a (big) star:1.2)", "(a (big) star:1.2)"},
        {"(one) and (two:.5)", "(one)"},
        {"a star (red) and a moon", "(red)"},
        {"a [red] star", "[red]"},
        {"a (a:b) star", "(a:b)"},
        {"a (red:1,3) star", "(red:1,3)"},
        {"a sign (open 9:30 am)", "(open 9:30 am)"},
        {"an unclosed (red:1.3 star", "(red:1.3 star"},
        {"an unclosed [a|b", "[a|b"},
        {"(: :) (a)", "(a)"},
        {"\xc3\xa9toile (\xe6\x98\x9f)", "(\xe6\x98\x9f)"},
        {"a __color__ star", "__color__"},
        {"__styles/old-masters__", "__styles/old-masters__"},
        {"((masterpiece)), a star", "((masterpiece))"},
        {"[[blurry]]", "[[blurry]]"},
        {"a [star:moon:0.5]", "[star:moon:0.5]"},
        {"a [cow|horse] in a field", "[cow|horse]"},
        {"saber \\(fate\\)", "\\("},
        {"a star BREAK a moon", "BREAK"},
        {"a star AND a moon", "AND"},
        {"BREAK", "BREAK"},
        {"a star <lora:style:0.7>", "<lora:style:0.7>"},
        {"<lyco:x>", "<lyco:x>"},
        {"<hypernet:x:1>", "<hypernet:x:1>"},
        {"a star, embedding:bad_hands, x", "embedding:bad_hands"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t length = 0;
        const char *piece = prompt_syntax_find(cases[i][0], &length);
        if (!piece) fail_msg("nothing found in \"%s\"", cases[i][0]);
        assert_int_equal(length, strlen(cases[i][1]));
        assert_memory_equal(piece, cases[i][1], length);
    }
}

static void ordinary_text_is_let_pass(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "a small red star on a navy background, flat style",
        "at 10:30, ratio 16:9",
        "BREAKFAST, a BRAND, SAND; and, break",
        "a <b> and a < c, 3 > 2",
        "closing ) and ] alone, (: :) (:",
        "the embedding: a word",
        "()[]()",
        "a star :) and a moon :(",
        "{red} or |blue|",
        "a snake_case__word__ and ____, __init",
        "\xc3\xa9toile",
        "back\\slash\\",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t length;
        const char *piece = prompt_syntax_find(texts[i], &length);
        if (piece) fail_msg("\"%.*s\" found in \"%s\"", (int)length, piece, texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(syntax_is_found_with_its_piece),
        cmocka_unit_test(ordinary_text_is_let_pass),
    };
    return cmocka_run_group_tests_name("unit/prompt_syntax", tests, NULL, NULL);
}
