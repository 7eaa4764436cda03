/* The weights of a small text encoder. */
#include "fuzz.h"

#include <string.h>

#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "model/text_encoder.h"

#define LAYER "text_model.encoder.layers.0."

const char *const fuzz_words[] = {LAYER "mlp.fc1.weight",
                                  LAYER "self_attn.k_proj.bias",
                                  "text_model.embeddings.position_ids",
                                  "text_model.final_layer_norm.weight",
                                  "text_projection.weight",
                                  "bias",
                                  "weight",
                                  "\"dtype\":",
                                  "\"shape\":[2,2,1,1]",
                                  "\"shape\":[]",
                                  "\"F32\"",
                                  "\"F16\"",
                                  "\"BF16\"",
                                  "\"F64\"",
                                  "\"I64\"",
                                  "\"U8\"",
                                  "[2,2]",
                                  "[2]",
                                  "[2,2,1,1,1]",
                                  NULL};

static const text_config config = {.vocab_size = 2,
                                   .hidden_size = 2,
                                   .intermediate_size = 2,
                                   .max_positions = 2,
                                   .layers = 1,
                                   .heads = 1,
                                   .norm_eps = 1e-5f};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    weights *w = NULL;
    leco_status status = weights_open_file(fuzz_path(data, size), &w, &err);
    fuzz_accepted = false;
    if (status != LECO_OK) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!w);
        return 0;
    }
    graph *g = graph_create(DTYPE_F32);
    FUZZ_CHECK(g);
    nn context;
    nn_init(&context, g, w, NULL, PART_TEXT_ENCODER);
    text_encoder_build(&context, &config, 1, 1, (text_options){.pooled = true});
    status = graph_finish(g, &err);
    if (status == LECO_OK) status = weights_check(w, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) FUZZ_REFUSED(status, &err);
    graph_destroy(g);
    weights_close(w);
    return 0;
}

/* ---- seeds ---- */

#define MAX_TENSORS 40

typedef struct made {
    safetensors_entry entries[MAX_TENSORS];
    size_t count;
    dtype type;
} made;

static void add(made *m, const char *name, bool is_matrix)
{
    static const float values[8] = {1, -2, 0.5f};
    FUZZ_CHECK(m->count < MAX_TENSORS);
    m->entries[m->count++] = (safetensors_entry){.name = name,
                                                 .type = m->type,
                                                 .rank = is_matrix ? 2 : 1,
                                                 .shape = {2, 2},
                                                 .count = is_matrix ? 4 : 2,
                                                 .data = values};
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F64};
    static const char *const layers[][2] = {{LAYER "self_attn.q_proj.weight", LAYER "self_attn.q_proj.bias"},
                                            {LAYER "self_attn.k_proj.weight", LAYER "self_attn.k_proj.bias"},
                                            {LAYER "self_attn.v_proj.weight", LAYER "self_attn.v_proj.bias"},
                                            {LAYER "self_attn.out_proj.weight", LAYER "self_attn.out_proj.bias"},
                                            {LAYER "mlp.fc1.weight", LAYER "mlp.fc1.bias"},
                                            {LAYER "mlp.fc2.weight", LAYER "mlp.fc2.bias"},
                                            {"text_model.embeddings.token_embedding.weight", NULL},
                                            {"text_model.embeddings.position_embedding.weight", NULL}};
    static const char *const norms[] = {LAYER "layer_norm1.weight",           LAYER "layer_norm1.bias",
                                        LAYER "layer_norm2.weight",           LAYER "layer_norm2.bias",
                                        "text_model.final_layer_norm.weight", "text_model.final_layer_norm.bias"};
    if (index >= sizeof types / sizeof *types) return false;
    made m = {.type = types[index]};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        add(&m, layers[i][0], true);
        if (layers[i][1]) add(&m, layers[i][1], false);
    }
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) add(&m, norms[i], false);
    FUZZ_CHECK(safetensors_write(path, m.entries, m.count, NULL, 0, NULL) == LECO_OK);
    return true;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return fuzz_repair_tensors(data, size, capacity);
}
