#include "diffusion/conditioning.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "model/prompt_syntax.h"

void conditioning_set_size(conditioning *c, int64_t height, int64_t width)
{
    const float h = (float)height, w = (float)width;
    const float sizes[UNET_TIME_IDS] = {h, w, 0, 0, h, w};
    memcpy(c->sizes, sizes, sizeof sizes);
}

typedef struct entry {
    char *prompt;
    float *states; /* and pooled behind them */
} entry;

struct conditioner {
    const model *model;
    int64_t tokens;
    size_t state_count, pooled_count; /* floats of one prompt's states, and of pooled: 0 where there is none */
    runner runner;                    /* zeroed by conditioner_release_encoder */
    text_options options;
    text_encoder encoder;
    int32_t *ids; /* [tokens] */
    entry *entry;
    size_t count, capacity;
    name_table by_prompt; /* places in entry */
    bool syntax_told;
};

static void build(nn *n, void *user)
{
    conditioner *c = user;
    c->encoder = text_encoder_build(n, &c->model->text, 1, c->tokens, c->options);
}

static leco_status make_ready(conditioner *c, const device *d, const adapter_set *adapters, leco_error *err)
{
    const runner_spec spec = {.device = d,
                              .weights = c->model->weights[PART_TEXT_ENCODER],
                              .part = PART_TEXT_ENCODER,
                              .adapters = adapters,
                              .what = "the text encoder",
                              .build = build,
                              .user = c};
    return runner_create(&spec, &c->runner, err);
}

leco_status conditioner_create(const device *d, const model *m, const adapter_set *adapters, text_options options,
                               conditioner **out, leco_error *err)
{
    *out = NULL;
    if (!m->tokenizer) return error_set(err, LECO_INVALID, "%s has no tokenizer", m->folder);
    conditioner *c = mem_calloc(1, sizeof *c);
    if (!c) return error_memory(err, sizeof *c, "the text states");
    c->model = m;
    c->options = options;
    c->tokens = (int64_t)tokenizer_length(m->tokenizer);
    c->state_count = (size_t)(c->tokens * m->text.hidden_size);
    c->ids = mem_calloc((size_t)c->tokens, sizeof *c->ids);
    leco_status status = c->ids ? LECO_OK : error_memory(err, (size_t)c->tokens * sizeof *c->ids, "token ids");
    if (status == LECO_OK) status = make_ready(c, d, adapters, err);
    if (status == LECO_OK && c->encoder.pooled) c->pooled_count = (size_t)shape_count(&c->encoder.pooled->shape);
    if (status != LECO_OK) {
        conditioner_destroy(c);
        return status;
    }
    *out = c;
    return LECO_OK;
}

void conditioner_clear(conditioner *c)
{
    for (size_t i = 0; i < c->count; i++) {
        mem_free(c->entry[i].prompt);
        mem_free(c->entry[i].states);
    }
    c->count = 0;
    name_table_free(&c->by_prompt);
}

void conditioner_release_encoder(conditioner *c)
{
    runner_free(&c->runner);
}

void conditioner_destroy(conditioner *c)
{
    if (!c) return;
    conditioner_clear(c);
    conditioner_release_encoder(c);
    mem_free(c->entry);
    mem_free(c->ids);
    mem_free(c);
}

static size_t entry_floats(const conditioner *c)
{
    return c->state_count + c->pooled_count;
}

int64_t conditioner_tokens(const conditioner *c)
{
    return c->tokens;
}

size_t conditioner_bytes(const conditioner *c)
{
    size_t bytes = sizeof *c + (size_t)c->tokens * sizeof *c->ids + c->capacity * sizeof *c->entry;
    for (size_t i = 0; i < c->count; i++) bytes += strlen(c->entry[i].prompt) + 1 + entry_floats(c) * sizeof(float);
    if (c->runner.session) bytes += graph_bytes(c->runner.graph) + session_bytes(c->runner.session);
    return bytes;
}

leco_status conditioning_ids(const tokenizer *t, const char *prompt, bool *syntax_told, int32_t *ids, leco_error *err)
{
    size_t needed;
    LECO_TRY(tokenizer_encode(t, prompt, strlen(prompt), ids, &needed, err));
    if (needed > tokenizer_length(t))
        log_message(LOG_WARNING, "prompt \"%.60s...\" needs %zu tokens; all after the first %zu are ignored", prompt,
                    needed, tokenizer_length(t));
    prompt_syntax_tell(prompt, syntax_told);
    return LECO_OK;
}

static leco_status encode(conditioner *c, const char *prompt, float *states, leco_error *err)
{
    if (!c->runner.session) return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", prompt);
    LECO_TRY(conditioning_ids(c->model->tokenizer, prompt, &c->syntax_told, c->ids, err));
    session_write_i32(c->runner.session, c->encoder.ids, c->ids, (size_t)c->tokens);
    if (c->encoder.eos) {
        int32_t position;
        text_eos_positions(&c->model->text, c->ids, 1, c->tokens, &position);
        session_write_i32(c->runner.session, c->encoder.eos, &position, 1);
    }
    session_run(c->runner.session);
    session_read(c->runner.session, c->encoder.hidden_states, states, c->state_count);
    if (c->encoder.pooled) session_read(c->runner.session, c->encoder.pooled, states + c->state_count, c->pooled_count);
    return LECO_OK;
}

static leco_status grow(conditioner *c, leco_error *err)
{
    if (c->count < c->capacity) return LECO_OK;
    size_t capacity = c->capacity ? 2 * c->capacity : 16;
    entry *grown = mem_realloc(c->entry, capacity, sizeof *grown);
    if (!grown) return error_memory(err, capacity * sizeof *grown, "the text states");
    c->entry = grown;
    c->capacity = capacity;
    return LECO_OK;
}

static conditioning conditioning_of(const conditioner *c, const entry *e)
{
    return (conditioning){.states = e->states, .pooled = c->pooled_count ? e->states + c->state_count : NULL};
}

leco_status conditioner_get(conditioner *c, const char *prompt, conditioning *out, leco_error *err)
{
    const size_t *known = name_table_find(&c->by_prompt, prompt);
    if (known) {
        *out = conditioning_of(c, &c->entry[*known]);
        return LECO_OK;
    }
    LECO_TRY(grow(c, err));
    entry e = {mem_strdup(prompt), mem_calloc(entry_floats(c), sizeof(float))};
    leco_status status =
        e.prompt && e.states ? LECO_OK : error_memory(err, entry_floats(c) * sizeof(float), "a prompt's text states");
    if (status == LECO_OK) status = encode(c, prompt, e.states, err);
    if (status == LECO_OK && !name_table_add(&c->by_prompt, e.prompt, c->count))
        status = error_memory(err, (c->count + 1) * sizeof(name_slot), "the text states");
    if (status != LECO_OK) {
        mem_free(e.prompt);
        mem_free(e.states);
        return status;
    }
    c->entry[c->count++] = e;
    *out = conditioning_of(c, &e);
    return LECO_OK;
}
