/* Which pairs have nothing to learn, and what is said of them. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "train/modes.h"

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
static train_prompt pair(const char *target, prompt_action action, double scale)
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

static leco_status check(train_prompt *prompts, size_t count)
{
    const train_config c = {.prompt = prompts, .prompt_count = count};
    log_count = 0;
    logged[0] = '\0';
    objective_list list;
    arena *memory = arena_create();
    assert_non_null(memory);
    leco_status status = objectives_of_config(&c, memory, &list, &err);
    arena_destroy(memory);
    return status;
}

static void enhancing_at_1_without_a_neutral_is_refused(void **state)
{
    (void)state;
    train_prompt p = pair("red", ACTION_ENHANCE, 1);
    assert_fails(check(&p, 1), LECO_INVALID, &err, "x.yaml:3", "\"red\"", "nothing would be trained", "guidance_scale",
                 "neutral", "positive");
    p.guidance_scale = 2;
    assert_works(check(&p, 1), &err);
    p = pair("red", ACTION_ENHANCE, 1);
    p.neutral = "a star";
    assert_works(check(&p, 1), &err);
    p = pair("a star", ACTION_ENHANCE, 1);
    p.positive = "a red star";
    assert_works(check(&p, 1), &err);
    p = pair("red", ACTION_ERASE, 1);
    assert_works(check(&p, 1), &err);
    assert_int_equal(log_count, 0);
}

/* The same emptiness in other words. */
static void the_terms_decide_not_the_action(void **state)
{
    (void)state;
    train_prompt p = pair("red", ACTION_ERASE, -1); /* enhance at 1 */
    assert_fails(check(&p, 1), LECO_INVALID, &err, "guidance_scale");
    p = pair("red", ACTION_ERASE, 3);
    p.unconditional = "red";
    p.neutral = "red";
    assert_fails(check(&p, 1), LECO_INVALID, &err, "the same text", "another positive");
    p = pair("", ACTION_ERASE, 1); /* "" - (red - "") with neutral red: leaves "", the target */
    p.positive = p.neutral = "red";
    assert_fails(check(&p, 1), LECO_INVALID, &err, "nothing would be trained");
    train_prompt still[] = {pair("red", ACTION_ERASE, 0), pair("blue", ACTION_ERASE, 0)};
    still[0].neutral = "red";
    still[1].neutral = "blue";
    assert_fails(check(still, 2), LECO_INVALID, &err, "guidance_scale of 0", "all other entries");
    still[1].neutral = ""; /* pulled to what is drawn without a prompt */
    assert_works(check(still, 2), &err);
}

static void what_is_switched_off_trains_nothing(void **state)
{
    (void)state;
    train_prompt p = pair("red", ACTION_ERASE, 1);
    p.weight = 0;
    assert_fails(check(&p, 1), LECO_INVALID, &err, "weight is 0");
    p = pair("red", ACTION_ERASE, 1);
    p.multiplier = 0;
    assert_fails(check(&p, 1), LECO_INVALID, &err, "multiplier is 0");
}

static void one_among_others_is_a_warning_unless_meant_so(void **state)
{
    (void)state;
    train_prompt three[] = {pair("red", ACTION_ERASE, 1), pair("a star", ACTION_ENHANCE, 1),
                            pair("a moon", ACTION_ERASE, 0)};
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
        cmocka_unit_test(one_among_others_is_a_warning_unless_meant_so),
    };
    return cmocka_run_group_tests_name("unit/terms_check", tests, start, NULL);
}
