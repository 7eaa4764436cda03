#include "solve/concepts.h"

#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "model/prompt_syntax.h"
#include "model/wildcards.h"
#include "solve/near.h"
#include "solve/start.h"

/* An entry's tickets, which are shared by its texts: 1 to 8 of them get whole ones; and the groups that what is kept in
 * one text has, at most. */
enum { TICKETS = 840, KEPT_GROUPS = 8 };

typedef struct completing {
    train_config *config;
    model *model;
    near_search search;
    const char **word; /* [words] all concepts */
    size_t words;
    train_prompt *entry; /* [entries] in place of the config's */
    size_t entries, capacity;
    const char *kept;    /* "{|a {b|c}" in the making */
    bool told_of_syntax; /* what people write in other programs' prompts is taken literally here, too */
    arena *scratch;
    leco_error *err;
} completing;

static leco_status no_memory(const completing *s)
{
    return error_memory(s->err, 0, "the prompts");
}

/* ---- texts ---- */

/* The frame with a text in place of its {}. */
static const char *filled(const char *frame, const char *text, arena *memory)
{
    const char *place = strstr(frame, "{}");
    const char *full = arena_printf(memory, "%.*s%s%s", (int)(place - frame), frame, text, place + 2);
    return full ? wildcards_with_articles(full, memory) : NULL;
}

/* "{a|b|c}"; "" of no words. */
static const char *any_of(const char *const *word, size_t count, arena *memory)
{
    const char *text = count ? "{" : "";
    for (size_t i = 0; text && i < count; i++)
        text = arena_printf(memory, "%s%s%s", text, word[i], i + 1 < count ? "|" : "}");
    return text;
}

/* One of the nearest words as often as any of its kind, and one that shares the concept's first words as often as both:
 * so keeps a closed form them, too (erase_keep.c). */
static leco_status kept_words(const completing *s, const near_words *near, const char *concept, const char **out)
{
    const char **word = arena_alloc(s->scratch, near->count + 1, sizeof *word);
    const char **sharing = arena_alloc(s->scratch, near->count + 1, sizeof *sharing);
    if (!word || !sharing) return no_memory(s);
    const size_t count = near_others(near, concept, false, word), sharers = near_others(near, concept, true, sharing);
    const char *any = any_of(word, count, s->scratch);
    const char *nearest = any_of(word, count < NEAR_MOST ? count : NEAR_MOST, s->scratch);
    const char *shared = any_of(sharing, sharers, s->scratch);
    if (!any || !nearest || !shared) return no_memory(s);
    *out = sharers ? arena_printf(s->scratch, "{%s|%s|%s|%s}", nearest, any, shared, shared)
                   : arena_printf(s->scratch, "{%s|%s}", nearest, any);
    return *out ? LECO_OK : no_memory(s);
}

/* ---- entries ---- */

static leco_status add_entry(completing *s, const train_prompt *p)
{
    if (s->entries == s->capacity) {
        const size_t grown = 2 * s->capacity + s->config->prompt_count + 16;
        train_prompt *entry = arena_alloc(s->config->memory, grown, sizeof *entry);
        if (!entry) return no_memory(s);
        for (size_t i = 0; i < s->entries; i++) entry[i] = s->entry[i];
        s->entry = entry;
        s->capacity = grown;
    }
    s->entry[s->entries++] = *p;
    return LECO_OK;
}

static leco_status add_texts(completing *s, const train_prompt *p, const char *word, const near_words *near,
                             const char *becomes)
{
    const char *const *frame, *kept;
    const char **others = arena_alloc(s->scratch, s->words + 1, sizeof *others); /* a text says one concept only */
    size_t count, other_count = 0;
    if (!others) return no_memory(s);
    for (size_t i = 0; i < s->words; i++)
        if (strcmp(s->word[i], word) != 0) others[other_count++] = s->word[i];
    LECO_TRY(topic_templates(near->topic, s->model->tokenizer, others, s->scratch, &frame, &count, s->err));
    LECO_TRY(kept_words(s, near, word, &kept));
    const size_t room = WILDCARDS_MAX / KEPT_GROUPS / s->words, keeping = room ? room : 1; /* all are one text */
    for (size_t i = 0; i < count; i++) {
        train_prompt one = *p;
        one.target = one.positive = filled(frame[i], word, s->config->memory);
        one.neutral = filled(frame[i], becomes, s->config->memory);
        one.tickets = TICKETS / (int64_t)count;
        if (!one.target || !one.neutral) return no_memory(s);
        LECO_TRY(add_entry(s, &one));
        if (i >= keeping) continue;
        const char *stays = filled(frame[i], kept, s->scratch);
        s->kept = stays ? arena_printf(s->scratch, "%s|%s", s->kept, stays) : NULL;
        if (!s->kept) return no_memory(s);
    }
    log_message(LOG_INFO, "%s: \"%.60s\" is to become \"%.60s\"%s%s%s, in %zu texts", p->place, word, becomes,
                p->to ? "" : ", the nearest ", p->to ? "" : near->topic->name,
                p->to ? "" : " (`to` would say otherwise)", count);
    return LECO_OK;
}

/* What comes in a word's place. */
static leco_status choose(const completing *s, const train_prompt *p, const near_words *near, const char **out)
{
    placed_text other;
    *out = near_other(near);
    if (!p->to && !*out)
        return error_set(s->err, LECO_INVALID,
                         "%s: prompts.target: no other %s that this model knows is left to come in place of \"%.60s\": "
                         "say with `to` what is to",
                         p->place, near->topic->name, p->target);
    if (!p->to) return LECO_OK;
    LECO_TRY(text_place(p->to, s->model->tokenizer, s->scratch, &other, s->err));
    if (!strchr(p->to, '{')) LECO_TRY(word_warn_of_unknown(s->model->tokenizer, p->to, false, s->err));
    for (size_t i = 0; i < s->words; i++) {
        placed_text gone;
        LECO_TRY(text_place(s->word[i], s->model->tokenizer, s->scratch, &gone, s->err));
        if (text_mentions(&other, &gone))
            return error_set(s->err, LECO_INVALID, "%s: prompts.to: \"%.60s\" says \"%.60s\", which is to go", p->place,
                             p->to, s->word[i]);
    }
    *out = topic_is_names(near->topic) ? p->to : word_by_itself(p->to, s->config->memory);
    return *out ? LECO_OK : no_memory(s);
}

static leco_status complete_entry(completing *s, const train_prompt *p, const char *word)
{
    placed_text alone;
    near_words near;
    const tokenizer *t = s->model->tokenizer;
    const char *becomes;
    LECO_TRY(text_place(word, t, s->scratch, &alone, s->err));
    if (alone.cut)
        return error_set(s->err, LECO_INVALID,
                         "%s: prompts.target: \"%.60s...\" is more than the %zu tokens that the text encoder reads",
                         p->place, p->target, tokenizer_length(t));
    prompt_syntax_tell(p->target, t, &s->told_of_syntax);
    LECO_TRY(word_warn_of_unknown(t, p->target, false, s->err));
    LECO_TRY(near_find(&s->search, word, s->scratch, &near, s->err));
    word_warn_of_phrase(word);
    LECO_TRY(choose(s, p, &near, &becomes));
    return add_texts(s, p, word, &near, becomes);
}

/* ---- what goes with them ---- */

static leco_status complete_preserve(completing *s, const train_prompt *first)
{
    train_config *c = s->config;
    if (c->preserve.prompt) return LECO_OK;
    c->preserve.prompt = arena_printf(c->memory, "%s}", s->kept);
    if (!c->preserve.place) c->preserve.place = first->place;
    if (!c->preserve.batch_size) c->preserve.batch_size = c->batch_size;
    if (!c->preserve.width) {
        c->preserve.width = first->width;
        c->preserve.height = first->height;
    }
    return c->preserve.prompt ? LECO_OK : no_memory(s);
}

static void complete_start(train_config *c)
{
    trainable_options *n = &c->network;
    if (n->kind == &kind_lora && !n->start && !train_config_closed_start(n)) n->start = "erase";
}

static leco_status complete(completing *s, const device *d)
{
    train_config *c = s->config;
    readers r;
    double *sketch;
    const train_prompt *first = NULL;
    LECO_TRY(readers_find(s->model, s->scratch, &r, s->err));
    LECO_TRY(readers_sketch(&r, s->scratch, &sketch, s->err));
    s->search = (near_search){s->model, &r, sketch, d, s->word, s->words};
    s->kept = "{";
    for (size_t i = 0, concept = 0; i < c->prompt_count; i++) {
        train_prompt *p = &c->prompt[i];
        p->tickets = TICKETS;
        LECO_TRY(p->concept ? complete_entry(s, p, s->word[concept ++]) : add_entry(s, p));
        if (p->concept && !first) first = p;
    }
    LECO_TRY(complete_preserve(s, first));
    complete_start(c);
    c->prompt = s->entry;
    c->prompt_count = s->entries;
    return LECO_OK;
}

static leco_status note_word(completing *s, const train_prompt *p)
{
    const char *word = word_by_itself(p->target, s->scratch);
    if (!word) return no_memory(s);
    for (size_t i = 0; i < s->words; i++)
        if (strcasecmp(s->word[i], word) == 0)
            return error_set(s->err, LECO_INVALID, "%s: prompts.target: \"%.60s\" is given twice", p->place, word);
    s->word[s->words++] = word;
    return LECO_OK;
}

static leco_status open_and_complete(completing *s, const char *device_name)
{
    device d = {0};
    LECO_TRY(start_open_model(s->config, &s->model, s->err));
    LECO_TRY(start_open_device(s->config, device_name, &d, s->err));
    leco_status status = complete(s, &d);
    device_close(&d);
    return status;
}

leco_status concepts_complete(train_config *c, const char *device_name, leco_error *err)
{
    completing s = {.config = c, .err = err};
    size_t count = 0;
    for (size_t i = 0; i < c->prompt_count; i++) count += c->prompt[i].concept;
    if (count == 0) return LECO_OK;
    if (!(s.scratch = arena_create()) || !(s.word = arena_alloc(s.scratch, count, sizeof *s.word))) {
        arena_destroy(s.scratch);
        return no_memory(&s);
    }
    leco_status status = LECO_OK;
    for (size_t i = 0; i < c->prompt_count && status == LECO_OK; i++)
        if (c->prompt[i].concept) status = note_word(&s, &c->prompt[i]);
    if (status == LECO_OK) status = open_and_complete(&s, device_name);
    model_close(s.model);
    arena_destroy(s.scratch);
    return status;
}
