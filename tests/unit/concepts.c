/* Entries that say a concept and nothing else: what leco says in their place. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "solve/concepts.h"
#include "solve/start.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"

static leco_error err;

static leco_status read_and_complete(const char *prompts, const char *rest, train_config *c)
{
    char text[8000];
    snprintf(text, sizeof text, "pretrained_model: {name_or_path: \"" SHAPES "\"}\nprompts: %s\n%s", prompts, rest);
    test_write(test_path("train.yaml"), text, strlen(text));
    LECO_TRY(train_config_read(test_path("train.yaml"), NULL, 0, c, &err));
    leco_status status = concepts_complete(c, "cpu", &err);
    if (status != LECO_OK) train_config_free(c);
    return status;
}

static train_config complete(const char *prompts, const char *rest)
{
    train_config c;
    assert_works(read_and_complete(prompts, rest, &c), &err);
    return c;
}

/* Each text with the concept has the nearest word in its place, and another that stays. */
static void a_word_gets_texts_and_what_comes_in_its_place(void **state)
{
    (void)state;
    train_config c = complete("[{target: red}]", "");
    assert_true(c.prompt_count > 4);
    for (size_t i = 0; i < c.prompt_count; i++) {
        const train_prompt *p = &c.prompt[i];
        const char *at = strstr(p->target, "red");
        assert_non_null(at);
        const bool article = at - p->target >= 2 && strncmp(at - 2, "a ", 2) == 0;
        char wanted[1000];
        snprintf(wanted, sizeof wanted, "%.*s%sorange%s", (int)(at - p->target - article), p->target,
                 article ? "n " : "", at + strlen("red"));
        assert_string_equal(p->neutral, wanted);
        assert_string_equal(p->positive, p->target);
        assert_true(p->guidance_scale == 0 && p->tickets == c.prompt[0].tickets);
    }
    assert_string_equal(c.prompt[0].target, "a red {star|heart|circle|square|triangle|ring|cross|moon}");
    assert_true(strncmp(c.preserve.prompt, "{|{{an orange|a ", strlen("{|{{an orange|a ")) == 0); /* "" stays */
    assert_null(strstr(c.preserve.prompt, "red"));
    assert_true(c.preserve.batch_size == 1 && c.preserve.share == 0.5);
    assert_string_equal(c.network.start, "erase");
    assert_works(start_check(&c, &err), &err);
    train_config_free(&c);
}

/* Of two concepts neither comes in the other's place, nor stays; an entry is drawn as often as a concept with all its
 * texts. */
static void several_know_of_each_other(void **state)
{
    (void)state;
    train_config c = complete("[{target: red}, {target: a star, neutral: a heart}, {target: orange}]", "");
    int64_t tickets[3] = {0};
    for (size_t i = 0; i < c.prompt_count; i++) {
        const train_prompt *p = &c.prompt[i];
        const int which = strstr(p->target, "red") ? 0 : strstr(p->target, "orange") ? 2 : 1;
        tickets[which] += p->tickets;
        if (which == 1) assert_string_equal(p->neutral, "a heart");
        if (which == 0) assert_null(strstr(p->neutral, "orange"));
        if (which == 2) assert_null(strstr(p->neutral, "red"));
    }
    assert_true(tickets[0] == tickets[1] && tickets[2] == tickets[1]);
    assert_null(strstr(c.preserve.prompt, "red"));
    assert_null(strstr(c.preserve.prompt, "orange"));
    train_config_free(&c);

    /* Texts of one say nothing of the other. */
    c = complete("[{target: red}, {target: star}]", "");
    for (size_t i = 0; i < c.prompt_count; i++)
        assert_true(!strstr(c.prompt[i].target, "red") || !strstr(c.prompt[i].target, "star"));
    assert_null(strstr(c.preserve.prompt, "red"));
    assert_null(strstr(c.preserve.prompt, "star"));
    train_config_free(&c);
}

static void what_the_config_says_stays(void **state)
{
    (void)state;
    train_config c = complete("[{target: red, guidance_scale: 0.5}]", "preserve: [a blue star]\n"
                                                                      "network: {training_method: selfattn}\n");
    assert_string_equal(c.preserve.prompt, "{a blue star}");
    assert_null(c.network.start); /* nothing that such a start is for is trained */
    assert_true(c.prompt[0].guidance_scale == 0.5);
    train_config_free(&c);

    c = complete("[{target: red}]", "network: {init: zero}\n");
    assert_false(start_is_asked_for(&c));
    train_config_free(&c);

    c = complete("[{target: red, to: deep blue}]", "");
    assert_string_equal(c.prompt[1].neutral, "deep blue {star|heart|circle|square|triangle|ring|cross|moon}");
    train_config_free(&c);

    c = complete("[{target: 'star ', to: ' a heart'}]", "preserve: {share: 0.7}\n");
    assert_string_equal(c.prompt[0].neutral, "a heart");
    assert_true(c.preserve.share == 0.7 && c.preserve.prompt);
    train_config_free(&c);

    c = complete("[{target: a star, to: a heart}]", "");
    assert_string_equal(c.prompt[0].target, "a star");
    assert_string_equal(c.prompt[0].neutral, "a heart");
    train_config_free(&c);

    c = complete("[{target: red, to: [orange, deep blue]}]", "");
    assert_string_equal(c.prompt[1].neutral, "{orange|deep blue} {star|heart|circle|square|triangle|ring|cross|moon}");
    train_config_free(&c);

    c = complete("[{target: red, neutral: ''}]", "");
    assert_true(c.prompt_count == 1 && !c.preserve.prompt && !c.network.start && c.prompt[0].tickets == 0);
    train_config_free(&c);
}

static void a_hundred_words_fit(void **state)
{
    (void)state;
    char many[4000] = "[";
    for (int i = 0; i < 100; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%s{target: 'word %d', to: star}", i ? ", " : "", i);
    strcat(many, "]");
    train_config c = complete(many, "");
    assert_true(c.prompt_count >= 100);
    train_config_free(&c);
}

static void what_can_t_be_completed_is_said(void **state)
{
    (void)state;
    train_config c;
    char many[1200] = "[{target: '";
    for (int i = 0; i < 90; i++) strcat(many, "red star ");
    strcat(many, "'}]");
    assert_fails(read_and_complete(many, "", &c), LECO_INVALID, &err, "train.yaml:2", "prompts.target", "77 tokens");
    assert_fails(read_and_complete("[{target: flat}, {target: outline}, {target: striped}, {target: dotted}]", "", &c),
                 LECO_INVALID, &err, "train.yaml:2", "prompts.target", "no other style", "`to`");
    assert_fails(read_and_complete("[{target: red}, {target: a Red, to: blue}]", "", &c), LECO_INVALID, &err,
                 "train.yaml:2", "prompts.target", "given twice");
    assert_fails(read_and_complete("[{target: red}, {target: orange, to: red}]", "", &c), LECO_INVALID, &err,
                 "train.yaml:2", "prompts.to", "which is to go");
    assert_fails(read_and_complete("[{target: red, to: '{blue'}]", "", &c), LECO_INVALID, &err, "train.yaml:2",
                 "prompts.to", "never closed");
    assert_fails(read_and_complete("[{target: red, preserve: [blue]}]", "", &c), LECO_INVALID, &err, "train.yaml:2",
                 "prompts.preserve", "stands at the top of the config");
    assert_fails(read_and_complete("[{target: red, to: a red one}]", "", &c), LECO_INVALID, &err, "train.yaml:2",
                 "prompts.to", "which is to go");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_gets_texts_and_what_comes_in_its_place),
        cmocka_unit_test(several_know_of_each_other),
        cmocka_unit_test(what_the_config_says_stays),
        cmocka_unit_test(a_hundred_words_fit),
        cmocka_unit_test(what_can_t_be_completed_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
