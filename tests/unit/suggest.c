/* Names that are suggested, and names that aren't. */
#include "test_support.h"

#include <string.h>

#include "base/suggest.h"
#include "leco/leco.h"
#include "train/config.h"

static const char *const drawing[] = {"help",   "prompt",    "count",          "output",    "model",   "lora",
                                      "device", "steps",     "guidance-scale", "scheduler", "seed",    "rng",
                                      "width",  "height",    "batch",          "latents",   "threads", "json",
                                      "quiet",  "precision", "negative"};
#define DRAWING (sizeof drawing / sizeof *drawing)

typedef struct expectation {
    const char *word, *wanted; /* NULL: nothing */
} expectation;

static void options_are_suggested(void **state)
{
    (void)state;
    static const expectation cases[] = {
        {"cfg", "guidance-scale"},
        {"cfg-scale", "guidance-scale"},
        {"cfg_scale", "guidance-scale"},
        {"CFG", "guidance-scale"},
        {"scale", "guidance-scale"},
        {"guidance", "guidance-scale"},
        {"guidance_scale", "guidance-scale"},
        {"negative-prompt", "negative"},
        {"neg", "negative"},
        {"num_inference_steps", "steps"},
        {"sampler", "scheduler"},
        {"batch-size", "batch"},
        {"lora_weight", "lora"},
        {"checkpoint", "model"},
        {"out", "output"},
        {"W", "width"},
        {"H", "height"},
        {"Seed", "seed"},
        {"sedd", "seed"},
        {"stesp", "steps"},
        {"hieght", "height"},
        {"latent", "latents"},
        {"zzz", NULL}, /* short words are near to everything */
        {"abc", NULL},
        {"gnr", NULL},
        {"x", NULL},
        {"", NULL},
        {"frobnicate", NULL},
        {"a-name-that-is-longer-than-any-option-could-ever-reasonably-be-and-longer", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = leco_suggest(cases[i].word, drawing, DRAWING);
        if (!got != !cases[i].wanted || (got && strcmp(got, cases[i].wanted) != 0))
            fail_msg("for \"%s\" it suggests %s", cases[i].word, got ? got : "nothing");
    }
    assert_null(leco_suggest("seed", NULL, 0));
}

static void config_keys_are_suggested(void **state)
{
    (void)state;
    static const char config[] = "pretrained_model: {name_or_path: x}\nprompts: [{target: x}]\n";
    static const expectation cases[] = {
        {"learning_rate=1", "did you mean \"train.lr\"?"},
        {"lr=1", "did you mean \"train.lr\"?"},
        {"train.learning_rate=1", "did you mean \"lr\"?"},
        {"train.LR=1", "did you mean \"lr\"?"},
        {"train.max_train_steps=1", "did you mean \"iterations\"?"},
        {"train.epochs=1", "did you mean \"iterations\"?"},
        {"train.batch=1", "did you mean \"batch_size\"?"},
        {"train.rank=1", "did you mean \"network.rank\"?"},
        {"network.dim=1", "did you mean \"rank\"?"},
        {"network.network_dim=1", "did you mean \"rank\"?"},
        {"network.network_alpha=1", "did you mean \"alpha\"?"},
        {"network.conv_rank=1", "did you mean \"conv_dim\"?"},
        {"network.network_dropout=1", "did you mean \"dropout\"?"},
        {"network.only_if_contains=1", "did you mean \"include\"?"},
        {"network.network_weights=1", "did you mean \"start_from\"?"},
        {"network.lr=1", "did you mean \"train.lr\"?"},
        {"dim=1", "did you mean \"network.rank\"?"},
        {"network_dim=1", "did you mean \"network.rank\"?"},
        {"network_alpha=1", "did you mean \"network.alpha\"?"},
        {"resolution=64", "did you mean \"prompts.resolution\"?"},
        {"steps=9", "did you mean \"train.iterations\"?"},
        {"logging.step=9", "did you mean \"steps\"?"},
        {"promts=x", "did you mean \"prompts\"?"},
        {"iteratoins=1", "did you mean \"train.iterations\"?"},
        {"name=1", "did you mean \"save.name\"?"},
        {"save.output_name=1", "did you mean \"name\"?"},
        {"save.output_dir=1", "did you mean \"path\"?"},
        {"pretrained_model.checkpoint=1", "did you mean \"name_or_path\"?"},
        {"prompts.0.cfg=1", "did you mean \"guidance_scale\"?"},
        {"prompts.0.negative_prompt=1", "did you mean \"unconditional\"?"},
        {"prompts.0.prompt=1", "did you mean \"target\"?"},
        {"zzz=1", "zzz is not a known key"},
    };
    test_write(test_path("config.yaml"), config, strlen(config));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        train_config c;
        leco_status status = train_config_read(test_path("config.yaml"), &cases[i].word, 1, &c, &err);
        assert_fails(status, LECO_INVALID, &err, cases[i].wanted, "is not a known key");
        assert_true(!strstr(err.message, "mean") == !strstr(cases[i].wanted, "mean"));
    }
}

static void a_slip_is_nearer_than_a_suggestion(void **state)
{
    (void)state;
    assert_true(suggest_misspelt("Beta_end", "beta_end") && suggest_misspelt("beta-end", "beta_end"));
    assert_true(suggest_misspelt("bata_end", "beta_end") && !suggest_misspelt("bata_and", "beta_end"));
    assert_true(suggest_misspelt("predicton_typ", "prediction_type") && !suggest_misspelt("type", "prediction_type"));
    assert_false(suggest_misspelt("sigma_schedule", "beta_schedule"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_suggested),
        cmocka_unit_test(config_keys_are_suggested),
        cmocka_unit_test(a_slip_is_nearer_than_a_suggestion),
    };
    return cmocka_run_group_tests_name("unit/suggest", tests, NULL, NULL);
}
