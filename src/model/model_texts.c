#include "model/model.h"

bool model_has(const model *m, model_part part)
{
    return part != PART_TEXT_ENCODER_2 || m->text_2.hidden_size > 0;
}

size_t model_texts(const model *m, text_part out[MODEL_MOST_TEXTS])
{
    out[0] = (text_part){PART_TEXT_ENCODER, &m->text, m->tokenizer};
    if (!model_has(m, PART_TEXT_ENCODER_2)) return 1;
    out[1] = (text_part){PART_TEXT_ENCODER_2, &m->text_2, m->tokenizer_2};
    return 2;
}

size_t model_text_bytes(const model *m, size_t (*count)(const weights *w))
{
    const weights *first = m->weights[PART_TEXT_ENCODER], *second = m->weights[PART_TEXT_ENCODER_2];
    return (first ? count(first) : 0) + (second ? count(second) : 0);
}

int64_t model_text_width(const model *m)
{
    return m->text.hidden_size + m->text_2.hidden_size;
}

leco_status model_skip_layers(model *m, int64_t clip_skip, leco_error *err)
{
    text_part parts[MODEL_MOST_TEXTS];
    const size_t count = model_texts(m, parts);
    for (size_t i = 0; i < count; i++)
        if (clip_skip < 0 || clip_skip > parts[i].config->layers)
            return error_set(err, LECO_INVALID, "clip_skip is %lld, but the text encoder has %lld layers",
                             (long long)clip_skip, (long long)parts[i].config->layers);
    m->clip_skip = clip_skip;
    if (clip_skip - 1 > m->states.skip_layers) m->states.skip_layers = clip_skip - 1;
    return LECO_OK;
}
