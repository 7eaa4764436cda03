/* What is trained goes up to a card once an optimizer step, whole, whatever runs with it: the latents' denoising, and
 * the steps in which something is learnt, are sessions of their own. */
#include "test_support.h"

#include <string.h>

#include "backend/cuda/emulate/card.h"
#include "base/mem.h"
#include "leco/leco.h"
#include "train/trainer_internal.h"

#define MODEL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

/* Two branches (a preserve beside the erase) and two latents a trajectory. */
static const char text[] =
    "pretrained_model: {name_or_path: \"" MODEL "\"}\n"
    "network: {rank: 2, include: [mid_block]}\n"
    "train: {precision: float32, iterations: 6, max_denoising_steps: 4, lr: 1e-3, samples_per_trajectory: 2}\n"
    "save: {name: small, path: out, per_steps: 0}\n"
    "preserve: [a circle]\n"
    "prompts:\n"
    "- {target: a red circle, positive: red, neutral: a circle, resolution: 16}\n";

static void once_a_step(void **state)
{
    (void)state;
    train_config config;
    trainer *t;
    train_result result = {0};
    test_write(test_path("train.yaml"), text, strlen(text));
    assert_works(train_config_read(test_path("train.yaml"), NULL, 0, &config, &err), &err);
    assert_works(trainer_create_for(&config, NULL, "cuda", &t, &err), &err);
    emulated.watched = trainable_count(t->trainable) * sizeof(float);
    emulated.uploads = 0;
    const int64_t before = emulated.calls;
    assert_works(trainer_run(t, NULL, NULL, &result, &err), &err);
    print_message("    %lld uploads among %lld calls, %lld steps\n", (long long)emulated.uploads,
                  (long long)(emulated.calls - before), (long long)result.iterations);
    assert_int_equal(result.iterations, 6);
    assert_int_equal(emulated.uploads, 6);
    mem_free(result.path);
    mem_free(result.state);
    trainer_destroy(t);
    train_config_free(&config);
    test_remove_files("out");
}

static leco_image drawn_at(leco_model *m, float multiplier)
{
    static const char *const prompts[] = {"a red star"};
    leco_generate_options o = leco_generate_defaults();
    leco_images images = {0};
    o.prompts = prompts;
    o.prompt_count = 1;
    o.width = o.height = 16;
    o.steps = 2;
    assert_works(leco_model_set_lora_weight(m, 0, multiplier, &err), &err);
    assert_works(leco_generate(m, &o, &images, &err), &err);
    const leco_image first = images.image[0];
    images.image[0].rgb = NULL;
    leco_images_free(&images);
    return first;
}

/* Sessions that stay see another weight, and the first one again. */
static void a_weight_that_is_set_arrives(void **state)
{
    (void)state;
    const leco_model_options o = {.device = "cuda", .precision = "float32"};
    const float multiplier[] = {1, -3, 1};
    leco_image drawn[3];
    leco_model *m;
    assert_works(leco_model_open(MODEL, &o, &m, &err), &err);
    assert_works(leco_model_add_lora(m, MODEL "/lora.safetensors", 1, &err), &err);
    for (int i = 0; i < 3; i++) drawn[i] = drawn_at(m, multiplier[i]);
    assert_memory_equal(drawn[0].rgb, drawn[2].rgb, 3 * 16 * 16);
    assert_memory_not_equal(drawn[0].rgb, drawn[1].rgb, 3 * 16 * 16);
    for (int i = 0; i < 3; i++) mem_free(drawn[i].rgb);
    leco_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(once_a_step), cmocka_unit_test(a_weight_that_is_set_arrives)};
    return cmocka_run_group_tests_name("emulated/uploads", tests, NULL, NULL);
}
