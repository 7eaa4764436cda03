#include "diffusion/prompt_encoder.h"

#include "op/op.h"

prompt_encoder prompt_encoder_build(graph *g, const model *m, const adapter_set *adapters, int64_t batch,
                                    int64_t tokens, text_options options)
{
    prompt_encoder e = {.batch = batch, .tokens = tokens};
    const bool pooled = options.pooled;
    e.count = model_texts(m, e.of);
    for (size_t i = 0; i < e.count; i++) {
        nn c;
        nn_init(&c, g, m->weights[e.of[i].part], adapters, e.of[i].part);
        options.pooled = pooled && i == e.count - 1;
        e.text[i] = text_encoder_build(&c, e.of[i].config, batch, tokens, options);
        graph_set_name(g, "");
        e.states = i == 0 ? e.text[i].hidden_states : op_concat(g, e.states, e.text[i].hidden_states);
        e.pooled = e.text[i].pooled;
    }
    if (graph_ok(g) && e.count > 1) graph_result(g, e.states);
    return e;
}

leco_status prompt_encoder_write(const prompt_encoder *e, session *s, const int32_t *ids, int32_t *eos, leco_error *err)
{
    const size_t each = (size_t)(e->batch * e->tokens);
    for (size_t i = 0; i < e->count; i++, ids += each) {
        LECO_TRY(session_write_i32(s, e->text[i].ids, ids, each, err));
        if (!e->text[i].eos) continue;
        text_eos_positions(e->of[i].config, ids, e->batch, e->tokens, eos);
        LECO_TRY(session_write_i32(s, e->text[i].eos, eos, (size_t)e->batch, err));
    }
    return LECO_OK;
}
