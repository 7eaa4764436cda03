/* Training configs: what is read, and what every kind of mistake is told. */
#include "test_optimizer.h"
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/config.h"
#include "train/modes.h"

static leco_error err;

static const char minimal[] = "pretrained_model:\n  name_or_path: model\nprompts:\n  - target: red\n";

/* Reads a config made of `text`, with at most one override. */
static leco_status read_text(const char *text, const char *override, train_config *out)
{
    const char *path = test_path("config.yaml");
    test_write(path, text, strlen(text));
    return train_config_read(path, &override, override ? 1 : 0, out, &err);
}

#define assert_refused(text, override, status, ...)                                                                    \
    do {                                                                                                               \
        train_config refused_ = {0};                                                                                   \
        assert_fails(read_text(text, override, &refused_), status, &err, __VA_ARGS__);                                 \
        assert_null(refused_.memory);                                                                                  \
    } while (0)

static void defaults_are_leco_s(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_text(minimal, NULL, &c), &err);
    assert_false(c.as_p1atdev);
    assert_true(c.network.rank == 8 && c.network.alpha == 8 && c.lr == 3e-4);
    assert_true(c.rates.schedule == LR_COSINE && c.denoising_steps == 12 && c.samples_per_trajectory == 4);
    assert_true(c.timestep_jitter && c.iterations == 500);
    assert_true(c.prompt[0].concept && c.prompt[0].guidance_scale == 0);
    train_config_free(&c);
}

/* What the config says, and they don't go with. */
static void defaults_give_way(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_text(minimal, "train={timestep_compat: p1atdev}", &c), &err);
    assert_true(!c.timestep_jitter && c.samples_per_trajectory == 1);
    train_config_free(&c);
    assert_works(read_text(minimal, "train={timestep_spacing: linspace, max_denoising_steps: 3}", &c), &err);
    assert_true(!c.timestep_jitter && c.samples_per_trajectory == 3);
    train_config_free(&c);
    assert_works(read_text(minimal, "train={karras_sigmas: true, noise_scheduler: euler}", &c), &err);
    assert_true(!c.timestep_jitter && c.samples_per_trajectory == 4);
    train_config_free(&c);
    assert_works(read_text(minimal, "train={min_timestep: 700, max_timestep: 950}", &c), &err);
    assert_true(c.timestep_jitter && c.samples_per_trajectory == 3);
    train_config_free(&c);
    assert_works(read_text(minimal, "network={rank: 2}", &c), &err);
    assert_true(c.network.rank == 2 && c.network.alpha == 2);
    train_config_free(&c);
    assert_works(read_text(minimal, "network={type: embedding, token: \"<x>\"}", &c), &err);
    train_config_free(&c);
}

/* An entry that says anything of what is to come, or that trains something else, is as it says. */
static void only_a_concept_is_one(void **state)
{
    (void)state;
    static const struct {
        const char *prompts;
        bool concept;
    } cases[] = {
        {"[{target: red}]", true},
        {"[{target: vincent van gogh, guidance_scale: 1, weight: 2}]", true},
        {"[{target: red, neutral: ''}]", false},
        {"[{target: red, unconditional: blue}]", false},
        {"[{target: red, positive: red star}]", false},
        {"[{target: red, erase_from: a star}]", false},
        {"[{target: red, attributes: [old]}]", false},
        {"[{target: red, action: enhance}]", false},
        {"[{target: 'a {red|blue} star'}]", false},
        {"[{target: ' '}]", false},
        {"[{target: ''}]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        train_config c;
        char override[200];
        snprintf(override, sizeof override, "prompts=%s", cases[i].prompts);
        assert_works(read_text(minimal, override, &c), &err);
        assert_int_equal(c.prompt[0].concept, cases[i].concept);
        train_config_free(&c);
    }
}

static void with_a_prompts_file_they_are_p_s(void **state)
{
    (void)state;
    train_config c;
    test_write(test_path("words.yaml"), "- target: red\n", strlen("- target: red\n"));
    assert_works(read_text("pretrained_model:\n  name_or_path: model\nprompts_file: words.yaml\n", NULL, &c), &err);
    assert_true(c.as_p1atdev && !c.prompt[0].concept && c.rates.schedule == LR_CONSTANT && !c.timestep_jitter);
    assert_string_equal(c.model, test_path("model"));
    assert_string_equal(c.save_path, test_path("output"));
    assert_string_equal(c.save_name, "untitled");
    assert_int_equal(c.network.rank, 4);
    assert_true(c.network.alpha == 1 && c.network.layers.method == METHOD_FULL && c.lr == 1e-4);
    assert_int_equal(c.iterations, 500);
    assert_int_equal(c.denoising_steps, 50);
    assert_int_equal(c.samples_per_trajectory, 1);
    assert_int_equal(c.save_every, 200);
    assert_int_equal(c.save_precision, DTYPE_F32);
    assert_true(c.optimizer.kind == OPTIMIZER_ADAMW && *argument_of(&c.optimizer, "weight_decay") == 0.01);
    assert_true(c.trajectory_guidance_scale == 3 && c.v_prediction == -1 && !c.precision);
    const train_prompt *p = &c.prompt[0];
    assert_int_equal(c.prompt_count, 1);
    assert_string_equal(p->positive, "red");
    assert_string_equal(p->unconditional, "");
    assert_string_equal(p->neutral, "");
    assert_true(p->action == &mode_erase && p->guidance_scale == 1 && p->batch_size == 1 && p->width == 0);
    train_config_free(&c);
}

static const char p_config[] = "prompts_file: sub/prompts.yaml\n"
                               "pretrained_model:\n  name_or_path: /models/sd\n  v2: false\n  v_pred: no\n"
                               "network:\n  type: lierla\n  rank: 8\n  alpha: 2.0\n  training_method: xattn\n"
                               "train:\n  precision: bfloat16\n  noise_scheduler: ddim\n  iterations: 100\n"
                               "  lr: 1e-4\n  optimizer: AdamW\n  optimizer_args: \"weight_decay=0.5\"\n"
                               "  lr_scheduler: constant\n  max_denoising_steps: 30\n"
                               "save:\n  name: x\n  path: ./out\n  per_steps: 50\n  precision: float16\n"
                               "logging:\n  use_wandb: false\n  verbose: yes\n"
                               "other:\n  use_xformers: true\n";

static const char p_prompts[] = "- target: \"van gogh\"\n  positive: \"van gogh\"\n  unconditional: \"\"\n"
                                "  neutral: \"\"\n  action: \"erase\"\n  guidance_scale: 1.5\n  resolution: 512\n"
                                "  dynamic_resolution: false\n  batch_size: 2\n"
                                "- target: no\n  action: enhance\n  resolution: [64, 96]\n  weight: 0.5\n"
                                "  positive: ~\n";

static void p_s_files_are_read(void **state)
{
    (void)state;
    char folder[512];
    snprintf(folder, sizeof folder, "mkdir -p '%s'", test_path("sub"));
    assert_int_equal(system(folder), 0);
    test_write(test_path("sub/prompts.yaml"), p_prompts, strlen(p_prompts));
    train_config c;
    assert_works(read_text(p_config, NULL, &c), &err);
    assert_string_equal(c.model, "/models/sd");
    assert_string_equal(c.precision, "bfloat16");
    assert_true(c.v_prediction == 0 && c.network.rank == 8 && c.network.alpha == 2 &&
                c.network.layers.method == METHOD_XATTN);
    assert_true(c.lr == 1e-4 && *argument_of(&c.optimizer, "weight_decay") == 0.5 && c.verbose &&
                c.save_precision == DTYPE_F16);
    assert_int_equal(c.prompt_count, 2);
    assert_true(c.prompt[0].guidance_scale == 1.5 && c.prompt[0].batch_size == 2 && c.prompt[0].width == 512);
    assert_string_equal(c.prompt[1].target, "no"); /* a word, not a boolean */
    assert_string_equal(c.prompt[1].positive, "no");
    assert_true(c.prompt[1].action == &mode_enhance && c.prompt[1].weight == 0.5);
    assert_true(c.prompt[1].height == 64 && c.prompt[1].width == 96);
    train_config_free(&c);
}

static void overrides_change_and_add(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_text(minimal, "train.lr=2e-3", &c), &err);
    assert_true(c.lr == 2e-3);
    train_config_free(&c);
    assert_works(read_text(minimal, "prompts.0.action=enhance", &c), &err);
    assert_true(c.prompt[0].action == &mode_enhance);
    train_config_free(&c);
    assert_works(read_text(minimal, "prompts=[{target: a}, {target: b}]", &c), &err);
    assert_int_equal(c.prompt_count, 2);
    train_config_free(&c);
    assert_works(read_text(minimal, "prompts=[{target: \"\"}]", &c), &err); /* what is drawn without a prompt */
    assert_string_equal(c.prompt[0].target, "");
    train_config_free(&c);
    assert_works(read_text(minimal, "prompts.0.neutral=", &c), &err);
    assert_string_equal(c.prompt[0].neutral, "");
    train_config_free(&c);
}

static void overrides_are_checked_like_files(void **state)
{
    (void)state;
    assert_refused(minimal, "train.iteration=3", LECO_INVALID, "--set train.iteration=3", "train.iteration is not",
                   "\"iterations\"");
    assert_refused(minimal, "train.iterations=many", LECO_INVALID, "--set", "train.iterations", "many");
    assert_refused(minimal, "prompts.1.target=x", LECO_INVALID, "--set", "\"1\"");
    assert_refused(minimal, "train.lr.x=1", LECO_INVALID, "train.lr");
    assert_refused(minimal, "train", LECO_INVALID, "section.key=value");
    assert_refused(minimal, "=1", LECO_INVALID, "section.key=value");
    assert_refused(minimal, "train..lr=1", LECO_INVALID, "section.key=value");
    assert_refused(minimal, "train.lr.=1", LECO_INVALID, "section.key=value");
    assert_refused(minimal, "train.lr=[", LECO_FORMAT, "--set train.lr=[", "YAML");
}

/* `minimal` with a train section. */
static const char *with(const char *lines)
{
    static char text[1024];
    snprintf(text, sizeof text, "%s%s", minimal, lines);
    return text;
}

static void wrong_keys_name_file_line_and_neighbour(void **state)
{
    (void)state;
    assert_refused(with("trian:\n  lr: 1\n"), NULL, LECO_INVALID, "config.yaml:5", "trian", "\"train\"");
    assert_refused(with("train:\n  lr: 1\n  iterations: 5\n  max_denosing_steps: 10\n"), NULL, LECO_INVALID,
                   "config.yaml:8", "train.max_denosing_steps", "\"max_denoising_steps\"");
    assert_refused("prompts:\n- traget: x\n", NULL, LECO_INVALID, "config.yaml:2", "prompts.traget", "\"target\"");
    assert_refused(with("train:\n  zzzzzz: 1\n"), NULL, LECO_INVALID, "config.yaml:6", "not a known key");
    assert_refused(with("train:\n  lr: 1\n  lr: 2\n"), NULL, LECO_FORMAT, "config.yaml:7", "\"lr\"", "twice");
}

static void wrong_values_name_file_line_and_key(void **state)
{
    (void)state;
    assert_refused(with("train:\n  lr: fast\n"), NULL, LECO_INVALID, "config.yaml:6", "train.lr", "number", "fast");
    assert_refused(with("train:\n  lr: -1e-4\n"), NULL, LECO_INVALID, "config.yaml:6", "train.lr", "-1e-4");
    assert_refused(with("train:\n  lr: .nan\n"), NULL, LECO_INVALID, "train.lr");
    assert_refused(with("train:\n  lr: nan\n"), NULL, LECO_INVALID, "train.lr");
    assert_refused(with("train:\n  iterations: 0\n"), NULL, LECO_INVALID, "train.iterations", "found 0");
    assert_refused(with("train:\n  iterations: 1.5\n"), NULL, LECO_INVALID, "train.iterations", "whole number");
    assert_refused(with("train:\n  iterations: 99999999999999999999\n"), NULL, LECO_INVALID, "train.iterations");
    assert_refused(with("train:\n  timestep_jitter: 7\n"), NULL, LECO_INVALID, "train.timestep_jitter",
                   "true or false");
    assert_refused(with("train: 5\n"), NULL, LECO_INVALID, "config.yaml:5", "train", "single value");
    assert_refused(with("train:\n  lr: [1]\n"), NULL, LECO_INVALID, "train.lr", "found a list");
    assert_refused(with("train:\n  optimizer: admaw\n"), NULL, LECO_INVALID, "train.optimizer", "\"adamw\"");
    assert_refused(with("train:\n  optimizer_args: eps=x\n"), NULL, LECO_INVALID, "train.optimizer_args", "eps");
    assert_refused(with("network:\n  rank: 0\n"), NULL, LECO_INVALID, "network.rank");
    assert_refused(with("save:\n  name: a/b\n"), NULL, LECO_INVALID, "save.name", "a/b");
    assert_refused(with("train:\n  samples_per_trajectory: 11\n  max_denoising_steps: 10\n"), NULL, LECO_INVALID,
                   "samples_per_trajectory", "11", "10");
    assert_refused(with("train:\n  timestep_compat: p1atdev\n  timestep_jitter: true\n"), NULL, LECO_INVALID, "p1atdev",
                   "timestep_jitter");
}

static void what_p_has_and_leco_hasn_t_is_said_so(void **state)
{
    (void)state;
    assert_refused(with("train:\n  optimizer: DAdaptation\n"), NULL, LECO_UNSUPPORTED, "train.optimizer",
                   "DAdaptation");
    assert_refused(with("train:\n  lr_scheduler: inverse_sqrt\n"), NULL, LECO_UNSUPPORTED, "train.lr_scheduler",
                   "inverse_sqrt", "cosine_with_restarts");
    assert_refused(with("train:\n  loss: l1\n"), NULL, LECO_UNSUPPORTED, "train.loss", "l1", "smooth_l1");
    assert_refused(with("train:\n  noise_scheduler: k_dpmpp_2m\n"), NULL, LECO_INVALID, "train.noise_scheduler",
                   "dpmpp_2m", "euler_a");
}

static void prompts_are_required(void **state)
{
    (void)state;
    const char *model_only = "pretrained_model:\n  name_or_path: model\n";
    char text[512];
    assert_refused(model_only, NULL, LECO_INVALID, "no prompts");
    snprintf(text, sizeof text, "%sprompts: []\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "config.yaml:3", "empty");
    snprintf(text, sizeof text, "%sprompts: [{positive: x}]\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "config.yaml:3", "needs a target");
    snprintf(text, sizeof text, "%sprompts: [{target: }]\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "config.yaml:3", "needs a target");
    snprintf(text, sizeof text, "%sprompts: [x]\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "target: ...");
    snprintf(text, sizeof text, "%sprompts: x\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "expected a list");
    snprintf(text, sizeof text, "%sprompts: [{target: x}]\nprompts_file: y\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "both");
    snprintf(text, sizeof text, "%sprompts_file: nowhere.yaml\n", model_only);
    assert_refused(text, NULL, LECO_IO, "nowhere.yaml");
    test_write(test_path("empty.yaml"), "[]\n", 3);
    snprintf(text, sizeof text, "%sprompts_file: empty.yaml\n", model_only);
    assert_refused(text, NULL, LECO_INVALID, "empty.yaml:1", "empty");
    test_write(test_path("empty.yaml"), "", 0);
    assert_refused(text, NULL, LECO_INVALID, "empty.yaml", "empty");
}

static void files_that_are_no_configs(void **state)
{
    (void)state;
    train_config c = {0};
    assert_fails(train_config_read(test_path("missing.yaml"), NULL, 0, &c, &err), LECO_IO, &err, "missing.yaml");
    assert_refused("", NULL, LECO_INVALID, "no prompts");
    assert_refused("- a\n- b\n", NULL, LECO_INVALID, "config.yaml:1", "list");
    assert_refused("a: [\n", NULL, LECO_FORMAT, "config.yaml:", "YAML");
    assert_refused("a: b\n\tc: d\n", NULL, LECO_FORMAT, "config.yaml:2", "YAML");
    assert_refused("? [1]\n: 2\n", NULL, LECO_FORMAT, "key");
    assert_refused("a: &a [*a]\n", NULL, LECO_FORMAT, "nested too deeply");
    assert_refused("prompts: [{target: x}]\n", NULL, LECO_INVALID, "name_or_path");
    char bomb[2048] = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
    for (int i = 1; i < 12; i++) {
        size_t used = strlen(bomb);
        snprintf(bomb + used, sizeof bomb - used, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    }
    assert_refused(bomb, NULL, LECO_FORMAT, "too many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_leco_s),
        cmocka_unit_test(defaults_give_way),
        cmocka_unit_test(only_a_concept_is_one),
        cmocka_unit_test(with_a_prompts_file_they_are_p_s),
        cmocka_unit_test(p_s_files_are_read),
        cmocka_unit_test(overrides_change_and_add),
        cmocka_unit_test(overrides_are_checked_like_files),
        cmocka_unit_test(wrong_keys_name_file_line_and_neighbour),
        cmocka_unit_test(wrong_values_name_file_line_and_key),
        cmocka_unit_test(what_p_has_and_leco_hasn_t_is_said_so),
        cmocka_unit_test(prompts_are_required),
        cmocka_unit_test(files_that_are_no_configs),
    };
    return cmocka_run_group_tests_name("unit/config", tests, NULL, NULL);
}
