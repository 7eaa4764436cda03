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
    int32_t *ids;  /* [halves,tokens] */
    float *states; /* and pooled behind them; NULL until it is encoded */
} entry;

/* One text encoder: all there is, or half. */
typedef struct half {
    text_part of;
    size_t width;  /* of its states */
    runner runner; /* zeroed by conditioner_release_encoder */
    text_encoder encoder;
} half;

struct conditioner {
    const model *model;
    int64_t tokens;
    size_t state_count, pooled_count; /* floats of one prompt's states, and of pooled: 0 where there is none */
    text_options options;
    half half[MODEL_MOST_TEXTS];
    size_t halves;
    entry *entry;
    size_t count, capacity;
    name_table by_prompt; /* places in entry */
    entry none;           /* zeros, of conditioner_get_none */
    prompts_told told;
    size_t most; /* bytes of prompts that stream; 0: these don't */
};

typedef struct building {
    half *half;
    int64_t tokens;
    text_options options;
} building;

static void build(nn *n, void *user)
{
    const building *b = user;
    b->half->encoder = text_encoder_build(n, b->half->of.config, 1, b->tokens, b->options);
}

/* pooled, where it is wanted, is the last one's. */
static leco_status plan(conditioner *c, const device *d, const adapter_set *adapters, leco_error *err)
{
    for (size_t i = 0; i < c->halves; i++) {
        half *h = &c->half[i];
        building b = {h, c->tokens, c->options};
        b.options.pooled = c->options.pooled && i == c->halves - 1;
        const runner_spec spec = {.device = d,
                                  .weights = c->model->weights[h->of.part],
                                  .part = h->of.part,
                                  .adapters = adapters,
                                  .what = i == 0 ? "the text encoder" : "the second text encoder",
                                  .build = build,
                                  .user = &b};
        LECO_TRY(runner_plan(&spec, &h->runner, err));
        if (h->encoder.pooled) c->pooled_count = (size_t)shape_count(&h->encoder.pooled->shape);
    }
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
    text_part parts[MODEL_MOST_TEXTS];
    c->halves = model_texts(m, parts);
    for (size_t i = 0; i < c->halves; i++) {
        c->half[i] = (half){.of = parts[i], .width = (size_t)parts[i].config->hidden_size};
        c->state_count += (size_t)c->tokens * c->half[i].width;
    }
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
    for (size_t i = 0; i < c->halves; i++) runner_free(&c->half[i].runner);
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
    return entry_floats(c) * sizeof(float) + c->halves * (size_t)c->tokens * sizeof(int32_t);
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
    size_t bytes = 0;
    for (size_t i = 0; i < c->halves; i++) bytes += runner_bytes(&c->half[i].runner);
    return bytes;
}

size_t conditioner_arena_bytes(const conditioner *c)
{
    size_t largest = 0; /* which they share */
    for (size_t i = 0; i < c->halves; i++) {
        const size_t bytes = runner_arena_bytes(&c->half[i].runner);
        if (bytes > largest) largest = bytes;
    }
    return largest;
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

/* Its states [tokens,width] into own, and pooled, where it makes that, behind all states. */
static leco_status encode_half(const conditioner *c, const half *h, const int32_t *ids, float *own, float *states,
                               leco_error *err)
{
    session *s = h->runner.session;
    LECO_TRY(session_write_i32(s, h->encoder.ids, ids, (size_t)c->tokens, err));
    if (h->encoder.eos) {
        int32_t position;
        text_eos_positions(h->of.config, ids, 1, c->tokens, &position);
        LECO_TRY(session_write_i32(s, h->encoder.eos, &position, 1, err));
    }
    LECO_TRY(session_run(s, err));
    LECO_TRY(session_read(s, h->encoder.hidden_states, own, (size_t)c->tokens * h->width, err));
    if (!h->encoder.pooled) return LECO_OK;
    return session_read(s, h->encoder.pooled, states + c->state_count, c->pooled_count, err);
}

/* The states of two encoders go side by side, token by token. */
static leco_status encode_both(const conditioner *c, const int32_t *ids, float *states, leco_error *err)
{
    const size_t tokens = (size_t)c->tokens, width = c->state_count / tokens;
    float *own = mem_calloc(c->state_count, sizeof *own);
    if (!own) return error_memory(err, c->state_count * sizeof *own, "a prompt's text states");
    leco_status status = LECO_OK;
    size_t at = 0;
    for (size_t i = 0; i < c->halves && status == LECO_OK; i++) {
        const half *h = &c->half[i];
        status = encode_half(c, h, ids + i * tokens, own, states, err);
        for (size_t t = 0; t < tokens && status == LECO_OK; t++)
            memcpy(states + t * width + at, own + t * h->width, h->width * sizeof *states);
        at += h->width;
    }
    mem_free(own);
    return status;
}

static leco_status encode(conditioner *c, const int32_t *ids, float *states, leco_error *err)
{
    for (size_t i = 0; i < c->halves; i++) LECO_TRY(runner_prepare(&c->half[i].runner, err));
    return c->halves == 1 ? encode_half(c, &c->half[0], ids, states, states, err) : encode_both(c, ids, states, err);
}

static leco_status encode_entry(conditioner *c, entry *e, leco_error *err)
{
    if (e->states) return LECO_OK;
    if (!c->half[0].runner.graph)
        return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", e->prompt);
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
    e->ids = mem_calloc(c->halves * (size_t)c->tokens, sizeof *e->ids);
    if (!e->prompt || !e->ids) return error_memory(err, strlen(prompt) + 1, "a prompt");
    LECO_TRY(conditioning_ids(c->model->tokenizer, prompt, &c->told, e->ids, err));
    if (c->halves == 2) { /* what is wrong with it was said */
        size_t needed;
        int32_t *ids = e->ids + c->tokens;
        LECO_TRY(tokenizer_encode(c->half[1].of.tokenizer, prompt, strlen(prompt), ids, &needed, err));
    }
    return name_table_add(&c->by_prompt, e->prompt, c->count) ? LECO_OK : error_memory(err, strlen(prompt), "a prompt");
}

leco_status conditioner_add(conditioner *c, const char *prompt, leco_error *err)
{
    if (name_table_find(&c->by_prompt, prompt)) return LECO_OK;
    if (!c->half[0].runner.graph) return error_set(err, LECO_INTERNAL, "prompt \"%s\" was not encoded in time", prompt);
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
    if (!e->ids) e->ids = mem_calloc(c->halves * (size_t)c->tokens, sizeof *e->ids);
    if (!e->states) e->states = mem_calloc(entry_floats(c), sizeof *e->states);
    if (!e->ids || !e->states) return error_memory(err, conditioner_prompt_bytes(c), "a prompt's text states");
    *out = conditioning_of(c, e);
    return LECO_OK;
}
