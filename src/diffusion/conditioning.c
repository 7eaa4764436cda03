#include "diffusion/conditioning.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "model/prompt_syntax.h"

void conditioning_set_size(conditioning *c, int64_t height, int64_t width, picture_crop crop)
{
    if (crop.height == 0) crop = (picture_crop){.height = height, .width = width};
    const int64_t sizes[UNET_TIME_IDS] = {crop.height, crop.width, crop.top, crop.left, height, width};
    for (size_t i = 0; i < UNET_TIME_IDS; i++) c->sizes[i] = (float)sizes[i];
}

typedef struct entry {
    char *prompt;
    int32_t *ids;  /* [encoders,tokens] */
    float *states; /* and pooled behind them; NULL until it is encoded */
} entry;

struct conditioner {
    const model *model;
    int64_t tokens;
    size_t state_count, pooled_count; /* floats of one prompt's states, and of pooled: 0 where there is none */
    text_options options;
    runner runner; /* zeroed by conditioner_release_encoder */
    prompt_encoder encoder;
    entry *entry;
    size_t count, capacity;
    name_table by_prompt; /* places in entry */
    entry none;           /* zeros, of conditioner_get_none */
    prompts_told told;
    size_t most; /* bytes of prompts that stream; 0: these don't */
};

typedef struct building {
    conditioner *c;
    const adapter_set *adapters;
} building;

static void build(nn *n, void *user)
{
    const building *b = user;
    b->c->encoder = prompt_encoder_build(n->g, b->c->model, b->adapters, 1, b->c->tokens, b->c->options);
}

static leco_status plan(conditioner *c, const device *d, const adapter_set *adapters, leco_error *err)
{
    building b = {c, adapters};
    const runner_spec spec = {.device = d,
                              .weights = c->model->weights[PART_TEXT_ENCODER],
                              .part = PART_TEXT_ENCODER,
                              .adapters = adapters,
                              .what =
                                  model_has(c->model, PART_TEXT_ENCODER_2) ? "the text encoders" : "the text encoder",
                              .build = build,
                              .user = &b};
    LECO_TRY(runner_plan(&spec, &c->runner, err));
    c->state_count = (size_t)shape_count(&c->encoder.states->shape);
    if (c->encoder.pooled) c->pooled_count = (size_t)shape_count(&c->encoder.pooled->shape);
    return LECO_OK;
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
    leco_status status = plan(c, d, adapters, err);
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
        mem_free(c->entry[i].ids);
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
    mem_free(c->none.ids);
    mem_free(c->none.states);
    mem_free(c->entry);
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

size_t conditioner_prompt_bytes(const conditioner *c)
{
    return entry_floats(c) * sizeof(float) + c->encoder.count * (size_t)c->tokens * sizeof(int32_t);
}

/* Of all prompts there are. */
static size_t held_bytes(const conditioner *c)
{
    size_t bytes = c->capacity * sizeof *c->entry;
    for (size_t i = 0; i < c->count; i++) bytes += strlen(c->entry[i].prompt) + 1 + conditioner_prompt_bytes(c);
    return bytes;
}

size_t conditioner_bytes(const conditioner *c)
{
    return sizeof *c + (c->most ? c->most : held_bytes(c));
}

void conditioner_stream(conditioner *c, size_t bytes)
{
    c->most = bytes;
    c->told.length_once = true;
}

bool conditioner_streams(const conditioner *c)
{
    return c->most > 0;
}

void conditioner_trim(conditioner *c)
{
    if (c->most > 0 && held_bytes(c) > c->most / 2) conditioner_clear(c);
}

size_t conditioner_encoder_bytes(const conditioner *c)
{
    return runner_bytes(&c->runner);
}

size_t conditioner_arena_bytes(const conditioner *c)
{
    return runner_arena_bytes(&c->runner);
}

leco_status conditioning_ids(const tokenizer *t, const char *prompt, prompts_told *told, int32_t *ids, leco_error *err)
{
    size_t needed;
    LECO_TRY(tokenizer_encode(t, prompt, strlen(prompt), ids, &needed, err));
    const bool cut = needed > tokenizer_length(t);
    if (cut && !(told->length && told->length_once))
        log_message(LOG_WARNING, "prompt \"%.60s...\" needs %zu tokens; all after the first %zu are ignored", prompt,
                    needed, tokenizer_length(t));
    told->length = told->length || cut;
    prompt_syntax_tell(prompt, t, &told->syntax);
    return LECO_OK;
}

static leco_status encode(conditioner *c, const int32_t *ids, float *states, leco_error *err)
{
    int32_t eos;
    LECO_TRY(runner_prepare(&c->runner, err));
    session *s = c->runner.session;
    LECO_TRY(prompt_encoder_write(&c->encoder, s, ids, &eos, err));
    LECO_TRY(session_run(s, err));
    LECO_TRY(session_read(s, c->encoder.states, states, c->state_count, err));
    if (!c->encoder.pooled) return LECO_OK;
    return session_read(s, c->encoder.pooled, states + c->state_count, c->pooled_count, err);
}

static leco_status encode_entry(conditioner *c, entry *e, leco_error *err)
{
    if (e->states) return LECO_OK;
    if (!c->runner.graph) return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", e->prompt);
    float *states = mem_calloc(entry_floats(c), sizeof *states);
    if (!states) return error_memory(err, entry_floats(c) * sizeof *states, "a prompt's text states");
    leco_status status = encode(c, e->ids, states, err);
    if (status == LECO_OK)
        e->states = states;
    else
        mem_free(states);
    return status;
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

static leco_status fill_entry(conditioner *c, const char *prompt, entry *e, leco_error *err)
{
    e->prompt = mem_strdup(prompt);
    e->ids = mem_calloc(c->encoder.count * (size_t)c->tokens, sizeof *e->ids);
    if (!e->prompt || !e->ids) return error_memory(err, strlen(prompt) + 1, "a prompt");
    LECO_TRY(conditioning_ids(c->model->tokenizer, prompt, &c->told, e->ids, err));
    for (size_t i = 1; i < c->encoder.count; i++) { /* what is wrong with it was said */
        size_t needed;
        int32_t *ids = e->ids + i * (size_t)c->tokens;
        LECO_TRY(tokenizer_encode(c->encoder.of[i].tokenizer, prompt, strlen(prompt), ids, &needed, err));
    }
    return name_table_add(&c->by_prompt, e->prompt, c->count) ? LECO_OK : error_memory(err, strlen(prompt), "a prompt");
}

leco_status conditioner_add(conditioner *c, const char *prompt, leco_error *err)
{
    if (name_table_find(&c->by_prompt, prompt)) return LECO_OK;
    if (!c->runner.graph) return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", prompt);
    LECO_TRY(grow(c, err));
    entry e = {0};
    leco_status status = fill_entry(c, prompt, &e, err);
    if (status == LECO_OK) {
        c->entry[c->count++] = e;
        return LECO_OK;
    }
    mem_free(e.prompt);
    mem_free(e.ids);
    return status;
}

leco_status conditioner_prepare(conditioner *c, leco_error *err)
{
    for (size_t i = 0; i < c->count; i++) LECO_TRY(encode_entry(c, &c->entry[i], err));
    return LECO_OK;
}

static conditioning conditioning_of(const conditioner *c, const entry *e)
{
    return (conditioning){
        .ids = e->ids, .states = e->states, .pooled = c->pooled_count ? e->states + c->state_count : NULL};
}

leco_status conditioner_get(conditioner *c, const char *prompt, conditioning *out, leco_error *err)
{
    LECO_TRY(conditioner_add(c, prompt, err));
    entry *e = &c->entry[*name_table_find(&c->by_prompt, prompt)];
    LECO_TRY(encode_entry(c, e, err));
    *out = conditioning_of(c, e);
    return LECO_OK;
}

leco_status conditioner_get_none(conditioner *c, conditioning *out, leco_error *err)
{
    entry *e = &c->none;
    if (!c->model->zeros_for_none) return conditioner_get(c, "", out, err);
    if (!e->ids) e->ids = mem_calloc(c->encoder.count * (size_t)c->tokens, sizeof *e->ids);
    if (!e->states) e->states = mem_calloc(entry_floats(c), sizeof *e->states);
    if (!e->ids || !e->states) return error_memory(err, conditioner_prompt_bytes(c), "a prompt's text states");
    *out = conditioning_of(c, e);
    return LECO_OK;
}
