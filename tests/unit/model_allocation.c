/* Every allocation of the model layer fails once: the call must say so, and leak nothing (the address sanitizer
 * watches). jansson's own allocations are not made to fail, as in tests/fault. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/model.h"
#include "test_lora.h"

typedef leco_status action(leco_error *err);

/* Runs `act` with its first, second, ... allocation failing until it has no more; beyond the first `dense` only every
 * `stride`-th, where there are thousands alike. */
static void exhaust(action *act, uint64_t least, uint64_t dense, uint64_t stride)
{
    for (uint64_t nth = 1;; nth += nth < dense ? 1 : stride) {
        leco_error err = {0};
        uint64_t before = mem_allocations();
        mem_fail_at(nth);
        leco_status status = act(&err);
        mem_fail_at(0);
        if (mem_allocations() - before < nth) {
            assert_works(status, &err);
            assert_true(nth > least);
            return;
        }
        if (status != LECO_MEMORY) fail_msg("allocation %d: status %d, \"%s\"", (int)nth, (int)status, err.message);
        assert_non_null(strstr(err.message, "out of memory"));
    }
}

static leco_status open_and_load(leco_error *err)
{
    model *m;
    LECO_TRY(model_open(FIXTURE("sd1-like"), &m, err));
    leco_status status = model_load(m, MODEL_ALL, err);
    model_close(m);
    return status;
}

static void models(void **state)
{
    (void)state;
    exhaust(open_and_load, 500, 100, 61);
}

static leco_status use_tokenizer(leco_error *err)
{
    tokenizer *t;
    int32_t ids[77];
    const char *text = "a Red caf\xc3\xa9 <|endoftext|> star";
    LECO_TRY(tokenizer_open(FIXTURE("tokenizer/tokenizer"), &t, err));
    leco_status status = tokenizer_add(t, "caf", 5000, 3, err);
    if (status == LECO_OK) status = tokenizer_encode(t, text, strlen(text), ids, NULL, err);
    tokenizer_close(t);
    return status;
}

static void tokenizers(void **state)
{
    (void)state;
    exhaust(use_tokenizer, 10, 1000000, 1);
}

static leco_status read_unet(unet_config *config, leco_error *err)
{
    return unet_config_read(FIXTURE("sd1-like/unet"), config, err);
}

static leco_status make_and_save(leco_error *err)
{
    unet_config config;
    trainable *l;
    rng r;
    trainable_options options = {
        .kind = &kind_lora, .layers = {.method = METHOD_XATTN_STRICT}, .rank = 2, .alpha = 1, .exact = DTYPE_F32};
    trainable_metadata m = {.output_name = "x"};
    rng_seed(&r, RNG_CPU, 1);
    LECO_TRY(read_unet(&config, err));
    LECO_TRY(test_lora_create(&config, &options, &r, &l, err));
    leco_status status = trainable_save(l, test_path("saved.safetensors"), DTYPE_F16, &m, err);
    trainable_destroy(l);
    return status;
}

static leco_status load_adapter(leco_error *err)
{
    unet_config config;
    text_config text;
    trainable *l;
    LECO_TRY(read_unet(&config, err));
    LECO_TRY(text_config_read(FIXTURE("sd1-like/text_encoder"), &text, err));
    LECO_TRY(test_lora_load(FIXTURE("sd1-like/lora_c3lier.safetensors"), &config, &text, DTYPE_F32, &l, err));
    trainable_destroy(l);
    return LECO_OK;
}

/* One from a file, and one to be trained, of a model that knows neither yet. */
static leco_status make_embeddings(leco_error *err)
{
    model *m;
    trainable *loaded = NULL, *t = NULL;
    rng r;
    const trainable_options options = {.kind = &kind_embedding,
                                       .layers = {.scope = SCOPE_EMBEDDING},
                                       .token = "<dot>",
                                       .start = "red",
                                       .vectors = 2,
                                       .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    LECO_TRY(model_open(FIXTURE("sd1-like"), &m, err));
    leco_status status = model_map(m, MODEL_TEXT_ENCODER, err);
    if (status == LECO_OK)
        status = trainable_load_embedding(FIXTURE("sd1-like/embedding.safetensors"), m, DTYPE_F32, &loaded, err);
    if (status == LECO_OK) status = trainable_create(m, &options, &r, &t, err);
    if (status == LECO_OK) status = trainable_save(t, test_path("saved.safetensors"), DTYPE_F32, NULL, err);
    trainable_destroy(loaded);
    trainable_destroy(t);
    model_close(m);
    return status;
}

static void embeddings(void **state)
{
    (void)state;
    exhaust(make_embeddings, 100, 1000000, 1);
}

static void adapters(void **state)
{
    (void)state;
    exhaust(make_and_save, 100, 100, 13);
    exhaust(load_adapter, 500, 100, 31);
}

static leco_status random_weights(leco_error *err)
{
    weight *one;
    weights *w = weights_random(1);
    if (!w) return error_memory(err, 0, "a test");
    leco_status status = weights_get(w, "a.weight", SHAPE(8, 8), &one, err);
    if (status == LECO_OK) status = weights_get(w, "b.weight", SHAPE(80, 80), &one, err);
    if (status == LECO_OK) status = weights_get(w, "b.bias", SHAPE(80), &one, err);
    weights_close(w);
    return status;
}

static void made_up_weights(void **state)
{
    (void)state;
    exhaust(random_weights, 8, 1000000, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),     cmocka_unit_test(tokenizers),      cmocka_unit_test(adapters),
        cmocka_unit_test(embeddings), cmocka_unit_test(made_up_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
