/* LoRA files, against the layers of a small model. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "model/file_layers.h"
#include "model/kinds.h"
#include "model/model.h"

#define UNET "lora_unet_down_blocks_0_"
#define TO_K UNET "attentions_0_transformer_blocks_0_attn2_to_k"
#define CONV UNET "resnets_0_conv1"
#define NORM UNET "resnets_0_norm1"
#define TEXT "lora_te_text_model_encoder_layers_0_mlp_fc1"

const char *const fuzz_words[] = {TO_K ".hada_w1_a",
                                  TO_K ".hada_w2_b",
                                  ".hada_w1_b",
                                  TO_K ".lora_down.weight",
                                  TO_K ".lora_up.weight",
                                  TO_K ".alpha",
                                  TO_K ".dora_scale",
                                  TO_K ".lokr_w1",
                                  ".lokr_w1_a",
                                  ".lokr_w2",
                                  ".lokr_w2_b",
                                  UNET "attentions_0_proj_in.alpha",
                                  CONV ".lora_down.weight",
                                  CONV ".lora_up.weight",
                                  CONV ".alpha",
                                  TEXT ".lora_up.weight",
                                  TO_K ".diff_b",
                                  TO_K ".oft_blocks",
                                  TO_K ".a1.weight",
                                  TO_K ".on_input",
                                  ".a2.weight",
                                  ".rescale",
                                  TO_K ".oft_R.weight",
                                  TO_K ".oft_r",
                                  ".oft_s",
                                  TO_K ".oft_diag",
                                  TO_K ".boft_R",
                                  ".boft_s",
                                  ".bm.weight",
                                  "\\\"use_cayley_neumann\\\":true",
                                  "\\\"block_share\\\":true,\\\"r\\\":2",
                                  "\\\"coft\\\":true",
                                  ".weight",
                                  ".diff",
                                  NORM ".w_norm",
                                  NORM ".b_norm",
                                  "bundle_emb.mine.emb_params",
                                  "bundle_emb.mine.string_to_param.*",
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

static model small = {.unet = {.in_channels = 4,
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
                               .norm_eps = 1e-5f},
                      .text = {.vocab_size = 8,
                               .hidden_size = 4,
                               .intermediate_size = 8,
                               .max_positions = 5,
                               .layers = 1,
                               .heads = 1,
                               .norm_eps = 1e-5f}};

/* ---- checks ---- */

static const adapter_layers *layers_of_small(void)
{
    static adapter_layers layers;
    leco_error err = {0};
    if (!layers.part[PART_UNET]) FUZZ_CHECK(model_adapter_layers(&small, &layers, &err) == LECO_OK);
    return &layers;
}

static void check_finite(const void *values, size_t count)
{
    const float *value = values;
    for (size_t i = 0; i < count; i++) FUZZ_CHECK(isfinite(value[i]));
}

/* Is it larger than in the file? An OFT's blocks become a matrix, Tucker's form a plain one, a DoRA's LoHa or LoKr
 * thick ones. */
static bool has_grown(const trainable_module *m)
{
    return kind_is(m->kind, &kind_oft) || kind_is(m->kind, &kind_dora) ||
           (m->kind == &kind_glora && m->layer.kernel > 1);
}

/* All values of the modules are out of the file. */
static void check_count(const char *path, trainable *t)
{
    int64_t values = 0;
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *m = trainable_module_at(t, i);
        for (size_t k = 0; k < kind_file_params(m->kind) && !has_grown(m); k++)
            values += shape_count(&m->param[k].shape);
    }
    leco_error err = {0};
    safetensors *file;
    int64_t count = 0;
    FUZZ_CHECK(safetensors_open(path, &file, &err) == LECO_OK);
    for (size_t i = 0; i < safetensors_count(file); i++) count += (int64_t)safetensors_at(file, i)->count;
    FUZZ_CHECK(values <= count);
    safetensors_close(file);
}

static size_t count_of(const param *p)
{
    return (size_t)shape_count(&p->shape);
}

static void check_modules(trainable *t)
{
    int64_t values = 0;
    FUZZ_CHECK(trainable_module_count(t) > 0 && !trainable_grads(t));
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *m = trainable_module_at(t, i);
        const layer_info *l = &m->layer;
        FUZZ_CHECK(l->path && l->path[0] && l->in > 0 && l->out > 0 && m->rank > 0 && isfinite(m->alpha));
        FUZZ_CHECK(l->kernel == 1 || (l->kernel == 3 && l->is_conv) || (l->kernel == 0 && l->class == LAYER_NORMS));
        FUZZ_CHECK(m->params >= 1 && m->kind->param[m->params - 1].suffix && !m->kind->param[m->params].suffix);
        for (size_t k = 0; k < m->params; k++) {
            check_finite(m->param[k].value, count_of(&m->param[k]));
            if (!m->kind->param[k].added) values += shape_count(&m->param[k].shape);
        }
    }
    FUZZ_CHECK(trainable_parameters(t) == values);
}

/* What was read, written and read again is the same. */
static void check_again(trainable *t)
{
    leco_error err = {0};
    trainable *again;
    FUZZ_CHECK(trainable_save(t, fuzz_result(), DTYPE_F32, NULL, &err) == LECO_OK);
    FUZZ_CHECK(trainable_load(fuzz_result(), layers_of_small(), DTYPE_F32, &again, &err) == LECO_OK);
    FUZZ_CHECK(trainable_module_count(t) == trainable_module_count(again));
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *a = trainable_module_at(t, i), *b = trainable_module_at(again, i);
        FUZZ_CHECK(a->kind == b->kind && a->layer.part == b->layer.part && strcmp(a->layer.path, b->layer.path) == 0);
        FUZZ_CHECK(a->rank == b->rank && a->alpha == b->alpha && a->params == b->params);
        for (size_t k = 0; k < a->params; k++)
            FUZZ_CHECK(memcmp(a->param[k].value, b->param[k].value, count_of(&a->param[k]) * sizeof(float)) == 0);
    }
    trainable_destroy(again);
}

static trainable *trained(void)
{
    static trainable *t;
    leco_error err = {0};
    const trainable_options options = {
        .kind = &kind_lora, .layers = {.method = METHOD_XATTN_STRICT}, .rank = 1, .alpha = 1.0f, .exact = DTYPE_F32};
    rng r;
    rng_seed(&r, RNG_CPU, 0);
    if (!t) FUZZ_CHECK(trainable_create(&small, &options, &r, &t, &err) == LECO_OK);
    return t;
}

/* The values of a file of the very same modules, as a training that goes on reads them. */
static void check_values(const char *path)
{
    leco_error err = {0};
    trainable *t = trained();
    leco_status status = trainable_load_values(t, path, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        return;
    }
    check_finite(trainable_values(t), trainable_count(t));
}

/* Read with the layers that it has itself, as files are that are joined without a model. `known`: as many modules as
 * the model has layers for; 0: it refused the file. */
static void check_without_model(const char *path, size_t known)
{
    leco_error err = {0};
    layer_list lists[PART_COUNT];
    trainable *t = NULL;
    char *other;
    leco_status status = file_layers_need_model(path, &other, &err);
    const bool plain = status == LECO_OK && !other;
    if (status == LECO_OK) mem_free(other);
    if (status == LECO_OK) status = file_layers_read(&path, 1, lists, &err);
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(known == 0);
        return;
    }
    const adapter_layers layers = {
        .part = {[PART_UNET] = &lists[PART_UNET], [PART_TEXT_ENCODER] = &lists[PART_TEXT_ENCODER]}};
    status = trainable_load(path, &layers, DTYPE_F32, &t, &err);
    if (status == LECO_OK) {
        check_modules(t);
        check_count(path, t);
        FUZZ_CHECK(!plain || trainable_module_count(t) >= known);
        trainable_destroy(t);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    for (int part = 0; part < PART_COUNT; part++) layer_list_free(&lists[part]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    trainable *t = NULL;
    const char *path = fuzz_path(data, size);
    leco_status status = trainable_load(path, layers_of_small(), DTYPE_F32, &t, &err);
    fuzz_accepted = status == LECO_OK;
    check_without_model(path, fuzz_accepted ? trainable_module_count(t) : 0);
    if (fuzz_accepted) {
        check_modules(t);
        check_count(path, t);
        check_values(path);
        check_again(t);
        trainable_destroy(t);
    } else {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!t);
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
    const safetensors_entry loha[] = {
        entry(TO_K ".hada_w1_a", DTYPE_F32, 2, 4, 2, 1), entry(TO_K ".hada_w1_b", DTYPE_F32, 2, 2, 4, 1),
        entry(TO_K ".hada_w2_a", DTYPE_F16, 2, 4, 2, 1), entry(TO_K ".hada_w2_b", DTYPE_BF16, 2, 2, 4, 1)};
    const safetensors_entry lokr[] = {
        entry(TO_K ".lokr_w1", DTYPE_F32, 2, 2, 2, 1), entry(TO_K ".lokr_w2_a", DTYPE_F16, 2, 2, 1, 1),
        entry(TO_K ".lokr_w2_b", DTYPE_F32, 2, 1, 2, 1), entry(TO_K ".alpha", DTYPE_F16, 0, 1, 1, 1)};
    const safetensors_entry whole[] = {entry(CONV ".lokr_w1", DTYPE_F32, 2, 2, 2, 1),
                                       entry(CONV ".lokr_w2", DTYPE_F32, 4, 2, 2, 3)};
    const safetensors_entry dora[] = {
        entry(TO_K ".lora_down.weight", DTYPE_F32, 2, 2, 4, 1), entry(TO_K ".lora_up.weight", DTYPE_BF16, 2, 4, 2, 1),
        entry(TO_K ".dora_scale", DTYPE_F32, 2, 4, 1, 1), entry(TO_K ".alpha", DTYPE_F16, 0, 1, 1, 1)};
    const safetensors_entry bias[] = {entry(CONV ".lora_down.weight", DTYPE_F16, 4, 1, 4, 3),
                                      entry(CONV ".lora_up.weight", DTYPE_F32, 4, 4, 1, 1),
                                      entry(CONV ".diff_b", DTYPE_F32, 1, 4, 1, 1),
                                      entry(NORM ".w_norm", DTYPE_F32, 1, 4, 1, 1),
                                      entry(NORM ".b_norm", DTYPE_F16, 1, 4, 1, 1),
                                      entry("bundle_emb.mine.emb_params", DTYPE_F32, 2, 2, 4, 1)};
    const safetensors_entry oft[] = {entry(TO_K ".oft_blocks", DTYPE_F32, 3, 2, 2, 2),
                                     entry(TO_K ".rescale", DTYPE_F32, 2, 4, 1, 1),
                                     entry(TO_K ".alpha", DTYPE_F16, 0, 1, 1, 1)};
    const safetensors_entry glora[] = {
        entry(TO_K ".a1.weight", DTYPE_F32, 2, 4, 2, 1), entry(TO_K ".a2.weight", DTYPE_F16, 2, 2, 4, 1),
        entry(TO_K ".b1.weight", DTYPE_F32, 2, 4, 2, 1), entry(TO_K ".b2.weight", DTYPE_F32, 2, 2, 4, 1)};
    const safetensors_entry tucker[] = {
        entry(CONV ".a1.weight", DTYPE_F32, 2, 4, 2, 1), entry(CONV ".a2.weight", DTYPE_F16, 2, 2, 4, 1),
        entry(CONV ".b1.weight", DTYPE_F32, 2, 4, 2, 1), entry(CONV ".b2.weight", DTYPE_F32, 4, 2, 4, 1),
        entry(CONV ".bm.weight", DTYPE_F32, 4, 2, 2, 3)};
    const safetensors_entry boft[] = {entry(TO_K ".oft_blocks", DTYPE_F32, 4, 2, 2, 2),
                                      entry(TO_K ".alpha", DTYPE_F16, 0, 1, 1, 1)};
    const safetensors_entry upper[] = {entry(TO_K ".oft_R.weight", DTYPE_F32, 2, 2, 1, 1)};
    const safetensors_entry shared[] = {entry(TO_K ".oft_R.weight", DTYPE_F16, 2, 1, 1, 1)};
    const safetensors_entry squares[] = {entry(TO_K ".oft_r", DTYPE_F32, 3, 2, 2, 2),
                                         entry(TO_K ".oft_s", DTYPE_F32, 2, 4, 1, 1)};
    const safetensors_entry butterfly[] = {entry(TO_K ".boft_R", DTYPE_F32, 4, 2, 2, 2),
                                           entry(TO_K ".boft_s", DTYPE_F32, 2, 4, 1, 1)};
    static const char *const turned[][2] = {
        {"lora_adapter_metadata",
         "{\"use_cayley_neumann\":true,\"num_cayley_neumann_terms\":5,\"peft_version\":\"0.21.2\"}"}};
    static const char *const exact[][2] = {
        {"lora_adapter_metadata",
         "{\"unet.use_cayley_neumann\":false,\"block_share\":true,\"r\":2,\"coft\":true,\"eps\":0.5}"}};
    const safetensors_entry ia3[] = {entry(TO_K ".weight", DTYPE_F32, 1, 4, 1, 1),
                                     entry(TO_K ".on_input", DTYPE_I64, 0, 1, 1, 1)};
    const safetensors_entry dora_in[] = {entry(TO_K ".lora_down.weight", DTYPE_F32, 2, 2, 4, 1),
                                         entry(TO_K ".lora_up.weight", DTYPE_BF16, 2, 4, 2, 1),
                                         entry(TO_K ".dora_scale", DTYPE_F32, 2, 1, 4, 1)};
    const safetensors_entry loha_dora[] = {loha[0], loha[1], loha[2], loha[3], dora[2], linear[2]};
    const safetensors_entry lokr_dora[] = {lokr[0], lokr[1], lokr[2], lokr[3], dora_in[2]};
    const safetensors_entry whole_dora[] = {whole[0], whole[1], entry(CONV ".dora_scale", DTYPE_F32, 4, 4, 1, 1)};
    const safetensors_entry named[] = {
        entry("diffusion_model.input_blocks.1.0.in_layers.2.diff_b", DTYPE_F32, 1, 4, 1, 1),
        entry("base_model.model.down_blocks.0.attentions.0.proj_in.lora_A.mine.weight", DTYPE_F32, 2, 2, 4, 1),
        entry("unet.down_blocks.0.attentions.0.proj_in.lora_B.weight", DTYPE_F32, 2, 4, 2, 1),
        entry("lycoris_mid_block_resnets_0_conv1.diff_b", DTYPE_F32, 1, 4, 1, 1),
        entry("epoch", DTYPE_I64, 0, 1, 1, 1)};
    static const char *const metadata[][2] = {{"ss_network_dim", "2"}, {"ss_network_alpha", "1.0"}};
    leco_error err = {0};
    leco_status status = LECO_OK;
    if (index == 0) status = safetensors_write(path, linear, 3, metadata, 2, &err);
    if (index == 1) status = safetensors_write(path, conv, 2, NULL, 0, &err);
    if (index == 2) status = safetensors_write(path, text, 3, NULL, 0, &err);
    if (index == 3) status = trainable_save(trained(), path, DTYPE_F16, NULL, &err);
    if (index == 4) status = safetensors_write(path, loha, 4, NULL, 0, &err);
    if (index == 5) status = safetensors_write(path, lokr, 4, NULL, 0, &err);
    if (index == 6) status = safetensors_write(path, whole, 2, NULL, 0, &err);
    if (index == 7) status = safetensors_write(path, dora, 4, NULL, 0, &err);
    if (index == 8) status = safetensors_write(path, dora_in, 3, NULL, 0, &err);
    if (index == 9) status = safetensors_write(path, bias, 6, NULL, 0, &err);
    if (index == 10) status = safetensors_write(path, oft, 3, NULL, 0, &err);
    if (index == 11) status = safetensors_write(path, glora, 4, NULL, 0, &err);
    if (index == 12) status = safetensors_write(path, ia3, 2, NULL, 0, &err);
    if (index == 13) status = safetensors_write(path, tucker, 5, NULL, 0, &err);
    if (index == 14) status = safetensors_write(path, boft, 2, NULL, 0, &err);
    if (index == 15) status = safetensors_write(path, upper, 1, turned, 1, &err);
    if (index == 16) status = safetensors_write(path, shared, 1, exact, 1, &err);
    if (index == 17) status = safetensors_write(path, squares, 2, exact, 1, &err);
    if (index == 18) status = safetensors_write(path, butterfly, 2, NULL, 0, &err);
    if (index == 19) status = safetensors_write(path, loha_dora, 6, NULL, 0, &err);
    if (index == 20) status = safetensors_write(path, lokr_dora, 5, NULL, 0, &err);
    if (index == 21) status = safetensors_write(path, whole_dora, 3, NULL, 0, &err);
    if (index == 22) status = safetensors_write(path, named, 5, NULL, 0, &err);
    FUZZ_CHECK(status == LECO_OK);
    return index < 23;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return fuzz_repair_tensors(data, size, capacity);
}
