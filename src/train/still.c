#include "train/still.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "train/modes.h"

/* ---- texts as the model sees them ---- */

/* Finds for each text the first one that has the same token ids. */
typedef struct spellings {
    const tokenizer *tokens;
    arena *memory;
    int32_t *ids;               /* [tokenizer_length] */
    const char **first;         /* texts that differ in their ids */
    size_t count;               /* of these */
    name_table by_text, by_ids; /* places in `first` */
} spellings;

enum { ID_DIGITS = 6 }; /* base 64, of 32 bits */

/* The ids as a text, for the table. */
static char *name_of_ids(spellings *s)
{
    const size_t length = tokenizer_length(s->tokens);
    char *name = arena_alloc(s->memory, length * ID_DIGITS + 1, 1), *at = name;
    for (size_t i = 0; name && i < length; i++)
        for (int k = 0; k < ID_DIGITS; k++) *at++ = (char)('0' + ((uint32_t)s->ids[i] >> (6 * k) & 63));
    return name;
}

/* *text becomes the first one like it. */
static leco_status canonical(spellings *s, const char **text, leco_error *err)
{
    const size_t *known = name_table_find(&s->by_text, *text);
    if (known) {
        *text = s->first[*known];
        return LECO_OK;
    }
    LECO_TRY(tokenizer_encode(s->tokens, *text, strlen(*text), s->ids, NULL, err));
    const char *name = name_of_ids(s);
    if (!name) return error_memory(err, 0, "token ids");
    const size_t *same = name_table_find(&s->by_ids, name), place = same ? *same : s->count;
    if (!same) s->first[s->count++] = *text;
    if ((!same && !name_table_add(&s->by_ids, name, place)) || !name_table_add(&s->by_text, *text, place))
        return error_memory(err, 0, "token ids");
    *text = s->first[place];
    return LECO_OK;
}

enum { PROMPT_TEXTS = 4 };

static void texts_of(train_prompt *p, const char **texts[PROMPT_TEXTS])
{
    texts[0] = &p->target;
    texts[1] = &p->positive;
    texts[2] = &p->unconditional;
    texts[3] = &p->neutral;
}

/* Those of the entry's own terms: a teacher's tokenizer may be another one. */
static leco_status make_terms_canonical(spellings *s, train_prompt *p, leco_error *err)
{
    if (p->term_count == 0) return LECO_OK;
    train_term *copy = arena_alloc(s->memory, p->term_count, sizeof *copy);
    if (!copy) return error_memory(err, p->term_count * sizeof *copy, "the prompts");
    memcpy(copy, p->term, p->term_count * sizeof *copy);
    p->term = copy;
    for (size_t i = 0; i < p->term_count; i++) {
        leco_status status = copy[i].teacher == 0 ? canonical(s, &copy[i].prompt, err) : LECO_OK;
        if (status != LECO_OK) return error_prefix(err, status, "%s", p->place);
    }
    return LECO_OK;
}

/* prompts [count] */
static leco_status make_canonical(spellings *s, train_prompt *prompts, size_t count, leco_error *err)
{
    s->ids = arena_alloc(s->memory, tokenizer_length(s->tokens), sizeof *s->ids);
    size_t texts_in_all = PROMPT_TEXTS * count;
    for (size_t i = 0; i < count; i++) texts_in_all += prompts[i].term_count;
    s->first = arena_alloc(s->memory, texts_in_all, sizeof *s->first);
    if (!s->first || !s->ids) return error_memory(err, texts_in_all * sizeof *s->first, "token ids");
    for (size_t i = 0; i < count; i++) {
        const char **texts[PROMPT_TEXTS];
        texts_of(&prompts[i], texts);
        for (size_t k = 0; k < PROMPT_TEXTS; k++) {
            leco_status status = canonical(s, texts[k], err);
            if (status != LECO_OK) return error_prefix(err, status, "%s", prompts[i].place);
        }
        LECO_TRY(make_terms_canonical(s, &prompts[i], err));
    }
    return LECO_OK;
}

/* ---- what trains nothing ---- */

/* Why an entry moves nothing, and what would. */
static const char *remedy(const train_prompt *p, bool *meant)
{
    *meant = p->weight == 0;
    if (p->weight == 0) return "its weight is 0";
    if (p->multiplier == 0) return "its multiplier is 0, which leaves the adapter out";
    return p->action->remedy(p, meant);
}

/* A hint where another spelling of the same is among its texts. */
static const char *spelling(const train_prompt *written, const train_prompt *seen)
{
    train_prompt a = *written, b = *seen;
    const char **one[PROMPT_TEXTS], **other[PROMPT_TEXTS];
    texts_of(&a, one);
    texts_of(&b, other);
    bool same = true;
    for (size_t i = 0; i < PROMPT_TEXTS; i++) same = same && strcmp(*one[i], *other[i]) == 0;
    return same ? "" : " (texts that have the same tokens, as \"Red \" and \"red\", are one prompt)";
}

static leco_status judge(const train_config *config, const train_prompt *seen, const objective *objectives,
                         leco_error *err)
{
    size_t first = 0, odd = 0, still = 0, odd_count = 0;
    bool unused;
    for (size_t i = 0; i < config->prompt_count; i++) {
        bool meant;
        if (!objective_is_still(&objectives[i])) continue;
        if (still++ == 0) first = i;
        remedy(&seen[i], &meant);
        if (!meant && odd_count++ == 0) odd = i;
    }
    if (still == config->prompt_count && !config->images.path)
        return error_set(err, LECO_INVALID, "%s: nothing would be trained: target \"%.80s\": %s%s%s",
                         config->prompt[first].place, config->prompt[first].target, remedy(&seen[first], &unused),
                         spelling(&config->prompt[first], &seen[first]),
                         still > 1 ? "; and so it is with all other entries" : "");
    if (odd_count > 0)
        log_message(LOG_WARNING, "%s: this entry trains nothing: target \"%.80s\": %s%s%s", config->prompt[odd].place,
                    config->prompt[odd].target, remedy(&seen[odd], &unused), spelling(&config->prompt[odd], &seen[odd]),
                    odd_count > 1 ? "; there are more like it" : "");
    return LECO_OK;
}

static leco_status check(const train_config *config, spellings *s, leco_error *err)
{
    if (config->prompt_count == 0) return LECO_OK; /* then there are pictures */
    train_config seen = *config;
    objective_list objectives;
    seen.prompt = arena_alloc(s->memory, config->prompt_count, sizeof *seen.prompt);
    if (!seen.prompt) return error_memory(err, config->prompt_count * sizeof *seen.prompt, "the prompts");
    memcpy(seen.prompt, config->prompt, config->prompt_count * sizeof *seen.prompt);
    if (s->tokens) LECO_TRY(make_canonical(s, seen.prompt, seen.prompt_count, err));
    LECO_TRY(objectives_of_config(&seen, s->memory, &objectives, err));
    return judge(config, seen.prompt, objectives.item, err);
}

leco_status still_check(const train_config *config, const tokenizer *tokens, leco_error *err)
{
    spellings s = {.tokens = tokens, .memory = arena_create()};
    leco_status status = s.memory ? check(config, &s, err) : error_memory(err, 0, "the objectives");
    name_table_free(&s.by_text);
    name_table_free(&s.by_ids);
    arena_destroy(s.memory);
    return status;
}
