/* LoRA files, against the layers of a small model. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "model/adapter.h"

#define UNET "lora_unet_down_blocks_0_"
#define TO_K UNET "attentions_0_transformer_blocks_0_attn2_to_k"
#define CONV UNET "resnets_0_conv1"
#define TEXT "lora_te_text_model_encoder_layers_0_mlp_fc1"

const char *const fuzz_words[] = {TO_K ".lora_down.weight",
                                  TO_K ".lora_up.weight",
                                  TO_K ".alpha",
                                  TO_K ".dora_scale",
                                  UNET "attentions_0_proj_in.alpha",
                                  CONV ".lora_down.weight",
                                  CONV ".lora_up.weight",
                                  CONV ".alpha",
                                  TEXT ".lora_up.weight",
                                  "lora_te1_",
                                  "lora_unet_input_blocks_1",
                                  "lora_unet_mid_block_",
                                  "lora_unet_up_blocks_0_",
                                  "resnets_0_conv1",
                                  "attn1_to_q",
                                  "attn2_to_v",
                                  ".lora_mid.weight",
                                  ".alpha",
                                  "lora_down",
                                  "lora_up",
                                  "weight",
                                  "\"dtype\":",
                                  "\"shape\":[4,1,1,1]",
                                  "\"shape\":[]",
                                  "\"F32\"",
                                  "\"F16\"",
                                  "\"BF16\"",
                                  "\"F64\"",
                                  "\"I64\"",
                                  "\"U8\"",
                                  "[1,4]",
                                  "[4,1]",
                                  "\"__metadata__\":{\"ss_network_dim\":\"4\"},",
                                  NULL};

static const unet_config of_unet = {
    .in_channels = 4,
    .out_channels = 4,
    .level_count = 1,
    .level = {{.channels = 4,
               .heads = 1,
               .layers = 1,
               .transformer_layers = 1,
               .cross_attention_dim = 4,
               .down_attention = true,
               .up_attention = true}},
    .norm_groups = 2,
    .norm_eps = 1e-5f,
};
static const text_config of_text = {.vocab_size = 8,
                                    .hidden_size = 4,
                                    .intermediate_size = 8,
                                    .max_positions = 5,
                                    .layers = 1,
                                    .heads = 1,
                                    .norm_eps = 1e-5f};

/* ---- checks ---- */

static const void *down_of(const lora_module *m)
{
    return m->kernel == 1 ? m->down.value : m->down_kernel.data;
}

static size_t down_count(const lora_module *m)
{
    return (size_t)(m->rank * m->in * m->kernel * m->kernel);
}

static void check_finite(const void *values, size_t count)
{
    const float *value = values;
    for (size_t i = 0; i < count; i++) FUZZ_CHECK(isfinite(value[i]));
}

/* All values of the modules are out of the file. */
static void check_count(const char *path, int64_t values)
{
    leco_error err = {0};
    safetensors *file;
    int64_t count = 0;
    FUZZ_CHECK(safetensors_open(path, &file, &err) == LECO_OK);
    for (size_t i = 0; i < safetensors_count(file); i++) count += (int64_t)safetensors_at(file, i)->count;
    FUZZ_CHECK(values <= count);
    safetensors_close(file);
}

static void check_modules(lora *l)
{
    int64_t values = 0;
    FUZZ_CHECK(lora_module_count(l) > 0);
    for (size_t i = 0; i < lora_module_count(l); i++) {
        const lora_module *m = lora_module_at(l, i);
        FUZZ_CHECK(m->path && m->path[0] && m->in > 0 && m->out > 0 && m->rank > 0 && isfinite(m->alpha));
        FUZZ_CHECK(m->kernel == 1 || (m->kernel == 3 && m->is_conv));
        check_finite(down_of(m), down_count(m));
        check_finite(m->up_loaded, (size_t)(m->out * m->rank));
        FUZZ_CHECK(memcmp(m->up.value, m->up_loaded, (size_t)(m->out * m->rank) * sizeof(float)) == 0);
        values += (int64_t)down_count(m) + m->out * m->rank;
    }
    FUZZ_CHECK(lora_value_count(l) == values);
}

/* What was read, written and read again is the same. */
static void check_again(lora *l)
{
    leco_error err = {0};
    lora *again;
    FUZZ_CHECK(lora_save(l, fuzz_result(), DTYPE_F32, NULL, &err) == LECO_OK);
    FUZZ_CHECK(lora_load(fuzz_result(), &of_unet, &of_text, DTYPE_F32, &again, &err) == LECO_OK);
    FUZZ_CHECK(lora_module_count(l) == lora_module_count(again));
    for (size_t i = 0; i < lora_module_count(l); i++) {
        const lora_module *a = lora_module_at(l, i), *b = lora_module_at(again, i);
        FUZZ_CHECK(a->part == b->part && strcmp(a->path, b->path) == 0 && a->in == b->in && a->out == b->out);
        FUZZ_CHECK(a->rank == b->rank && a->alpha == b->alpha && a->kernel == b->kernel && a->is_conv == b->is_conv);
        FUZZ_CHECK(memcmp(down_of(a), down_of(b), down_count(a) * sizeof(float)) == 0);
        FUZZ_CHECK(memcmp(a->up_loaded, b->up_loaded, (size_t)(a->out * a->rank) * sizeof(float)) == 0);
    }
    lora_destroy(again);
}

static lora *trainable(void)
{
    static lora *l;
    leco_error err = {0};
    const lora_options options = {LORA_LIERLA, LORA_XATTN_STRICT, 1, 1.0f, DTYPE_F32};
    rng r;
    rng_seed(&r, RNG_CPU, 0);
    if (!l) FUZZ_CHECK(lora_create(&of_unet, &options, &r, &l, &err) == LECO_OK);
    return l;
}

/* The values of a file of the very same modules, as a training that goes on reads them. */
static void check_values(const char *path)
{
    leco_error err = {0};
    lora *l = trainable();
    leco_status status = lora_load_values(l, path, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        return;
    }
    for (size_t i = 0; i < lora_param_count(l); i++) {
        const param *p = lora_param_at(l, i);
        check_finite(p->value, (size_t)shape_count(&p->shape));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    lora *l = NULL;
    const char *path = fuzz_path(data, size);
    leco_status status = lora_load(path, &of_unet, &of_text, DTYPE_F32, &l, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_modules(l);
        check_count(path, lora_value_count(l));
        check_values(path);
        check_again(l);
        lora_destroy(l);
    } else {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!l);
    }
    return 0;
}

/* ---- seeds ---- */

static const float values[256] = {1, 2, -0.5f, 0.25f};

static safetensors_entry entry(const char *name, dtype type, int rank, int64_t a, int64_t b, int64_t k)
{
    const int64_t sizes[] = {a, b, k, k};
    safetensors_entry e = {.name = name, .type = type, .rank = rank, .count = 1, .data = values};
    for (int i = 0; i < rank; i++) e.count *= (size_t)(e.shape[i] = sizes[i]);
    return e;
}

bool fuzz_seed(unsigned index, const char *path)
{
    const safetensors_entry linear[] = {entry(TO_K ".lora_down.weight", DTYPE_F32, 2, 2, 4, 1),
                                        entry(TO_K ".lora_up.weight", DTYPE_BF16, 2, 4, 2, 1),
                                        entry(TO_K ".alpha", DTYPE_F16, 0, 1, 1, 1)};
    const safetensors_entry conv[] = {entry(CONV ".lora_down.weight", DTYPE_F16, 4, 1, 4, 3),
                                      entry(CONV ".lora_up.weight", DTYPE_F32, 4, 4, 1, 1)};
    const safetensors_entry text[] = {entry(TEXT ".lora_down.weight", DTYPE_F32, 2, 1, 4, 1),
                                      entry(TEXT ".lora_up.weight", DTYPE_F32, 2, 8, 1, 1),
                                      entry(TEXT ".alpha", DTYPE_F64, 1, 1, 1, 1)};
    static const char *const metadata[][2] = {{"ss_network_dim", "2"}, {"ss_network_alpha", "1.0"}};
    leco_error err = {0};
    leco_status status = LECO_OK;
    if (index == 0) status = safetensors_write(path, linear, 3, metadata, 2, &err);
    if (index == 1) status = safetensors_write(path, conv, 2, NULL, 0, &err);
    if (index == 2) status = safetensors_write(path, text, 3, NULL, 0, &err);
    if (index == 3) status = lora_save(trainable(), path, DTYPE_F16, NULL, &err);
    FUZZ_CHECK(status == LECO_OK);
    return index < 4;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return fuzz_repair_tensors(data, size, capacity);
}
