/* Prompts that mean many: which texts they stand for, which choices they share, what is refused. */
#include "test_support.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "model/wildcards.h"

static leco_error err;
static arena *memory;

static int setup(void **state)
{
    (void)state;
    memory = arena_create();
    return memory ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    arena_destroy(memory);
    return 0;
}

/* All ways of a text, joined by '/'. */
static const char *all_of(const char *text)
{
    static char joined[1024];
    char one[256];
    wildcards w = {.memory = memory};
    wildcard_text t;
    assert_works(wildcards_read(&w, text, &t, &err), &err);
    *joined = '\0';
    size_t ways = 0;
    do {
        wildcards_expand(&w, &t, one);
        if (ways++ > 0) strcat(joined, "/");
        strcat(joined, one);
    } while (wildcards_next(&w, &t));
    assert_int_equal(ways, wildcards_ways(&w, &t));
    return joined;
}

static void stands_for_all_combinations(void **state)
{
    (void)state;
    assert_string_equal(all_of("a red star"), "a red star");
    assert_string_equal(all_of(""), "");
    assert_string_equal(all_of("{small|large} star"), "small star/large star");
    assert_string_equal(all_of("{a|b}{c|d}"), "ac/bc/ad/bd");
    assert_string_equal(all_of("x{ red|}"), "x red/x");
    assert_string_equal(all_of("{only}"), "only");
    assert_string_equal(all_of("{}"), "");
    assert_string_equal(all_of("{a|b} {a|b}"), "a a/b a/a b/b b");
}

static void groups_nest(void **state)
{
    (void)state;
    assert_string_equal(all_of("{light {red|blue}|gold}"), "light red/gold/light blue/gold");
    assert_string_equal(all_of("{{a|b}|{c|d}} {e}"), "a e/c e/b e/c e/a e/d e/b e/d e");
}

static void escapes_are_the_characters(void **state)
{
    (void)state;
    assert_string_equal(all_of("\\{a|b\\}"), "{a|b}");
    assert_string_equal(all_of("{a\\|b|\\}}"), "a|b/}");
    assert_string_equal(all_of("\\(a\\) | \\| {b}"), "\\(a\\) | \\| b");
    wildcards w = {.memory = memory};
    wildcard_text t;
    assert_works(wildcards_read(&w, "a | (b) \\| \\(", &t, &err), &err);
    assert_true(t.plain);
    assert_works(wildcards_read(&w, "\\{", &t, &err), &err);
    assert_false(t.plain);
    assert_int_equal(t.count, 0);
}

static void texts_of_a_pair_share_their_choices(void **state)
{
    (void)state;
    wildcards w = {.memory = memory};
    wildcard_text target, neutral, other;
    assert_works(wildcards_read(&w, "a {small|large} red {star|heart} {1|2} {1|2}", &target, &err), &err);
    assert_works(wildcards_read(&w, "{star|heart}, {small|large}, {1|2}, {1|2}", &neutral, &err), &err);
    assert_int_equal(w.count, 4);
    assert_works(wildcards_read(&w, "{large|small}", &other, &err), &err);
    assert_int_equal(w.count, 5);
    rng r;
    rng_seed(&r, RNG_CPU, 3);
    unsigned seen = 0;
    for (int i = 0; i < 400; i++) {
        char a[64], b[64], wanted[64], size[16], shape[16], first[4], second[4];
        wildcards_draw(&w, &r);
        wildcards_expand(&w, &target, a);
        wildcards_expand(&w, &neutral, b);
        assert_int_equal(sscanf(a, "a %15s red %15s %3s %3s", size, shape, first, second), 4);
        snprintf(wanted, sizeof wanted, "%s, %s, %s, %s", shape, size, first, second);
        assert_string_equal(b, wanted);
        seen |= 1u << ((*size == 's') + 2 * (*shape == 's') + 4 * (*first == '1') + 8 * (*second == '1'));
    }
    assert_int_equal(seen, 0xffff);
}

static void a_plain_text_draws_nothing_from_the_generator(void **state)
{
    (void)state;
    wildcards w = {.memory = memory};
    wildcard_text t;
    assert_works(wildcards_read(&w, "a {red} star", &t, &err), &err);
    rng r, same;
    rng_seed(&r, RNG_CPU, 1);
    same = r;
    wildcards_draw(&w, &r);
    assert_int_equal(rng_word(&r), rng_word(&same));
}

static void what_makes_no_sense_is_quoted(void **state)
{
    (void)state;
    const struct {
        const char *text, *says;
    } bad[] = {
        {"a {red|blue star", "\"{red|blue star\": this { is never closed; \\{ is a plain brace"},
        {"a {red|{blue} star", "\"{red|{blue} star\": this { is never closed; \\{ is a plain brace"},
        {"a red} star", "\"} star\": this } has no {; \\} is a plain brace"},
        {"{2$$a|b}", "\"{2$$a|b}\": \"$$\" in braces is not supported; write {a|b|c}"},
        {"{a|0.5::b}", "\"{a|0.5::b}\": \"::\" in braces is not supported; write {a|b|c}"},
        {"{1-2$$ and $$a|b}", "\"{1-2$$ and $$a|b}\": \"$$\" in braces is not supported; write {a|b|c}"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wildcards w = {.memory = memory};
        wildcard_text t;
        assert_int_equal(wildcards_read(&w, bad[i].text, &t, &err), LECO_INVALID);
        assert_string_equal(err.message, bad[i].says);
    }
    assert_string_equal(all_of("{1|2:3|x4::5}"), "1/2:3/x4::5");
}

static void many_and_deep_braces_are_bounded(void **state)
{
    (void)state;
    static char text[3 * WILDCARDS_MAX + 8];
    wildcards w = {.memory = memory};
    wildcard_text t;
    for (size_t i = 0; i < WILDCARDS_MAX; i++) memcpy(text + 2 * i, "{}", 3);
    assert_works(wildcards_read(&w, text, &t, &err), &err);
    strcat(text, "{}");
    assert_int_equal(wildcards_read(&w, text, &t, &err), LECO_INVALID);
    assert_non_null(strstr(err.message, "4097 braces in one text; at most 4096"));
    memset(text, '{', WILDCARDS_DEEPEST + 1);
    memset(text + WILDCARDS_DEEPEST + 1, '}', WILDCARDS_DEEPEST + 1);
    text[2 * WILDCARDS_DEEPEST + 2] = '\0';
    assert_int_equal(wildcards_read(&w, text, &t, &err), LECO_INVALID);
    assert_non_null(strstr(err.message, "nested more than 16 deep"));
    *text = '\0';
    for (int i = 0; i < 64; i++) strcat(text, "{a|b}");
    w = (wildcards){.memory = memory};
    assert_works(wildcards_read(&w, text, &t, &err), &err);
    assert_true(wildcards_ways(&w, &t) == SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_for_all_combinations),
        cmocka_unit_test(groups_nest),
        cmocka_unit_test(escapes_are_the_characters),
        cmocka_unit_test(texts_of_a_pair_share_their_choices),
        cmocka_unit_test(a_plain_text_draws_nothing_from_the_generator),
        cmocka_unit_test(what_makes_no_sense_is_quoted),
        cmocka_unit_test(many_and_deep_braces_are_bounded),
    };
    return cmocka_run_group_tests_name("unit/wildcards", tests, setup, teardown);
}
