/* The text encoders of a model, all in one graph: token ids to what its U-Net is conditioned on. */
#ifndef LECO_DIFFUSION_PROMPT_ENCODER_H
#define LECO_DIFFUSION_PROMPT_ENCODER_H

#include "backend/session.h"
#include "model/model.h"
#include "model/trainable.h"

typedef struct prompt_encoder {
    text_part of[MODEL_MOST_TEXTS];
    text_encoder text[MODEL_MOST_TEXTS];
    size_t count;
    int64_t batch, tokens;
    tensor *states; /* result [B,T,D]: of each token those of the first encoder, then those of the second */
    tensor *pooled; /* result [B,P], of the last encoder; NULL unless options ask for it */
} prompt_encoder;

/* Builds them over m's weights (mapped by the caller), which outlive the graph. Failures end up in the graph. */
prompt_encoder prompt_encoder_build(graph *g, const model *m, const adapter_set *adapters, int64_t batch,
                                    int64_t tokens, text_options options);

/* Their inputs, before a run: ids [count,B,tokens], of each encoder's tokenizer. eos [B] is overwritten. */
leco_status prompt_encoder_write(const prompt_encoder *e, session *s, const int32_t *ids, int32_t *eos,
                                 leco_error *err);

#endif
