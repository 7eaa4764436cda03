/* Term lists: what erase and enhance predict, and what they needn't. */
#include "test_support.h"

#include <string.h>

#include "base/arena.h"
#include "train/modes.h"

static train_prompt pair(const train_mode *action, double scale)
{
    return (train_prompt){.target = "a red circle",
                          .positive = "red",
                          .neutral = "a circle",
                          .unconditional = "",
                          .action = action,
                          .guidance_scale = scale};
}

static arena *memory;
static leco_error err;

/* The terms of the only branch. */
static term_list terms_of_prompt(train_prompt *p)
{
    const train_config c = {.prompt = p, .prompt_count = 1};
    objective_list list;
    p->weight = p->multiplier = 1;
    assert_works(objectives_of_config(&c, memory, &list, &err), &err);
    assert_true(list.count == 1 && list.item[0].branch_count == 1);
    assert_string_equal(list.item[0].branches[0].prompt, p->target);
    return list.item[0].branches[0].terms;
}

static double weight_of(const term_list *list, const char *prompt)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i].prompt, prompt) == 0) return list->item[i].weight;
    return 0;
}

static void erase_and_enhance_are_mirror_images(void **state)
{
    (void)state;
    train_prompt p = pair(&mode_erase, 2);
    term_list list = terms_of_prompt(&p);
    assert_int_equal(list.count, 3);
    assert_true(weight_of(&list, "a circle") == 1 && weight_of(&list, "red") == -2 && weight_of(&list, "") == 2);
    p = pair(&mode_enhance, -2);
    term_list twin = terms_of_prompt(&p);
    assert_int_equal(twin.count, 3);
    for (size_t i = 0; i < 3; i++) assert_true(weight_of(&twin, list.item[i].prompt) == list.item[i].weight);
}

static void equal_prompts_are_predicted_once(void **state)
{
    (void)state;
    train_prompt p = pair(&mode_erase, 1.5);
    p.neutral = p.unconditional;
    term_list list = terms_of_prompt(&p);
    assert_int_equal(list.count, 2);
    assert_true(weight_of(&list, "") == 2.5 && weight_of(&list, "red") == -1.5);
}

static void what_cancels_is_not_predicted(void **state)
{
    (void)state;
    train_prompt p = pair(&mode_enhance, 1);
    p.neutral = p.unconditional; /* "" - "" + red */
    term_list list = terms_of_prompt(&p);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.item[0].prompt, "red");
    p = pair(&mode_erase, 0);
    list = terms_of_prompt(&p);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.item[0].prompt, "a circle");
}

/* Pictures at that scale with the target as negative prompt are those of neutral: (1 - g) target + g positive. */
static void a_negative_prompt_leaves_neutral(void **state)
{
    (void)state;
    const double g = 5;
    train_prompt p = pair(&mode_negative, g);
    term_list list = terms_of_prompt(&p);
    static const char *const prompts[] = {"red", "a circle", ""};
    const double left[] = {0, g, 1 - g};
    assert_int_equal(list.count, 3);
    for (size_t i = 0; i < 3; i++) {
        const double rest = (1 - g) * weight_of(&list, prompts[i]) + (i == 0 ? g : 0) - left[i];
        assert_true(rest < 1e-12 && rest > -1e-12);
    }
    const train_config c = {.prompt = &p, .prompt_count = 1};
    objective_list objectives;
    assert_works(objectives_of_config(&c, memory, &objectives, &err), &err);
    assert_string_equal(objectives.item[0].source.prompt, "red");
    assert_string_equal(objectives.item[0].source.unconditional, "a red circle");
    p.guidance_scale = 1;
    p.place = "here:1";
    assert_fails(objectives_of_config(&c, memory, &objectives, &err), LECO_INVALID, &err, "here:1", "guidance_scale");
}

static void models_keep_their_terms_apart(void **state)
{
    (void)state;
    term_list list = {0};
    terms_add(&list, 1, 0, "x");
    terms_add(&list, 1, 1, "x");
    terms_add(&list, 2, 1, "x");
    assert_int_equal(list.count, 2);
    assert_true(list.item[1].weight == 3);
    terms_add(&list, -1, 0, "x");
    assert_int_equal(list.count, 1);
    assert_int_equal(list.item[0].model, 1);
}

static void sums_are_weighted(void **state)
{
    (void)state;
    train_prompt p = pair(&mode_erase, 0.5);
    term_list list = terms_of_prompt(&p);
    const float predictions[] = {1, 2, 10, 20, 100, 200}; /* neutral, positive, unconditional */
    float target[2];
    terms_sum(&list, (const size_t[]){0, 1, 2}, predictions, target, 2);
    assert_true(target[0] == 1 - 5 + 50 && target[1] == 2 - 10 + 100);
    terms_sum(&list, (const size_t[]){2, 0, 0}, predictions, target, 2); /* elsewhere, and shared */
    assert_true(target[0] == 100 && target[1] == 200);
}

static int make_memory(void **state)
{
    (void)state;
    memory = arena_create();
    return memory ? 0 : -1;
}

static int free_memory(void **state)
{
    (void)state;
    arena_destroy(memory);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(erase_and_enhance_are_mirror_images), cmocka_unit_test(equal_prompts_are_predicted_once),
        cmocka_unit_test(what_cancels_is_not_predicted),       cmocka_unit_test(a_negative_prompt_leaves_neutral),
        cmocka_unit_test(models_keep_their_terms_apart),       cmocka_unit_test(sums_are_weighted),
    };
    return cmocka_run_group_tests_name("unit/terms", tests, make_memory, free_memory);
}
