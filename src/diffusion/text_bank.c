#include "diffusion/text_bank.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "model/prompt_syntax.h"

typedef struct entry {
    char *prompt;
    float *states;
} entry;

struct text_bank {
    const model *model;
    int64_t tokens;
    size_t state_count; /* floats of one prompt's states */
    runner runner;      /* zeroed by text_bank_release_encoder */
    text_options options;
    text_encoder encoder;
    int32_t *ids; /* [tokens] */
    entry *entry;
    size_t count, capacity;
    name_table by_prompt; /* places in entry */
    bool syntax_told;
};

static void build(nn *c, void *user)
{
    text_bank *b = user;
    b->encoder = text_encoder_build(c, &b->model->text, 1, b->tokens, b->options);
}

static leco_status make_ready(text_bank *b, const device *d, const adapter_set *adapters, leco_error *err)
{
    const runner_spec spec = {.device = d,
                              .weights = b->model->weights[PART_TEXT_ENCODER],
                              .part = PART_TEXT_ENCODER,
                              .adapters = adapters,
                              .what = "the text encoder",
                              .build = build,
                              .user = b};
    return runner_create(&spec, &b->runner, err);
}

leco_status text_bank_create(const device *d, const model *m, const adapter_set *adapters, text_options options,
                             text_bank **out, leco_error *err)
{
    *out = NULL;
    if (!m->tokenizer) return error_set(err, LECO_INVALID, "%s has no tokenizer", m->folder);
    text_bank *b = mem_calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "the text states");
    b->model = m;
    b->options = options;
    b->tokens = (int64_t)tokenizer_length(m->tokenizer);
    b->state_count = (size_t)(b->tokens * m->text.hidden_size);
    b->ids = mem_calloc((size_t)b->tokens, sizeof *b->ids);
    leco_status status = b->ids ? LECO_OK : error_memory(err, (size_t)b->tokens * sizeof *b->ids, "token ids");
    if (status == LECO_OK) status = make_ready(b, d, adapters, err);
    if (status != LECO_OK) {
        text_bank_destroy(b);
        return status;
    }
    *out = b;
    return LECO_OK;
}

void text_bank_clear(text_bank *b)
{
    for (size_t i = 0; i < b->count; i++) {
        mem_free(b->entry[i].prompt);
        mem_free(b->entry[i].states);
    }
    b->count = 0;
    name_table_free(&b->by_prompt);
}

void text_bank_release_encoder(text_bank *b)
{
    runner_free(&b->runner);
}

void text_bank_destroy(text_bank *b)
{
    if (!b) return;
    text_bank_clear(b);
    text_bank_release_encoder(b);
    mem_free(b->entry);
    mem_free(b->ids);
    mem_free(b);
}

int64_t text_bank_tokens(const text_bank *b)
{
    return b->tokens;
}

size_t text_bank_bytes(const text_bank *b)
{
    size_t bytes = sizeof *b + (size_t)b->tokens * sizeof *b->ids + b->capacity * sizeof *b->entry;
    for (size_t i = 0; i < b->count; i++) bytes += strlen(b->entry[i].prompt) + 1 + b->state_count * sizeof(float);
    if (b->runner.session) bytes += graph_bytes(b->runner.graph) + session_bytes(b->runner.session);
    return bytes;
}

/* Once: somebody who knows it needn't hear it of every prompt. */
static void tell_syntax(text_bank *b, const char *prompt)
{
    size_t length;
    const char *piece = b->syntax_told ? NULL : prompt_syntax_find(prompt, &length);
    if (!piece) return;
    b->syntax_told = true;
    log_message(LOG_WARNING,
                "\"%.*s\" in a prompt is taken literally: leco reads prompts as plain text, without A1111's weights, "
                "BREAK, AND, <lora:...> or embeddings",
                (int)(length < 60 ? length : 60), piece);
}

static leco_status encode(text_bank *b, const char *prompt, float *states, leco_error *err)
{
    if (!b->runner.session) return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", prompt);
    size_t needed;
    LECO_TRY(tokenizer_encode(b->model->tokenizer, prompt, strlen(prompt), b->ids, &needed, err));
    if (needed > (size_t)b->tokens)
        log_message(LOG_WARNING, "prompt \"%.60s...\" needs %zu tokens; all after the first %lld are ignored", prompt,
                    needed, (long long)b->tokens);
    tell_syntax(b, prompt);
    session_write_i32(b->runner.session, b->encoder.ids, b->ids, (size_t)b->tokens);
    if (b->encoder.eos) {
        int32_t position;
        text_eos_positions(&b->model->text, b->ids, 1, b->tokens, &position);
        session_write_i32(b->runner.session, b->encoder.eos, &position, 1);
    }
    session_run(b->runner.session);
    session_read(b->runner.session, b->encoder.hidden_states, states, b->state_count);
    return LECO_OK;
}

static leco_status grow(text_bank *b, leco_error *err)
{
    if (b->count < b->capacity) return LECO_OK;
    size_t capacity = b->capacity ? 2 * b->capacity : 16;
    entry *grown = mem_realloc(b->entry, capacity, sizeof *grown);
    if (!grown) return error_memory(err, capacity * sizeof *grown, "the text states");
    b->entry = grown;
    b->capacity = capacity;
    return LECO_OK;
}

leco_status text_bank_get(text_bank *b, const char *prompt, const float **states, leco_error *err)
{
    const size_t *known = name_table_find(&b->by_prompt, prompt);
    if (known) {
        *states = b->entry[*known].states;
        return LECO_OK;
    }
    LECO_TRY(grow(b, err));
    entry e = {mem_strdup(prompt), mem_calloc(b->state_count, sizeof(float))};
    leco_status status =
        e.prompt && e.states ? LECO_OK : error_memory(err, b->state_count * sizeof(float), "a prompt's text states");
    if (status == LECO_OK) status = encode(b, prompt, e.states, err);
    if (status == LECO_OK && !name_table_add(&b->by_prompt, e.prompt, b->count))
        status = error_memory(err, (b->count + 1) * sizeof(name_slot), "the text states");
    if (status != LECO_OK) {
        mem_free(e.prompt);
        mem_free(e.states);
        return status;
    }
    b->entry[b->count++] = e;
    *states = e.states;
    return LECO_OK;
}
