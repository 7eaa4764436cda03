/* CLIP's text encoder: token ids to the hidden states that condition the U-Net.
 *
 * Source: Radford et al., "Learning transferable visual models from natural language supervision" (2021);
 * transformers' CLIPTextModel and CLIPTextModelWithProjection. */
#ifndef LECO_MODEL_TEXT_ENCODER_H
#define LECO_MODEL_TEXT_ENCODER_H

#include "model/module.h"

typedef struct text_config {
    int64_t vocab_size, hidden_size, intermediate_size, max_positions;
    int64_t layers, heads;
    activation act; /* ACT_QUICK_GELU or ACT_GELU */
    float norm_eps;
    int64_t eos_token_id;
    int64_t projection_dim; /* of text_projection; 0: a CLIPTextModel, which has none */
} text_config;

/* Reads FOLDER/config.json. What leco can't do is LECO_UNSUPPORTED, naming file, key and value. */
leco_status text_config_read(const char *folder, text_config *config, leco_error *err);

typedef struct text_options {
    int64_t skip_layers; /* last layers left out: 0 for SD1, 1 for "clip skip 2" and for SDXL */
    bool no_final_norm;  /* the hidden states as they leave that layer (SDXL) */
    bool pooled;         /* make `pooled`, too */
} text_options;

typedef struct text_encoder {
    tensor *ids;           /* input [B,T] I32, each in [0, vocab_size), or of an embedding in use */
    tensor *eos;           /* input [B] I32: text_eos_positions of ids; NULL unless pooled */
    tensor *hidden_states; /* result [B,T,D] */
    tensor *pooled; /* result [B,D], or [B,projection_dim]: the last layer's normed state at the end token; or NULL */
} text_encoder;

/* Builds the encoder into c->g (part PART_TEXT_ENCODER) with its inputs and results. T is at most max_positions. */
text_encoder text_encoder_build(nn *c, const text_config *config, int64_t batch, int64_t tokens, text_options options);

/* Where transformers reads the pooled state of each sequence: the first end token; with the legacy eos_token_id 2 the
 * first occurrence of the highest id, where an embedding's count as none (to transformers they would be the end).
 * ids [batch,tokens] -> positions [batch]. */
void text_eos_positions(const text_config *config, const int32_t *ids, int64_t batch, int64_t tokens,
                        int32_t *positions);

#endif
