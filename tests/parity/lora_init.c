/* A LoRA of a rank above what some convolutions have channels: ranks, scales and the values drawn, against PyTorch. */
#include "test_lora.h"

#include <math.h>
#include <string.h>

#include "parity_support.h"

#define FOLDER "sd1-like"

static int64_t whole(const safetensors *file, const char *name, size_t index)
{
    const safetensors_entry *e = safetensors_find(file, name);
    assert_non_null(e);
    assert_int_equal(e->type, DTYPE_I64);
    assert_true(index < e->count);
    int64_t value;
    memcpy(&value, (const char *)e->data + index * sizeof value, sizeof value);
    return value;
}

/* The lora_down of module after module is right only if every draw before it was: those of up, too. */
static void check_draws(const char *name, layer_scope scope)
{
    leco_error err = {0};
    safetensors *file = fixture_open(name);
    const int64_t rank = whole(file, "rank", 0);
    unet_config config;
    assert_works(unet_config_read(fixture_model(FOLDER, "unet"), &config, &err), &err);
    rng r;
    rng_seed(&r, RNG_CPU, (uint64_t)whole(file, "seed", 0));
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.scope = scope}, .rank = rank, .alpha = 1, .exact = DTYPE_F32};
    trainable *l;
    assert_works(test_lora_create(&config, &options, &r, &l, &err), &err);
    values want = fixture_read(file, "down");
    assert_int_equal(want.dim[0], trainable_module_count(l));
    size_t lower = 0, linear = 0;
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        const trainable_module *m = trainable_module_at(l, i);
        assert_int_equal(m->rank, whole(file, "ranks", i));
        assert_true(m->alpha == 1); /* so that the scale is alpha / the module's own rank */
        lower += m->rank < rank;
        linear += m->rank == rank && (m->layer.in < rank || m->layer.out < rank);
        const float *down = m->param[DOWN].value;
        const size_t count = (size_t)shape_count(&m->param[DOWN].shape), at[] = {0, 1, count - 2, count - 1};
        for (size_t k = 0; k < 4; k++)
            if (!(fabsf(down[at[k]] - want.at[4 * i + k]) <= 1e-7f))
                fail_msg("%s: value %zu is %a, expected %a", m->layer.path, at[k], (double)down[at[k]],
                         (double)want.at[4 * i + k]);
    }
    assert_true(lower > 0 && linear > 0); /* both sorts of layer are among them */
    values_free(&want);
    trainable_destroy(l);
    safetensors_close(file);
}

static void draws_are_torchs(void **state)
{
    (void)state;
    check_draws(FOLDER "/lora_init.safetensors", SCOPE_LIERLA);
    check_draws(FOLDER "/lora_init_c3lier.safetensors", SCOPE_C3LIER);
}

/* Modules of different ranks in one file. */
static void they_are_saved_and_loaded(void **state)
{
    (void)state;
    leco_error err = {0};
    unet_config config;
    assert_works(unet_config_read(fixture_model(FOLDER, "unet"), &config, &err), &err);
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.method = METHOD_FULL}, .rank = 10, .alpha = 5, .exact = DTYPE_F32};
    trainable *l, *again;
    assert_works(test_lora_create(&config, &options, &r, &l, &err), &err);
    const char *path = test_path("ranks.safetensors");
    assert_works(trainable_save(l, path, DTYPE_F32, NULL, &err), &err);
    assert_works(trainable_load_values(l, path, &err), &err);
    assert_works(test_lora_load(path, &config, NULL, DTYPE_F32, &again, &err), &err);
    for (size_t i = 0; i < trainable_module_count(l); i++) {
        assert_int_equal(trainable_module_at(again, i)->rank, trainable_module_at(l, i)->rank);
        assert_true(trainable_module_at(again, i)->alpha == 5);
    }
    trainable_destroy(again);
    trainable_destroy(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_torchs),
        cmocka_unit_test(they_are_saved_and_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
