#include "solve/text_states.h"

#include <string.h>

#include "base/mem.h"
#include "model/family.h"

enum { BATCH = 8 };

struct text_states {
    const model *model;
    int64_t tokens;
    runner runner;
    text_encoder encoder;
    int32_t *ids;  /* [BATCH, tokens] */
    float *states; /* [BATCH, tokens, width] */
};

static void build(nn *n, void *user)
{
    text_states *s = user;
    text_options options = s->model->family->text;
    options.pooled = false;
    s->encoder = text_encoder_build(n, &s->model->text, BATCH, s->tokens, options);
}

static leco_status create(text_states *s, const device *d, leco_error *err)
{
    const runner_spec spec = {.device = d,
                              .weights = s->model->weights[PART_TEXT_ENCODER],
                              .part = PART_TEXT_ENCODER,
                              .what = "the text encoder",
                              .build = build,
                              .user = s};
    const size_t ids = (size_t)(BATCH * s->tokens), width = (size_t)s->model->text.hidden_size;
    s->ids = mem_calloc(ids, sizeof *s->ids);
    s->states = mem_calloc(ids, width * sizeof *s->states);
    if (!s->ids || !s->states) return error_memory(err, ids * width * sizeof *s->states, "text states");
    return runner_create(&spec, &s->runner, err);
}

leco_status text_states_create(const device *d, const model *m, int64_t tokens, text_states **out, leco_error *err)
{
    *out = NULL;
    text_states *s = mem_calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s, "text states");
    s->model = m;
    s->tokens = tokens;
    leco_status status = create(s, d, err);
    if (status == LECO_OK)
        *out = s;
    else
        text_states_destroy(s);
    return status;
}

void text_states_destroy(text_states *s)
{
    if (!s) return;
    runner_free(&s->runner);
    mem_free(s->ids);
    mem_free(s->states);
    mem_free(s);
}

int64_t text_states_tokens(const text_states *s)
{
    return s->tokens;
}

int64_t text_states_width(const text_states *s)
{
    return s->model->text.hidden_size;
}

leco_status text_states_run(text_states *s, const int32_t *ids, size_t count, float *states, leco_error *err)
{
    const size_t tokens = (size_t)s->tokens, each = tokens * (size_t)text_states_width(s);
    for (size_t from = 0; from < count; from += BATCH) {
        const size_t now = count - from < BATCH ? count - from : BATCH;
        memcpy(s->ids, ids + from * tokens, now * tokens * sizeof *ids); /* those behind keep what was there */
        LECO_TRY(session_write_i32(s->runner.session, s->encoder.ids, s->ids, BATCH * tokens, err));
        LECO_TRY(session_run(s->runner.session, err));
        LECO_TRY(session_read(s->runner.session, s->encoder.hidden_states, s->states, BATCH * each, err));
        memcpy(states + from * each, s->states, now * each * sizeof *states);
    }
    return LECO_OK;
}
