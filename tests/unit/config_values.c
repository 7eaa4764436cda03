/* Values of a config that could be computed with but make no sense: refused by file, line and key, before any work. */
#include "test_optimizer.h"
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "leco/leco.h"
#include "train/config.h"

static leco_error err;

/* Reads a config whose third line is "prompts: `prompts`". */
static leco_status read_prompts(const char *prompts, const char *override, train_config *out)
{
    char text[512];
    snprintf(text, sizeof text, "pretrained_model:\n  name_or_path: model\nprompts: %s\n", prompts);
    test_write(test_path("config.yaml"), text, strlen(text));
    return train_config_read(test_path("config.yaml"), &override, override ? 1 : 0, out, &err);
}

#define assert_refused(prompts, override, ...)                                                                         \
    do {                                                                                                               \
        train_config refused_ = {0};                                                                                   \
        assert_fails(read_prompts(prompts, override, &refused_), LECO_INVALID, &err, __VA_ARGS__);                     \
    } while (0)

static void what_would_train_nothing_is_refused(void **state)
{
    (void)state;
    assert_refused("\n- target: x\n  multiplier: 0\n", NULL, "config.yaml:5", "prompts.multiplier", "than 0");
    assert_refused("\n- target: x\n- target: y\n  multiplier: -0.0\n", NULL, "config.yaml:6", "prompts.multiplier");
    assert_refused("[{target: x, multiplier: 1e-300}]", NULL, "config.yaml:3", "prompts.multiplier"); /* 0 as a float */
    assert_refused("[{target: x, multiplier: 1e-40}]", NULL, "config.yaml:3", "prompts.multiplier", "in float32");
    assert_refused("[{target: x, multiplier: 1e-34}]", "network.alpha=1e-6", "prompts.multiplier", "in float32");
    assert_refused("[{target: x, weight: 1e-39}]", NULL, "config.yaml:3", "prompts.weight", "in float32");
    assert_refused("[{target: x}]", "prompts.0.multiplier=0", "--set prompts.0.multiplier=0", "prompts.multiplier");
    assert_refused("\n- target: x\n  weight: 0\n", NULL, "config.yaml:5", "prompts.weight", "leave it out");
    assert_refused("[{target: x, batch_size: 0}]", NULL, "config.yaml:3", "prompts.batch_size");
    assert_refused("[{target: x, resolution: 0}]", NULL, "config.yaml:3", "prompts.resolution");
    train_config c;
    assert_works(read_prompts("[{target: x, multiplier: -0.5, weight: 0.5, guidance_scale: 0}]", NULL, &c), &err);
    assert_true(c.prompt[0].multiplier == -0.5 && c.prompt[0].weight == 0.5 && c.prompt[0].guidance_scale == 0);
    train_config_free(&c);
}

static void what_is_no_list_is_told_so(void **state)
{
    (void)state;
    assert_refused("red", NULL, "config.yaml:3", "prompts: expected a list", "found \"red\"");
    assert_refused("5", NULL, "config.yaml:3", "expected a list", "found \"5\"");
    assert_refused("''", NULL, "config.yaml:3", "expected a list", "found \"\"");
    assert_refused("{traget: x}", NULL, "config.yaml:3", "holds no prompts", "prompts or targets");
    assert_refused("[]", NULL, "config.yaml:3", "empty");
    assert_refused("[red]", NULL, "config.yaml:3", "target: ...", "found \"red\"");
    assert_refused("[[red]]", NULL, "config.yaml:3", "target: ...", "found a list");
    assert_refused("[{target: x, resolution: [8, 8, 8]}]", NULL, "prompts.resolution", "[height, width]", "list of 3");
    assert_refused("[{target: x, resolution: {a: 1}}]", NULL, "prompts.resolution", "[height, width]", "found a map");
    test_write(test_path("prompts.yaml"), "red\n", 4);
    assert_refused("~", "prompts_file=prompts.yaml", "prompts.yaml:1", "expected a list", "found \"red\"");
}

static void optimizer_arguments_are_read_to_their_end(void **state)
{
    (void)state;
    /* An eps of 0 divides 0 by 0 in the first step: half of a LoRA has no gradient then. */
    assert_refused("[{target: x}]", "train.optimizer_args=eps=0", "optimizer_args", "eps", "found 0");
    assert_refused("[{target: x}]", "train.optimizer_args=eps=1e-300", "optimizer_args", "eps", "found 1e-300");
    assert_refused("[{target: x}]", "train.optimizer_args=weight_decay=-nan", "weight_decay", "found -nan");
    static const char *const betas[] = {"(0.9,0.99)x", "(0.9,0.99", "0.9,0.99)",  "(0.9,0.99]", "(0.9,0.99,1)",
                                        "(0.9)",       "",          "(0.9;0.99)", "(,)",        "[0.9,0.99"};
    for (size_t i = 0; i < sizeof betas / sizeof *betas; i++) {
        char override[100];
        snprintf(override, sizeof override, "train.optimizer_args=\"betas=%s\"", betas[i]);
        assert_refused("[{target: x}]", override, "optimizer_args", "betas");
    }
    train_config c;
    assert_works(read_prompts("[{target: x}]", "train.optimizer_args=\"betas=[0.5,0.75] eps=1e-30\"", &c), &err);
    assert_true(argument_of(&c.optimizer, "betas")[0] == 0.5 && argument_of(&c.optimizer, "betas")[1] == 0.75 &&
                *argument_of(&c.optimizer, "eps") == 1e-30);
    train_config_free(&c);
}

static void a_longest_gradient_is_a_length(void **state)
{
    (void)state;
    assert_refused("[{target: x}]", "train.max_grad_norm=-1", "train.max_grad_norm", "found -1");
    assert_refused("[{target: x}]", "train.max_grad_norm=inf", "train.max_grad_norm", "found \"inf\"");
    assert_refused("[{target: x}]", "train.max_grad_norm=none", "train.max_grad_norm", "found \"none\"");
    assert_refused("[{target: x}]", "train.max_grad_nrom=1", "max_grad_nrom", "\"max_grad_norm\"");
    train_config c;
    assert_works(read_prompts("[{target: x}]", NULL, &c), &err);
    assert_true(c.max_grad_norm == 0);
    train_config_free(&c);
    assert_works(read_prompts("[{target: x}]", "train.max_grad_norm=0.5", &c), &err);
    assert_true(c.max_grad_norm == 0.5);
    train_config_free(&c);
}

static void ways_to_learn_go_together(void **state)
{
    (void)state;
#define REFUSED(train, ...) assert_refused("[{target: x}]", "train={" train "}", __VA_ARGS__)
    REFUSED("lr_warmup_steps: 1.5", "train.lr_warmup_steps", "1.5", "whole");
    REFUSED("lr_warmup_steps: -1", "train.lr_warmup_steps", "found -1");
    REFUSED("lr_scheduler: constant_with_warmup", "train.lr_scheduler", "lr_warmup_steps");
    REFUSED("lr_scheduler: polynomial, lr: 1e-7", "train.lr_scheduler", "1e-07");
    REFUSED("lr_scheduler: cosine, lr_scheduler_power: 2", "train.lr_scheduler_power", "polynomial", "cosine");
    REFUSED("lr_scheduler: cosinus", "train.lr_scheduler", "\"cosine\"");
    REFUSED("huber_c: 0.2", "train.huber_c", "mse");
    REFUSED("huber_schedule: constant", "train.huber_schedule", "mse");
    REFUSED("loss: huber, huber_c: 0", "train.huber_c", "found 0");
    REFUSED("loss: huber, huber_c: 2", "train.huber_c", "at most 1", "constant");
    REFUSED("loss_type: huber", "train.loss_type", "\"loss\"");
    REFUSED("loss: huber, huber_delta: 1", "train.huber_delta", "\"huber_c\"");
    REFUSED("ema_decay: 1.5", "train.ema_decay", "found 1.5");
    REFUSED("ema_decay: 0.9, optimizer: adamwschedulefree", "train.ema_decay", "adamwschedulefree", "average");
    REFUSED("gradient_accumulation_steps: 0", "train.gradient_accumulation_steps", "found 0");
    REFUSED("prompts_per_step: 4", "train.prompts_per_step", "\"gradient_accumulation_steps\"");
    REFUSED("optimizer: prodgy", "train.optimizer", "\"prodigy\"");
    REFUSED("optimizer: prodigy, optimizer_args: [d_coef=2, d_ceof=3]", "train.optimizer_args", "d_ceof", "\"d_coef\"");
    REFUSED("optimizer: prodigy, optimizer_args: [[d_coef=2]]", "train.optimizer_args");
    train_config c;
    assert_works(read_prompts("[{target: x}]",
                              "train={loss: L2, lr_warmup_steps: 0.1, lr_scheduler: Polynomial, lr_scheduler_power: 3, "
                              "optimizer_args: ['betas=0.5,0.75', eps=1e-6]}",
                              &c),
                 &err);
    assert_true(c.loss == LOSS_MSE && c.rates.warmup == 0.1 && c.rates.power == 3 &&
                c.rates.schedule == LR_POLYNOMIAL && c.accumulation == 1 && c.ema_decay == 0 && c.huber_c == 0.1);
    assert_true(argument_of(&c.optimizer, "betas")[1] == 0.75 && *argument_of(&c.optimizer, "eps") == 1e-6);
    assert_int_equal(lr_warmup_steps(&c.rates, 39), 3);
    train_config_free(&c);
    assert_works(read_prompts("[{target: x}]",
                              "train={optimizer: prodigyopt.Prodigy, optimizer_args: {betas: [0.5, 0.75], beta3: null, "
                              "decouple: false, d_coef: 2}}",
                              &c),
                 &err);
    assert_true(c.optimizer.kind == OPTIMIZER_PRODIGY && argument_of(&c.optimizer, "betas")[1] == 0.75 &&
                *argument_of(&c.optimizer, "beta3") == OPTIMIZER_NONE && *argument_of(&c.optimizer, "decouple") == 0 &&
                *argument_of(&c.optimizer, "d_coef") == 2);
    train_config_free(&c);
    REFUSED("optimizer_args: {eps: {a: 1}}", "train.optimizer_args");
    REFUSED("optimizer_args: {esp: 1}", "esp", "\"eps\"");
}

static void some_timestep_is_left(void **state)
{
    (void)state;
    assert_refused("[{target: x}]", "train={min_timestep: 500, max_timestep: 500}", "train.min_timestep", "500");
    assert_refused("[{target: x}]", "train.min_timestep=-1", "train.min_timestep", "found -1");
    assert_refused("[{target: x}]", "train.max_timestep=0", "train.max_timestep", "found 0");
    train_config c;
    assert_works(read_prompts("[{target: x}]", "train.min_timestep=999", &c), &err);
    assert_true(c.min_timestep == 999 && c.max_timestep == 0);
    train_config_free(&c);
}

static void nan_has_no_sign(void **state)
{
    (void)state;
    leco_model *model;
    leco_images images;
    leco_generate_options o = leco_generate_defaults();
    const char *const prompts[] = {"x"};
    o.prompts = prompts;
    o.prompt_count = 1;
    o.guidance_scale = -(double)NAN;
    assert_works(leco_model_open(LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like", NULL, &model, &err), &err);
    assert_fails(leco_generate(model, &o, &images, &err), LECO_INVALID, &err, "a guidance scale of nan:");
    leco_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_train_nothing_is_refused),
        cmocka_unit_test(what_is_no_list_is_told_so),
        cmocka_unit_test(optimizer_arguments_are_read_to_their_end),
        cmocka_unit_test(a_longest_gradient_is_a_length),
        cmocka_unit_test(ways_to_learn_go_together),
        cmocka_unit_test(some_timestep_is_left),
        cmocka_unit_test(nan_has_no_sign),
    };
    return cmocka_run_group_tests_name("unit/config_values", tests, NULL, NULL);
}
