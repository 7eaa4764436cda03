/* Another program's prompt syntax is said to be taken literally: once, whatever is drawn or trained. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "leco/leco.h"

#define FIXTURE LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;
static int told;
static char first[1024];

static void on_log(void *user, leco_log_level level, const char *message)
{
    (void)user;
    if (level != LECO_LOG_WARNING || !strstr(message, "taken literally")) return;
    if (told++ == 0) snprintf(first, sizeof first, "%s", message);
}

static void draw(const char *const *prompts, size_t count, const char *negative, const float *weights)
{
    const leco_model_options float32 = {.precision = "float32"};
    leco_model *model;
    leco_images images;
    leco_generate_options o = leco_generate_defaults();
    o.prompts = prompts;
    o.prompt_count = count;
    o.negative = negative;
    o.steps = 1;
    told = 0;
    assert_works(leco_model_open(FIXTURE, &float32, &model, &err), &err);
    if (weights) {
        assert_works(leco_model_add_lora(model, FIXTURE "/lora.safetensors", 1, &err), &err);
        assert_works(leco_grid(model, &o, weights, 2, &images, &err), &err);
    } else {
        assert_works(leco_generate(model, &o, &images, &err), &err);
    }
    leco_images_free(&images);
    leco_model_close(model);
}

static void drawing_says_it_once(void **state)
{
    (void)state;
    draw((const char *[]){"a (red:1.3) star", "a ((blue)) star"}, 2, "", NULL);
    assert_int_equal(told, 1);
    assert_non_null(strstr(first, "\"(red:1.3)\""));
    draw((const char *[]){"a star :)"}, 1, "blurry BREAK", NULL);
    assert_int_equal(told, 1);
    assert_non_null(strstr(first, "\"BREAK\""));
    draw((const char *[]){"a star, red: 5:30"}, 1, "a moon", NULL);
    assert_int_equal(told, 0);
}

/* The texts of pictures, as their parameters have them. */
static void alternatives_are_chosen_by_seed(void **state)
{
    (void)state;
    const leco_model_options float32 = {.precision = "float32"};
    leco_model *model;
    leco_images images, again;
    leco_generate_options o = leco_generate_defaults();
    o.prompts = (const char *const[]){"a {red|blue} {star|ring}, \\{3\\}", "a moon"};
    o.prompt_count = 2;
    o.images_per_prompt = 16;
    o.negative = "not {red|blue}";
    o.steps = 1;
    o.batch = 16;
    assert_works(leco_model_open(FIXTURE, &float32, &model, &err), &err);
    assert_works(leco_generate(model, &o, &images, &err), &err);
    unsigned seen = 0;
    for (size_t i = 0; i < 32; i++) {
        const char *text = images.parameters[i];
        const bool red = strstr(text, "Negative prompt: not red\n") != NULL;
        assert_true(red || strstr(text, "Negative prompt: not blue\n"));
        assert_memory_equal(text, images.prompts[i], strlen(images.prompts[i]));
        assert_int_equal(text[strlen(images.prompts[i])], '\n');
        if (i >= 16) {
            assert_true(strncmp(text, "a moon\n", 7) == 0);
            continue;
        }
        const bool star = strstr(text, "star") != NULL;
        char wanted[64];
        snprintf(wanted, sizeof wanted, "a %s %s, {3}\n", red ? "red" : "blue", star ? "star" : "ring");
        assert_true(strncmp(text, wanted, strlen(wanted)) == 0);
        seen |= 1u << (red + 2 * star);
    }
    assert_int_equal(seen, 15);
    o.seed = 5; /* the sixth picture is now the first */
    assert_works(leco_generate(model, &o, &again, &err), &err);
    assert_string_equal(again.parameters[0], images.parameters[5]);
    leco_images_free(&images);
    leco_images_free(&again);
    o.prompts = (const char *const[]){"a star", "a {red star"};
    assert_int_equal(leco_generate(model, &o, &images, &err), LECO_INVALID);
    assert_string_equal(err.message, "\"{red star\": this { is never closed; \\{ is a plain brace");
    leco_model_close(model);
}

static void grids_say_it_once(void **state)
{
    (void)state;
    const float weights[] = {0, 1};
    draw((const char *[]){"a star <lora:x:1>", "a star"}, 2, "", weights);
    assert_int_equal(told, 1);
    assert_non_null(strstr(first, "<lora:x:1>"));
}

static void training_says_it_once(void **state)
{
    (void)state;
    static const char config[] = "pretrained_model: {name_or_path: \"" FIXTURE "\"}\n"
                                 "prompts: [{target: 'a (red:1.3) star'}, {target: a moon AND a star}]\n";
    test_write(test_path("train.yaml"), config, strlen(config));
    const leco_train_options o = {.dry_run = true};
    leco_train_report report;
    told = 0;
    assert_works(leco_train(test_path("train.yaml"), &o, &report, &err), &err);
    leco_train_report_free(&report);
    assert_int_equal(told, 1);
    assert_non_null(strstr(first, "(red:1.3)"));
}

static void running_the_text_encoder_says_it(void **state)
{
    (void)state;
    leco_model *model;
    told = 0;
    assert_works(leco_model_open(FIXTURE, NULL, &model, &err), &err);
    assert_works(leco_run(model, "text-encoder", NULL, "a [red] star", test_path("out.safetensors"), &err), &err);
    leco_model_close(model);
    assert_int_equal(told, 1);
    assert_non_null(strstr(first, "\"[red]\""));
}

static void the_seed_is_the_command_s(void **state)
{
    (void)state;
    assert_int_equal(leco_generate_defaults().seed, 0);
}

static int start(void **state)
{
    (void)state;
    leco_set_log(on_log, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drawing_says_it_once),
        cmocka_unit_test(alternatives_are_chosen_by_seed),
        cmocka_unit_test(grids_say_it_once),
        cmocka_unit_test(training_says_it_once),
        cmocka_unit_test(running_the_text_encoder_says_it),
        cmocka_unit_test(the_seed_is_the_command_s),
    };
    return cmocka_run_group_tests_name("unit/api_prompts", tests, start, NULL);
}
