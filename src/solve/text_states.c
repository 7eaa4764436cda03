#include "solve/text_states.h"

#include <string.h>

#include "base/mem.h"
#include "model/family.h"

enum { BATCH = 8 };

/* One text encoder: all there is, or half. */
typedef struct half {
    const text_states *all;
    text_part of;
    size_t width; /* of its states */
    runner runner;
    text_encoder encoder;
} half;

struct text_states {
    const model *model;
    int64_t tokens;
    half half[MODEL_MOST_TEXTS];
    size_t halves, width; /* of their states, side by side */
    int32_t *ids;         /* [BATCH, tokens] */
    float *states;        /* [BATCH, tokens, width] */
};

static void build(nn *n, void *user)
{
    half *h = user;
    text_options options = h->all->model->states;
    options.pooled = false;
    h->encoder = text_encoder_build(n, h->of.config, BATCH, h->all->tokens, options);
}

/* The second encoder is asked with the first tokenizer's ids: then both must mean the same by them. */
static leco_status check_tokenizers(const text_states *s, leco_error *err)
{
    const tokenizer *first = s->half[0].of.tokenizer, *second = s->half[s->halves - 1].of.tokenizer;
    if (tokenizer_same_words(first, second)) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED,
                     "%s: its two tokenizers have different vocabularies, which closed-form edits can't bring together",
                     s->model->folder);
}

static leco_status create(text_states *s, const device *d, leco_error *err)
{
    text_part parts[MODEL_MOST_TEXTS];
    s->halves = model_texts(s->model, parts);
    s->width = (size_t)model_text_width(s->model);
    for (size_t i = 0; i < s->halves; i++)
        s->half[i] = (half){.all = s, .of = parts[i], .width = (size_t)parts[i].config->hidden_size};
    LECO_TRY(check_tokenizers(s, err));
    const size_t ids = (size_t)(BATCH * s->tokens);
    s->ids = mem_calloc(ids, sizeof *s->ids);
    s->states = mem_calloc(ids, s->width * sizeof *s->states);
    if (!s->ids || !s->states) return error_memory(err, ids * s->width * sizeof *s->states, "text states");
    for (size_t i = 0; i < s->halves; i++) {
        const runner_spec spec = {.device = d,
                                  .weights = s->model->weights[parts[i].part],
                                  .part = parts[i].part,
                                  .what = i == 0 ? "the text encoder" : "the second text encoder",
                                  .build = build,
                                  .user = &s->half[i]};
        LECO_TRY(runner_create(&spec, &s->half[i].runner, err));
    }
    return LECO_OK;
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
    for (size_t i = 0; i < s->halves; i++) runner_free(&s->half[i].runner);
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
    return (int64_t)s->width;
}

/* Behind the end each tokenizer has padding of its own. */
static void pad(const text_states *s, const tokenizer *t)
{
    const size_t tokens = (size_t)s->tokens;
    for (size_t i = 0; i < BATCH; i++) {
        bool ended = false;
        for (size_t k = 0; k < tokens; k++) {
            int32_t *id = &s->ids[i * tokens + k];
            if (ended) *id = tokenizer_pad(t);
            ended = ended || *id == tokenizer_end(t);
        }
    }
}

/* Into the half's columns of `states`, for the first `count` texts of the batch. */
static leco_status run_half(const text_states *s, half *h, size_t column, size_t count, float *states, leco_error *err)
{
    const size_t rows = BATCH * (size_t)s->tokens;
    session *of = h->runner.session;
    pad(s, h->of.tokenizer);
    LECO_TRY(session_write_i32(of, h->encoder.ids, s->ids, rows, err));
    LECO_TRY(session_run(of, err));
    LECO_TRY(session_read(of, h->encoder.hidden_states, s->states, rows * h->width, err));
    for (size_t i = 0; i < count * (size_t)s->tokens; i++)
        memcpy(states + i * s->width + column, s->states + i * h->width, h->width * sizeof *states);
    return LECO_OK;
}

leco_status text_states_run(text_states *s, const int32_t *ids, size_t count, float *states, leco_error *err)
{
    const size_t tokens = (size_t)s->tokens;
    for (size_t from = 0; from < count; from += BATCH) {
        const size_t now = count - from < BATCH ? count - from : BATCH;
        memcpy(s->ids, ids + from * tokens, now * tokens * sizeof *ids); /* those behind keep what was there */
        for (size_t i = 0, column = 0; i < s->halves; column += s->half[i++].width)
            LECO_TRY(run_half(s, &s->half[i], column, now, states + from * tokens * s->width, err));
    }
    return LECO_OK;
}
