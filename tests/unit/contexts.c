/* Texts with a place for a concept: drawing them from templates, and where the concept stands among a tokenizer's ids.
 */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "solve/contexts.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes/tokenizer"

static leco_error err;
static arena *memory;
static tokenizer *words, *other; /* of models/shapes, which knows its words; of sd1-like, to which most fall apart */

static int setup(void **state)
{
    (void)state;
    memory = arena_create();
    assert_works(tokenizer_open(SHAPES, &words, &err), &err);
    assert_works(tokenizer_open(FIXTURE("sd1-like/tokenizer"), &other, &err), &err);
    return memory ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_close(words);
    tokenizer_close(other);
    arena_destroy(memory);
    return 0;
}

/* ---- templates ---- */

static const char *text_of(const context_list *list, size_t index, const char *word)
{
    const char *text = context_text(&list->item[index], word, memory);
    assert_non_null(text);
    return text;
}

static void check_distinct(const context_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        for (size_t k = 0; k < i; k++) assert_string_not_equal(text_of(list, i, "_"), text_of(list, k, "_"));
}

static rng *seeded(void)
{
    static rng r;
    rng_seed(&r, RNG_CPU, 4);
    return &r;
}

static void a_template_without_choices_is_one_context(void **state)
{
    (void)state;
    context_list list;
    static const char *const one[] = {"a {} star"};
    assert_works(contexts_draw(one, 1, 32, seeded(), memory, &list, &err), &err);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.item[0].before, "a ");
    assert_string_equal(list.item[0].after, " star");
    static const char *const same[] = {"a {} star", "{}", "a {} star", "x{}y"};
    assert_works(contexts_draw(same, 4, 32, seeded(), memory, &list, &err), &err);
    assert_int_equal(list.count, 3);
    check_distinct(&list);
    assert_string_equal(text_of(&list, 1, "red"), "red");
    assert_string_equal(text_of(&list, 2, "red"), "xredy");
}

static void choices_are_drawn_until_all_are_there(void **state)
{
    (void)state;
    context_list list;
    static const char *const several[] = {"a {small|large} {} {star|heart|ring}", "{a|b} {}"};
    assert_works(contexts_draw(several, 2, 32, seeded(), memory, &list, &err), &err);
    assert_int_equal(list.count, 6 + 2);
    check_distinct(&list);
    for (size_t i = 0; i < list.count; i++) {
        char size[8], shape[8], first;
        const char *text = text_of(&list, i, "red");
        const bool one = sscanf(text, "a %7s red %7s", size, shape) == 2;
        if (one) assert_true(strcmp(size, "small") == 0 || strcmp(size, "large") == 0);
        if (one) assert_true(strstr("star heart ring", shape) != NULL);
        assert_true(one || (sscanf(text, "%c red", &first) == 1 && (first == 'a' || first == 'b')));
    }
    assert_works(contexts_draw(several, 2, 4, seeded(), memory, &list, &err), &err);
    assert_int_equal(list.count, 4);
    check_distinct(&list);
}

/* The first of two templates has many more ways than the second: both get their share. */
static void templates_take_turns(void **state)
{
    (void)state;
    context_list list;
    static const char *const two[] = {"{a|b|c|d} {e|f|g|h} {i|j|k|l} {}", "x {1|2|3|4|5} {}"};
    assert_works(contexts_draw(two, 2, 10, seeded(), memory, &list, &err), &err);
    size_t of_second = 0;
    for (size_t i = 0; i < list.count; i++) of_second += list.item[i].before[0] == 'x';
    assert_int_equal(list.count, 10);
    assert_true(of_second >= 3 && of_second <= 5);
}

static void the_seed_decides(void **state)
{
    (void)state;
    context_list one, two;
    static const char *const template[] = {"{a|b|c|d} {e|f|g|h} {i|j|k|l} {}"};
    assert_works(contexts_draw(template, 1, 20, seeded(), memory, &one, &err), &err);
    assert_works(contexts_draw(template, 1, 20, seeded(), memory, &two, &err), &err);
    for (size_t i = 0; i < 20; i++) assert_string_equal(text_of(&one, i, "w"), text_of(&two, i, "w"));
}

static void wrong_templates_are_quoted(void **state)
{
    (void)state;
    context_list list;
    static const struct {
        const char *template, *says;
    } wrong[] = {
        {"a star", "no {}"},
        {"", "no {}"},
        {"{} and {}", "more than one {}"},
        {"{}{}", "more than one {}"},
        {"a {small|large {}", "\"{small|large {}\": this { is never closed"},
        {"{} {2$$a|b}", "2$$"},
        {"a} {}", "}"},
        {"{a {}|b} star", "one of several choices"},
        {"{{}|b} star", "one of several choices"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *const templates[] = {"a {}", wrong[i].template};
        assert_fails(contexts_draw(templates, 2, 8, seeded(), memory, &list, &err), LECO_INVALID, &err, wrong[i].says);
    }
}

static void topics_give_texts_that_a_tokenizer_knows(void **state)
{
    (void)state;
    for (const topic *about = topics; about->name; about++) {
        context_list list;
        assert_works(contexts_of_topic(about, words, NULL, 32, seeded(), memory, &list, &err), &err);
        print_message("%s: %zu contexts, such as \"%s\"\n", about->name, list.count, text_of(&list, 0, "_"));
        assert_in_range(list.count, 1, 32);
        check_distinct(&list);
        for (size_t i = 0; i < list.count; i++) {
            placed_text place;
            const char *text = text_of(&list, i, "");
            size_t spaces = 0;
            for (const char *c = text; *c; c++) spaces += *c == ' ' || *c == ',';
            assert_null(strpbrk(text, "{}$|"));
            assert_works(text_place(text, words, memory, &place, &err), &err);
            assert_true(place.needed <= spaces + 3); /* a token a word, start and end */
        }
        const char **known;
        size_t count;
        assert_works(topic_words(about, words, memory, &known, &count, &err), &err);
        for (size_t i = 0; i < count; i++) assert_true(word_is_known(words, known[i]));
        assert_works(contexts_of_topic(about, other, NULL, 32, seeded(), memory, &list, &err), &err);
        assert_true(list.count >= 1);
    }
}

static void words_that_fall_apart_are_not_known(void **state)
{
    (void)state;
    assert_true(word_is_known(words, "red"));
    assert_true(word_is_known(words, ""));
    assert_false(word_is_known(words, "xylophone"));
    assert_false(word_is_known(words, "\xff"));
    assert_false(word_is_known(other, "katsushika hokusai"));
}

/* ---- places ---- */

/* The word's tokens as the tokenizer gives them for the word alone are at from, and nothing else is. */
static void check_place(const tokenizer *t, const char *before, const char *word, const char *after)
{
    const context at = {.before = before, .after = after};
    placed_text place, alone, first;
    assert_works(context_place(&at, word, t, memory, &place, &err), &err);
    assert_works(text_place(word, t, memory, &alone, &err), &err);
    assert_works(text_place(before, t, memory, &first, &err), &err);
    if (place.from != first.needed - 1 || place.length != alone.needed - 2)
        fail_msg("\"%s\" + \"%s\" + \"%s\": %zu tokens from %zu, expected %zu from %zu", before, word, after,
                 place.length, place.from, alone.needed - 2, first.needed - 1);
    assert_memory_equal(place.ids + place.from, alone.ids + 1, place.length * sizeof *place.ids);
    assert_false(place.cut);
    assert_int_equal(place.ids[0], tokenizer_start(t));
    assert_int_equal(place.ids[place.needed - 1], tokenizer_end(t));
}

static void words_are_found_wherever_they_stand(void **state)
{
    (void)state;
    static const char *const word[] = {"red", "", "xylophone", "van gogh", "star"}; /* of 0, 1 and several tokens */
    static const char *const text[][2] = {
        {"", ""},         {"", " star"},      {"a ", " star"},          {"a ", ""}, {"a ", ", flat style"},
        {"red ", " red"}, {"star ", " star"}, {"the red ", " red star"}};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        for (size_t k = 0; k < sizeof text / sizeof *text; k++) {
            check_place(words, text[k][0], word[i], text[k][1]);
            check_place(other, text[k][0], word[i], text[k][1]);
        }
}

static void some_of_these_words_are_several_tokens(void **state)
{
    (void)state;
    placed_text place;
    const context at = {.before = "a ", .after = " star"};
    assert_works(context_place(&at, "xylophone", words, memory, &place, &err), &err);
    assert_true(place.from == 2 && place.length > 2);
    assert_works(context_place(&at, "red", words, memory, &place, &err), &err);
    assert_true(place.from == 2 && place.length == 1 && place.needed == 5);
    assert_works(context_place(&at, "", words, memory, &place, &err), &err);
    assert_true(place.from == 2 && place.length == 0 && place.needed == 4);
    assert_string_equal(context_text(&at, "", memory), "a star");
}

static void long_texts_are_named_or_cut(void **state)
{
    (void)state;
    char text[400] = "";
    for (int i = 0; i < 90; i++) strcat(text, "red ");
    const context at = {.before = "a ", .after = " star"}, long_before = {.before = text, .after = ""},
                  long_after = {.before = "", .after = text};
    placed_text place;
    assert_fails(context_place(&at, text, words, memory, &place, &err), LECO_INVALID, &err, "\"a red red", "77 tokens");
    assert_fails(context_place(&long_before, "x", words, memory, &place, &err), LECO_INVALID, &err, "\"red red", "77");
    assert_fails(context_place(&long_after, "x", words, memory, &place, &err), LECO_INVALID, &err, "\"xred red", "77");
    assert_works(text_place(text, words, memory, &place, &err), &err);
    assert_true(place.cut && place.needed == 77 && place.ids[76] == tokenizer_end(words));
    text[75 * 4] = '\0'; /* as many as fit */
    assert_works(text_place(text, words, memory, &place, &err), &err);
    assert_true(!place.cut && place.needed == 77);
}

static bool mentions(const char *text, const char *word)
{
    placed_text in, what;
    assert_works(text_place(text, words, memory, &in, &err), &err);
    assert_works(text_place(word, words, memory, &what, &err), &err);
    return text_mentions(&in, &what);
}

static void mentions_are_whole_words_in_order(void **state)
{
    (void)state;
    assert_true(mentions("a red star", "red"));
    assert_true(mentions("red", "red"));
    assert_true(mentions("a RED star", "Red"));
    assert_true(mentions("star, red", "red"));
    assert_true(mentions("a small red star", "red star"));
    assert_true(mentions("a xylophone here", "xylophone"));
    assert_false(mentions("a red small star", "red star"));
    assert_false(mentions("a star", "red"));
    assert_false(mentions("", "red"));
    assert_false(mentions("red", "red star"));
    assert_false(mentions("a reddish star", "red"));
    assert_false(mentions("a red star", ""));
    assert_false(mentions("", ""));
}

static void articles_fit_what_follows_also_in_choices(void **state)
{
    (void)state;
    static const char *const text[][2] = {
        {"a orange star", "an orange star"},
        {"a {red|orange} star", "{a red|an orange} star"},
        {"a {{red|orange}|blue} star", "{{a red|an orange}|a blue} star"},
        {"a {deep {red|orange}|olive} star", "{a deep {red|orange}|an olive} star"},
        {"a {|orange} star", "{a |an orange} star"},
        {"a {red|} star", "{a red|a } star"},
        {"near a {orange} {red|icy} star and a elm", "near {an orange} {red|icy} star and an elm"},
        {"a {small|\\{odd\\}} star", "{a small|a \\{odd\\}} star"},
        {"{a|the} unicorn, grade a {x", "{a|the} unicorn, grade {a x"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++)
        assert_string_equal(wildcards_with_articles(text[i][0], memory), text[i][1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_without_choices_is_one_context),
        cmocka_unit_test(choices_are_drawn_until_all_are_there),
        cmocka_unit_test(templates_take_turns),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(wrong_templates_are_quoted),
        cmocka_unit_test(topics_give_texts_that_a_tokenizer_knows),
        cmocka_unit_test(words_that_fall_apart_are_not_known),
        cmocka_unit_test(words_are_found_wherever_they_stand),
        cmocka_unit_test(some_of_these_words_are_several_tokens),
        cmocka_unit_test(long_texts_are_named_or_cut),
        cmocka_unit_test(mentions_are_whole_words_in_order),
        cmocka_unit_test(articles_fit_what_follows_also_in_choices),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
