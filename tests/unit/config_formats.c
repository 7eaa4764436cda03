/* Configs and prompts files as the trainers write them that people come from (docs/coming-from.md). */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "train/config.h"
#include "train/modes.h"
#include "train/sizes.h"

static leco_error err;

static leco_status read_with(const char *head, const char *name, const char *prompts, train_config *out)
{
    static const char config[] = "config.yaml";
    char text[1024];
    snprintf(text, sizeof text, "pretrained_model: {name_or_path: model}\nprompts_file: %s\n%s", name, head);
    test_write(test_path(config), text, strlen(text));
    test_write(test_path(name), prompts, strlen(prompts));
    return train_config_read(test_path(config), NULL, 0, out, &err);
}

static void assert_entry(const train_prompt *p, const char *target, const char *positive, const char *unconditional,
                         const char *neutral, const char *action)
{
    assert_string_equal(p->target, target);
    assert_string_equal(p->positive, positive);
    assert_string_equal(p->unconditional, unconditional);
    assert_string_equal(p->neutral, neutral);
    assert_string_equal(p->action->name, action);
}

/* ---- sd-scripts ---- */

static void prompts_of_sd_scripts(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_with("", "prompts.toml",
                           "guidance_scale = 2.5\n"
                           "batch_size = 2\n"
                           "\n"
                           "[[prompts]]\n"
                           "target = \"van gogh\" # a comment\n"
                           "resolution = [64, 96]\n"
                           "\n"
                           "[[prompts]]\n"
                           "target = 'a \"blue\" cat'\n"
                           "positive = \"cat\"\n"
                           "unconditional = \"dog\"\n"
                           "neutral = \"animal\"\n"
                           "action = \"enhance\"\n"
                           "guidance_scale = 1\n"
                           "multiplier = -0.5\n"
                           "weight = 3\n"
                           "dynamic_crops = true\n",
                           &c),
                 &err);
    assert_int_equal(c.prompt_count, 2);
    assert_entry(&c.prompt[0], "van gogh", "van gogh", "", "", "erase");
    assert_true(c.prompt[0].guidance_scale == 2.5 && c.prompt[0].batch_size == 2);
    assert_true(c.prompt[0].height == 64 && c.prompt[0].width == 96);
    assert_entry(&c.prompt[1], "a \"blue\" cat", "cat", "dog", "animal", "enhance");
    assert_true(c.prompt[1].guidance_scale == 1 && c.prompt[1].multiplier == -0.5 && c.prompt[1].weight == 3);
    assert_true(c.prompt[1].height == 0); /* the model's own */
    assert_string_equal(strrchr(c.prompt[1].place, ':'), ":8");
    train_config_free(&c);
}

/* Both directions at both weights, for each resolution. */
static void sliders_of_sd_scripts(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_with("", "slider.TOML",
                           "guidance_scale = 3\n"
                           "neutrals = [\"\", \"photo\"]\n"
                           "[[targets]]\n"
                           "target_class = \"person\"\n"
                           "positive = \"smiling\"\n"
                           "negative = \"sad\"\n"
                           "multiplier = 1.5\n"
                           "weight = 2.0\n"
                           "resolutions = [[64, 96], [32, 32]]\n"
                           "[[targets]]\n"
                           "target_class = \"\"\n"
                           "negative = \"blurry\"\n"
                           "neutral = \"sharp\"\n",
                           &c),
                 &err);
    assert_int_equal(c.prompt_count, 2 * 4 + 2);
    static const char *const texts[4][3] = {{"sad", "smiling", "erase"},
                                            {"smiling", "sad", "enhance"},
                                            {"smiling", "sad", "erase"},
                                            {"sad", "smiling", "enhance"}};
    for (size_t i = 0; i < 8; i++) {
        const train_prompt *p = &c.prompt[i];
        assert_entry(p, "person", texts[i % 4][0], texts[i % 4][1], "{|photo}", texts[i % 4][2]);
        assert_true(p->multiplier == (i % 4 < 2 ? 1.5 : -1.5) && p->weight == 2 && p->guidance_scale == 3);
        assert_true(p->height == (i < 4 ? 64 : 32) && p->width == (i < 4 ? 96 : 32));
    }
    assert_entry(&c.prompt[8], "", "blurry", "", "sharp", "erase");
    assert_entry(&c.prompt[9], "", "blurry", "", "sharp", "enhance");
    assert_true(c.prompt[8].multiplier == 1 && c.prompt[9].multiplier == -1);
    train_config_free(&c);
    test_write(test_path("neutral.txt"), "a\nb\n", 4);
    assert_works(read_with("", "one.toml",
                           "[slider]\ntarget_class = \"x\"\npositive = \"y\"\nneutral_prompt_file = \"neutral.txt\"\n",
                           &c),
                 &err);
    assert_int_equal(c.prompt_count, 2);
    assert_entry(&c.prompt[0], "x", "y", "", "{a|b}", "enhance");
    assert_entry(&c.prompt[1], "x", "y", "", "{a|b}", "erase");
    train_config_free(&c);
}

/* Its earlier versions had the same in YAML. */
static void yaml_of_sd_scripts(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_with("", "p.yaml",
                           "targets:\n"
                           "  - target_class: \"\"\n"
                           "    positive: \"high detail\"\n"
                           "    negative: \"blurry\"\n"
                           "guidance_scale: 1.0\n"
                           "resolution: 512\n"
                           "neutral: \"\"\n",
                           &c),
                 &err);
    assert_int_equal(c.prompt_count, 4);
    assert_entry(&c.prompt[1], "", "high detail", "blurry", "", "enhance");
    assert_int_equal(c.prompt[3].width, 512);
    train_config_free(&c);
}

/* ---- p1atdev, Concept Sliders, laksjdjf ---- */

static void configs_of_concept_sliders(void **state)
{
    (void)state;
    static const char *const overrides[] = {"attributes=[\"male\",\"very \\\"old\\\"\"]"};
    const char *config = "prompts_file: p.yaml\n"
                         "pretrained_model: {name_or_path: m, v2: false, v_pred: false}\n"
                         "network: {type: lierla, rank: 4.0, alpha: 0, training_method: noxattn}\n"
                         "train: {precision: fp16, iterations: 1e3, lr: 0.0002, optimizer: AdamW, optimizer_args: ''}\n"
                         "save: {name: temp.safetensors, path: ./models, per_steps: 500, precision: bfloat16}\n"
                         "other: {use_xformers: true}\n";
    const char *prompts = "- target: male person\n"
                          "  positive: old\n"
                          "  unconditional: young\n"
                          "  action: enhance\n"
                          "  dynamic_resolution: false\n";
    test_write(test_path("config.yaml"), config, strlen(config));
    test_write(test_path("p.yaml"), prompts, strlen(prompts));
    train_config c;
    assert_works(train_config_read(test_path("config.yaml"), overrides, 1, &c, &err), &err);
    assert_string_equal(c.prompt[0].attributes, "{male|very \"old\"}");
    assert_int_equal(c.network.rank, 4);
    assert_true(c.network.alpha == 4.0f);
    assert_int_equal(c.iterations, 1000);
    assert_string_equal(c.precision, "float16");
    assert_string_equal(c.save_name, "temp");
    train_config_free(&c);
}

/* Erasing has a guidance_scale below 0 there. */
static void prompts_of_laksjdjf(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_with("", "p.yaml",
                           "- {target: van gogh, negative: photo, guidance_scale: -1}\n"
                           "- {target: cat, negative: dog, neutral: '', action: erase}\n"
                           "- {target: red, guidance_scale: -1}\n",
                           &c),
                 &err);
    assert_entry(&c.prompt[0], "van gogh", "van gogh", "photo", "", "enhance");
    assert_entry(&c.prompt[1], "cat", "cat", "dog", "", "erase");
    assert_entry(&c.prompt[2], "red", "red", "", "", "enhance"); /* as the others of its file */
    train_config_free(&c);
    assert_works(read_with("", "p.yaml", "- {target: red, guidance_scale: -1}\n", &c), &err);
    assert_entry(&c.prompt[0], "red", "red", "", "", "erase"); /* p1atdev's, which a warning tells */
    train_config_free(&c);
}

static void a_model_may_stand_alone(void **state)
{
    (void)state;
    static const char text[] = "pretrained_model: ../models/shapes\nprompts: [{target: red}]\n";
    test_write(test_path("config.yaml"), text, sizeof text - 1);
    train_config c;
    assert_works(train_config_read(test_path("config.yaml"), NULL, 0, &c, &err), &err);
    assert_string_equal(c.model_written, "../models/shapes");
    train_config_free(&c);
}

/* ---- mistakes ---- */

static void assert_refused(const char *name, const char *prompts, const char *said, const char *also)
{
    train_config c = {0};
    const leco_status status = read_with("", name, prompts, &c);
    assert_true(status == LECO_INVALID || status == LECO_FORMAT || status == LECO_IO);
    if (!strstr(err.message, said) || !strstr(err.message, also))
        fail_msg("\"%s\" doesn't say \"%s\" and \"%s\"", err.message, said, also);
}

static void mistakes_name_the_line(void **state)
{
    (void)state;
    assert_refused("p.toml", "[[prompts]]\ntarget = \"x\n", "p.toml:2: not valid TOML", "");
    assert_refused("p.toml", "[[prompts]]\n[ = \"x\"\n", "p.toml:2: not valid TOML", "'='");
    assert_refused("p.toml", "[[prompts]]\n\xe3\x80\x81 = \"x\"\n", "p.toml:2: not valid TOML", "\xe3\x80\x81");
    assert_refused("p.toml", "[[prompts]]\ntarget = \"x\"\ntarget = \"y\"\n", "p.toml:3", "target");
    assert_refused("p.toml", "[[prompts]]\ntarget = 1979-05-27\n", "p.toml:2", "a date or a time");
    assert_refused("p.toml", "a = 1\n", "p.toml:1", "holds no prompts");
    assert_refused("p.toml", "", "p.toml", "holds no prompts");
    assert_refused("p.toml", "prompts = []\n", "p.toml:1", "empty");
    assert_refused("p.toml", "target_class = \"x\"\npositive = \"y\"\naction = \"erase\"\n", "p.toml:3: action",
                   "target_class, positive and negative say it all");
    assert_refused("p.toml", "[[prompts]]\ntarget = \"x\"\n[[prompts]]\ntraget = \"y\"\n", "p.toml:4", "traget");
    assert_refused("p.toml", "foo = 2\n[[prompts]]\ntarget = \"x\"\n", "p.toml:1", "foo");
    assert_refused("p.toml", "[[prompts]]\ntarget = \"x\"\nguidance_scale = inf\n", "p.toml:3", "guidance_scale");
    assert_refused("p.toml", "[[prompts]]\ntarget = \"x\"\nbatch_size = 1.5\n", "p.toml:3", "whole number");
    assert_refused("p.toml", "[[targets]]\ntarget_class = \"x\"\n", "p.toml:1", "needs a positive, a negative");
    assert_refused("p.toml", "[[targets]]\ntarget_class = \"x\"\npositive = \"y\"\nmultiplier = 0\n", "multiplier",
                   "0");
    assert_refused("p.toml", "[[targets]]\ntarget_class = \"x\"\npositive = \"y\"\nneutrals = \"z\"\n", "p.toml:4",
                   "a list of texts");
    assert_refused("p.toml",
                   "[[targets]]\ntarget_class = \"x\"\npositive = \"y\"\nneutrals = [\"z\"]\nprompt_file = \"f\"\n",
                   "p.toml:5", "both given");
    assert_refused("p.toml", "[[targets]]\ntarget_class = \"x\"\npositive = \"y\"\nprompt_file = \"none.txt\"\n",
                   "neutral", "there is no");
    assert_refused("p.yaml", "- {target: x, negative: a, unconditional: b}\n", "p.yaml:1", "keep one");
    assert_refused("p.yaml", "targets: {a: b}\n", "targets", "expected a list");
}

/* What is freed by calls within calls must not take the stack. */
static void deep_keys_are_refused(void **state)
{
    (void)state;
    char *text = malloc(3000001);
    assert_non_null(text);
    for (size_t i = 0; i < 3000000; i += 2) memcpy(text + i, "a.", 2);
    memcpy(text + 2999990, "a.a = 1\n\0", 9);
    assert_refused("p.toml", text, "p.toml:1", "more than 1000 dots");
    memset(text, '[', 3000000);
    memcpy(text, "a = ", 4);
    text[3000000] = '\0';
    assert_refused("p.toml", text, "p.toml:1", "");
    free(text);
}

/* ---- dynamic_resolution ---- */

static void sizes_are_half_and_more(void **state)
{
    (void)state;
    const char *const compat[] = {"none", "p1atdev"};
    for (int k = 0; k < 2; k++) {
        char head[128];
        snprintf(head, sizeof head, "train: {timestep_compat: %s}\npreserve: [z]\n", compat[k]);
        train_config c;
        assert_works(read_with(head, "p.yaml",
                               "- {target: x, resolution: [512, 256], dynamic_resolution: true}\n- target: y\n", &c),
                     &err);
        arena *memory = arena_create();
        objective_list list;
        assert_works(objectives_of_config(&c, memory, &list, &err), &err);
        const model m = {.unet = {.level_count = 4, .sample_width = 64, .sample_height = 64},
                         .vae = {.level_count = 4}};
        assert_works(sizes_add(&c, &m, memory, &list, &err), &err);
        const int64_t high = k == 0 ? 5 : 4, wide = k == 0 ? 3 : 2, sizes = high * wide;
        assert_int_equal(list.count, sizes + 2);
        assert_int_equal(list.held, 1);
        double sum = 0;
        for (int64_t i = 0; i < sizes; i++) {
            assert_int_equal(list.item[i].size.height, 256 + i / wide * 64);
            assert_int_equal(list.item[i].size.width, 128 + i % wide * 64);
            sum += objectives_probability(&list, (size_t)i);
            assert_true(objectives_probability(&list, (size_t)i) == 0.25 / (double)sizes);
        }
        assert_true(sum > 0.2499 && sum < 0.2501);
        rng r;
        int64_t seen[32] = {0};
        rng_seed(&r, RNG_CPU, 5);
        for (int i = 0; i < 4000; i++) {
            size_t at = objectives_draw(&list, &r);
            assert_true(at == 0 || (int64_t)at >= sizes); /* the one before its other sizes */
            if (at == 0) at = objectives_draw_size(&list, at, &r);
            seen[at]++;
        }
        for (int64_t i = 0; i < sizes; i++) assert_in_range(seen[i], 1000 / sizes / 2, 1000 / sizes * 2);
        arena_destroy(memory);
        train_config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_sd_scripts),   cmocka_unit_test(sliders_of_sd_scripts),
        cmocka_unit_test(yaml_of_sd_scripts),      cmocka_unit_test(configs_of_concept_sliders),
        cmocka_unit_test(prompts_of_laksjdjf),     cmocka_unit_test(a_model_may_stand_alone),
        cmocka_unit_test(mistakes_name_the_line),  cmocka_unit_test(deep_keys_are_refused),
        cmocka_unit_test(sizes_are_half_and_more),
    };
    return cmocka_run_group_tests_name("unit/config_formats", tests, NULL, NULL);
}
