/* Conditionings of a model with added conditions: what a conditioner makes of prompts against transformers, and that a
 * denoiser reads all of it, against diffusers. */
#include "parity_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "diffusion/denoiser.h"
#include "format/json.h"

static leco_error err;

static device open_device(void)
{
    device d;
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    return d;
}

static void check_floats(const char *what, const float *got, const values *want, size_t from, size_t count)
{
    values part = *want;
    part.at += from;
    part.count = count;
    check_error(what, &ways[WAY_CPU_F32], worst_error(got, &part), 1e-4);
}

/* pooled: its name in the fixture. */
static void check_prompts(const char *encoder, const char *file_name, const char *tokens, const char *states,
                          const char *pooled)
{
    char path[512];
    model m = {.folder = mem_strdup("sdxl-like")};
    device d = open_device();
    snprintf(path, sizeof path, FIXTURES "sdxl-like/%s", encoder);
    assert_works(text_config_read(path, &m.text, &err), &err);
    assert_works(weights_open(path, &m.weights[PART_TEXT_ENCODER], &err), &err);
    snprintf(path, sizeof path, FIXTURES "sdxl-like/%s", tokens);
    assert_works(tokenizer_open(path, &m.tokenizer, &err), &err);
    conditioner *c;
    const text_options options = {.skip_layers = 1, .no_final_norm = true, .pooled = true};
    assert_works(conditioner_create(&d, &m, NULL, options, &c, &err), &err);

    safetensors *file = fixture_open(file_name);
    json_t *texts = json_loads(safetensors_metadata(file, "texts"), 0, NULL);
    values want_states = fixture_read(file, "%s", states), want_pooled = fixture_read(file, "%s", pooled);
    const size_t count = want_states.count / json_array_size(texts), few = want_pooled.count / json_array_size(texts);
    conditioning got[8];
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const char *prompt = json_string_value(json_array_get(texts, i));
        assert_works(conditioner_get(c, prompt, &got[i], &err), &err);
        assert_true(got[i].pooled && got[i].sizes[0] == 0);
        conditioning again;
        assert_works(conditioner_get(c, prompt, &again, &err), &err);
        assert_true(again.states == got[i].states && again.pooled == got[i].pooled);
    }
    for (size_t i = 0; i < json_array_size(texts); i++) {
        check_floats("states", got[i].states, &want_states, i * count, count);
        check_floats("pooled", got[i].pooled, &want_pooled, i * few, few);
    }
    /* The same, with no more held at a time than one. */
    conditioner_stream(c, 1);
    for (size_t i = 0; i < 2 * json_array_size(texts); i++) {
        const size_t which = i % json_array_size(texts);
        conditioner_trim(c);
        assert_works(conditioner_get(c, json_string_value(json_array_get(texts, which)), &got[0], &err), &err);
        check_floats("states", got[0].states, &want_states, which * count, count);
    }
    values_free(&want_states);
    values_free(&want_pooled);
    json_decref(texts);
    safetensors_close(file);
    conditioner_destroy(c);
    weights_close(m.weights[PART_TEXT_ENCODER]);
    tokenizer_close(m.tokenizer);
    mem_free(m.folder);
    device_close(&d);
}

static void prompts_become_states_and_pooled(void **state)
{
    (void)state;
    check_prompts("text_encoder", "sdxl-like/text.safetensors", "tokenizer", "hidden_states.2", "pooler_output");
    check_prompts("text_encoder_2", "sdxl-like/text_2.safetensors", "tokenizer_2", "hidden_states.3", "text_embeds");
}

/* All samples of a denoiser have one timestep, so each sample is run by itself: in both halves of a batch, of which the
 * other half is conditioned on something else. */
static void check_sample(const device *d, const model *m, const safetensors *file, int number, int64_t sample)
{
    values x = fixture_read_nhwc(file, "case%d.sample", number), t = fixture_read(file, "case%d.timestep", number);
    values states = fixture_read(file, "case%d.encoder_hidden_states", number);
    values pooled = fixture_read(file, "case%d.text_embeds", number),
           ids = fixture_read(file, "case%d.time_ids", number);
    values want = fixture_read_nhwc(file, "case%d.noise_pred", number);
    const latent_size size = {2, x.dim[1], x.dim[2], x.dim[3]};
    const denoiser_options options = {.size = size, .tokens = states.dim[1]};
    const size_t one = latent_stride(size), few = (size_t)pooled.dim[1], many = (size_t)(states.dim[1] * states.dim[2]);
    denoiser *n;
    assert_works(denoiser_create(d, m, &options, &n, &err), &err);
    conditioning c = {.states = states.at + (size_t)sample * many, .pooled = pooled.at + (size_t)sample * few},
                 other = c;
    memcpy(c.sizes, ids.at + sample * UNET_TIME_IDS, sizeof c.sizes);
    conditioning_set_size(&other, 512, 256, (picture_crop){0});
    const float sizes[] = {512, 256, 0, 0, 512, 256};
    assert_memory_equal(other.sizes, sizes, sizeof sizes);
    float *two = mem_calloc(2 * one, sizeof *two);
    for (int64_t half = 0; half < 2; half++) {
        for (size_t i = 0; i < 2; i++) memcpy(two + i * one, x.at + (size_t)sample * one, one * sizeof *two);
        denoiser_set_context(n, half, &c);
        denoiser_set_context(n, 1 - half, &other);
        assert_works(denoiser_run(n, two, (double)t.at[sample], two, &err), &err);
        check_floats("a sample", two + (size_t)half * one, &want, (size_t)sample * one, one);
        assert_true(memcmp(two, two + one, one * sizeof *two) != 0);
    }
    mem_free(two);
    denoiser_destroy(n);
    values *const all[] = {&x, &t, &states, &pooled, &ids, &want};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) values_free(all[i]);
}

/* What a word of two embeddings means to both encoders (tools/fixtures_xl_embedding.py). */
static void an_embedding_is_for_both(void **state)
{
    (void)state;
    model *m;
    trainable *t;
    conditioner *c;
    device d = open_device();
    conditioning got;
    assert_works(model_open(FIXTURES "sdxl-like", &m, &err), &err);
    assert_works(model_load(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(trainable_load_embedding(FIXTURES "sdxl-like/embedding.safetensors", m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(trainable_module_count(t), 2);
    adapter_use use = {t, 1.0f};
    const adapter_set adapters = {.use = &use, .count = 1};
    assert_works(conditioner_create(&d, m, &adapters, m->states, &c, &err), &err);
    safetensors *file = fixture_open("sdxl-like/embedding_out.safetensors");
    values states = fixture_read(file, "states"), pooled = fixture_read(file, "pooled");
    assert_works(conditioner_get(c, safetensors_metadata(file, "prompt"), &got, &err), &err);
    check_floats("states", got.states, &states, 0, states.count);
    check_floats("pooled", got.pooled, &pooled, 0, pooled.count);
    values_free(&states);
    values_free(&pooled);
    safetensors_close(file);
    conditioner_destroy(c);
    trainable_destroy(t);
    device_close(&d);
    model_close(m);
}

static void a_denoiser_reads_all_of_it(void **state)
{
    (void)state;
    model m = {0};
    device d = open_device();
    assert_works(unet_config_read(FIXTURES "sdxl-like/unet", &m.unet, &err), &err);
    assert_works(weights_open(FIXTURES "sdxl-like/unet", &m.weights[PART_UNET], &err), &err);
    safetensors *file = fixture_open("sdxl-like/unet.safetensors");
    check_sample(&d, &m, file, 0, 0);
    check_sample(&d, &m, file, 1, 0);
    check_sample(&d, &m, file, 1, 1);
    safetensors_close(file);
    weights_close(m.weights[PART_UNET]);
    device_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_become_states_and_pooled),
        cmocka_unit_test(an_embedding_is_for_both),
        cmocka_unit_test(a_denoiser_reads_all_of_it),
    };
    return cmocka_run_group_tests_name("parity/conditioning", tests, NULL, NULL);
}
