/* Which pairs have nothing to learn, and what is said of them. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/tokenizer.h"
#include "train/modes.h"
#include "train/still.h"

static leco_error err;
static char logged[2048];
static int log_count;

static void keep_log(void *user, log_level level, const char *message)
{
    (void)user;
    assert_int_equal(level, LOG_WARNING);
    snprintf(logged, sizeof logged, "%s", message);
    log_count++;
}

/* As a config has it where only target, action and guidance_scale are given. */
static train_prompt pair(const char *target, const train_mode *action, double scale)
{
    return (train_prompt){.place = "x.yaml:3",
                          .target = target,
                          .positive = target,
                          .neutral = "",
                          .unconditional = "",
                          .action = action,
                          .guidance_scale = scale,
                          .multiplier = 1,
                          .weight = 1};
}

static leco_status check_with(const tokenizer *tokens, train_prompt *prompts, size_t count)
{
    const train_config c = {.prompt = prompts, .prompt_count = count};
    log_count = 0;
    logged[0] = '\0';
    return still_check(&c, tokens, &err);
}

static leco_status check(train_prompt *prompts, size_t count)
{
    return check_with(NULL, prompts, count);
}

static void enhancing_at_1_without_a_neutral_is_refused(void **state)
{
    (void)state;
    train_prompt p = pair("red", &mode_enhance, 1);
    assert_fails(check(&p, 1), LECO_INVALID, &err, "x.yaml:3", "\"red\"", "nothing would be trained", "guidance_scale",
                 "neutral", "positive");
    p.guidance_scale = 2;
    assert_works(check(&p, 1), &err);
    p = pair("red", &mode_enhance, 1);
    p.neutral = "a star";
    assert_works(check(&p, 1), &err);
    p = pair("a star", &mode_enhance, 1);
    p.positive = "a red star";
    assert_works(check(&p, 1), &err);
    p = pair("red", &mode_erase, 1);
    assert_works(check(&p, 1), &err);
    assert_int_equal(log_count, 0);
}

/* The same emptiness in other words. */
static void the_terms_decide_not_the_action(void **state)
{
    (void)state;
    train_prompt p = pair("red", &mode_erase, -1); /* enhance at 1 */
    assert_fails(check(&p, 1), LECO_INVALID, &err, "guidance_scale");
    p = pair("red", &mode_erase, 3);
    p.unconditional = "red";
    p.neutral = "red";
    assert_fails(check(&p, 1), LECO_INVALID, &err, "the same text", "another positive");
    p = pair("", &mode_erase, 1); /* "" - (red - "") with neutral red: leaves "", the target */
    p.positive = p.neutral = "red";
    assert_fails(check(&p, 1), LECO_INVALID, &err, "nothing would be trained");
    train_prompt still[] = {pair("red", &mode_erase, 0), pair("blue", &mode_erase, 0)};
    still[0].neutral = "red";
    still[1].neutral = "blue";
    assert_fails(check(still, 2), LECO_INVALID, &err, "guidance_scale of 0", "all other entries");
    still[1].neutral = ""; /* pulled to what is drawn without a prompt */
    assert_works(check(still, 2), &err);
}

static void what_is_switched_off_trains_nothing(void **state)
{
    (void)state;
    train_prompt p = pair("red", &mode_erase, 1);
    p.weight = 0;
    assert_fails(check(&p, 1), LECO_INVALID, &err, "weight is 0");
    p = pair("red", &mode_erase, 1);
    p.multiplier = 0;
    assert_fails(check(&p, 1), LECO_INVALID, &err, "multiplier is 0");
}

static void one_among_others_is_a_warning_unless_meant_so(void **state)
{
    (void)state;
    train_prompt three[] = {pair("red", &mode_erase, 1), pair("a star", &mode_enhance, 1),
                            pair("a moon", &mode_erase, 0)};
    three[1].place = "x.yaml:7";
    three[2].neutral = "a moon";
    assert_works(check(three, 3), &err);
    assert_int_equal(log_count, 1);
    assert_non_null(strstr(logged, "x.yaml:7"));
    assert_non_null(strstr(logged, "a star"));
    three[1] = three[2];
    assert_works(check(three, 3), &err);
    assert_int_equal(log_count, 0);
}

/* The text encoder sees tokens, not letters. */
static void other_spellings_of_a_prompt_are_the_prompt(void **state)
{
    (void)state;
    tokenizer *tokens;
    assert_works(tokenizer_open(LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like/tokenizer", &tokens, &err), &err);
    train_prompt p = pair("red", &mode_enhance, 1);
    p.positive = "Red ";
    assert_works(check(&p, 1), &err);
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "x.yaml:3", "\"red\"", "nothing would be trained",
                 "same tokens");
    p.neutral = " ";
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "same tokens");
    p = pair("a star", &mode_erase, 3);
    p.positive = "Red";
    p.unconditional = "red ";
    p.neutral = "a  star";
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "positive and unconditional are the same text");
    p.positive = "blue";
    assert_works(check_with(tokens, &p, 1), &err);
    train_prompt two[] = {pair("red", &mode_erase, 1), pair("blue", &mode_enhance, 1)};
    two[1].positive = "BLUE";
    assert_works(check_with(tokens, two, 2), &err);
    assert_int_equal(log_count, 1);
    assert_non_null(strstr(logged, "same tokens"));
    p.positive = "\xff";
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "x.yaml:3", "UTF-8");
    tokenizer_close(tokens);
}

/* "a {word0|word1|...} <after>": much longer than what the model reads of a prompt. */
static char *many(int words, const char *after)
{
    const size_t size = (size_t)words * 10 + 64;
    char *text = calloc(size, 1), *end = text;
    assert_non_null(text);
    for (int i = 0; i < words; i++) end += sprintf(end, i == 0 ? "a {word%d" : "|word%d", i);
    sprintf(end, "} %s", after);
    return text;
}

/* What counts is what wildcards become, not how they are written. */
static void wildcards_are_drawn_before_texts_are_compared(void **state)
{
    (void)state;
    tokenizer *tokens;
    assert_works(tokenizer_open(LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like/tokenizer", &tokens, &err), &err);
    char *red = many(40, "red"), *blue = many(40, "blue"), *file = many(9000, "red");
    train_prompt p = pair(red, &mode_erase, 0);
    p.neutral = blue;
    assert_works(check_with(tokens, &p, 1), &err);
    p.neutral = red; /* the same choices hold in both */
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "guidance_scale of 0", "\"a word");
    train_prompt two[] = {pair("red", &mode_erase, 1), pair(blue, &mode_enhance, 1)};
    two[1].neutral = red;
    two[1].positive = red;
    assert_works(check_with(tokens, two, 2), &err);
    assert_int_equal(log_count, 0);
    p = pair(file, &mode_erase, 1); /* all of it is longer than a prompt may be */
    assert_works(check_with(tokens, &p, 1), &err);
    p = pair("{red|blue}", &mode_erase, 0);
    p.neutral = "red"; /* still in half of the drawings */
    assert_works(check_with(tokens, &p, 1), &err);
    p.neutral = "{Red|BLUE}"; /* other groups, which by chance choose the same */
    assert_works(check_with(tokens, &p, 1), &err);
    p.neutral = "{red|red}";
    p.target = "red";
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "nothing would be trained");
    p = pair("red", &mode_enhance, 1);
    p.attributes = "{small|large}"; /* before all texts */
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "nothing would be trained");
    p.neutral = "blue";
    assert_works(check_with(tokens, &p, 1), &err);
    train_term spelt[] = {{.weight = 1, .prompt = "a {red|blue} star"}, {.weight = 2, .prompt = "a {red|blue} moon"}};
    p = pair("a {red|blue} star", &mode_terms, 1);
    p.term = spelt;
    p.term_count = 1;
    assert_fails(check_with(tokens, &p, 1), LECO_INVALID, &err, "other terms");
    p.term_count = 2;
    assert_works(check_with(tokens, &p, 1), &err);
    free(red);
    free(blue);
    free(file);
    tokenizer_close(tokens);
}

/* 1 + 1e-9 is 1 in float32, and a term of 1e-9 is lost in the sum. */
static void what_float32_loses_trains_nothing(void **state)
{
    (void)state;
    train_prompt p = pair("red", &mode_erase, 1e-9);
    p.neutral = "red";
    assert_fails(check(&p, 1), LECO_INVALID, &err, "larger guidance_scale");
    p.guidance_scale = 1e-3;
    assert_works(check(&p, 1), &err);
    p.multiplier = 1e-40;
    assert_fails(check(&p, 1), LECO_INVALID, &err, "nothing would be trained");
}

static int start(void **state)
{
    (void)state;
    log_set_callback(keep_log, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enhancing_at_1_without_a_neutral_is_refused),
        cmocka_unit_test(the_terms_decide_not_the_action),
        cmocka_unit_test(what_is_switched_off_trains_nothing),
        cmocka_unit_test(other_spellings_of_a_prompt_are_the_prompt),
        cmocka_unit_test(wildcards_are_drawn_before_texts_are_compared),
        cmocka_unit_test(what_float32_loses_trains_nothing),
        cmocka_unit_test(one_among_others_is_a_warning_unless_meant_so),
    };
    return cmocka_run_group_tests_name("unit/terms_check", tests, start, NULL);
}
