#include "train/still.h"

#include <string.h>

#include "base/log.h"
#include "model/wildcards.h"
#include "train/modes.h"

/* Drawings of an entry's wildcards that are looked at. The first that trains something is enough. */
enum { DRAWINGS = 64 };

enum { PROMPT_TEXTS = 4, MOST_TEXTS = PROMPT_TEXTS + TERMS_MAX };

typedef struct looking {
    const tokenizer *tokens;
    arena *memory;
    int32_t *ids[MOST_TEXTS]; /* [tokenizer_length] of an entry's texts */
} looking;

/* An entry that trains nothing: in one of its drawings, and as the model sees that. */
typedef struct finding {
    bool still;
    train_prompt drawn, seen;
} finding;

/* ---- an entry's texts ---- */

/* own: without those of teachers' terms. Returns how many there are. */
static size_t texts_of(train_prompt *p, bool own, const char **texts[MOST_TEXTS])
{
    size_t count = PROMPT_TEXTS;
    texts[0] = &p->target;
    texts[1] = &p->positive;
    texts[2] = &p->unconditional;
    texts[3] = &p->neutral;
    for (size_t i = 0; i < p->term_count; i++)
        if (!own || p->term[i].teacher == 0) texts[count++] = &p->term[i].prompt;
    return count;
}

/* The same with a list of terms of its own. */
static leco_status copy_entry(const train_prompt *p, arena *memory, train_prompt *out, leco_error *err)
{
    *out = *p;
    if (p->term_count == 0) return LECO_OK;
    out->term = arena_alloc(memory, p->term_count, sizeof *out->term);
    if (!out->term) return error_memory(err, p->term_count * sizeof *out->term, "the prompts");
    memcpy(out->term, p->term, p->term_count * sizeof *out->term);
    return LECO_OK;
}

/* Its texts, which have the same choices. */
typedef struct drawing {
    wildcards choices;
    wildcard_text read[MOST_TEXTS];
    char *expanded; /* as long as the longest */
} drawing;

static leco_status prepare(const looking *l, train_prompt *p, drawing *out, leco_error *err)
{
    const char **text[MOST_TEXTS];
    size_t longest = 0;
    *out = (drawing){.choices = {.memory = l->memory}};
    const size_t count = texts_of(p, false, text);
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(*text[i]);
        if (length > longest) longest = length;
        LECO_TRY(wildcards_read(&out->choices, *text[i], &out->read[i], err));
    }
    out->expanded = arena_alloc(l->memory, longest + 1, 1);
    return out->expanded ? LECO_OK : error_memory(err, longest + 1, "a prompt");
}

/* The entry as the choices have it. */
static leco_status expand(const looking *l, const drawing *d, const train_prompt *p, train_prompt *out, leco_error *err)
{
    const char **text[MOST_TEXTS];
    LECO_TRY(copy_entry(p, l->memory, out, err));
    const size_t count = texts_of(out, false, text);
    for (size_t i = 0; i < count; i++) {
        wildcards_expand(&d->choices, &d->read[i], d->expanded);
        if (!(*text[i] = arena_strdup(l->memory, d->expanded))) return error_memory(err, 0, "a prompt");
    }
    return LECO_OK;
}

/* Where the ids of text number `index` are those of an earlier one, it becomes that. */
static leco_status see_one(const looking *l, const char **const *text, size_t index, leco_error *err)
{
    const size_t bytes = tokenizer_length(l->tokens) * sizeof **l->ids;
    size_t k = 0;
    while (k < index && strcmp(*text[k], *text[index]) != 0) k++;
    if (k < index)
        memcpy(l->ids[index], l->ids[k], bytes);
    else
        LECO_TRY(tokenizer_encode(l->tokens, *text[index], strlen(*text[index]), l->ids[index], NULL, err));
    for (k = 0; memcmp(l->ids[k], l->ids[index], bytes) != 0;) k++;
    *text[index] = *text[k];
    return LECO_OK;
}

/* The entry as the model sees it. A teacher's tokenizer may be another one: its terms stay as they are. */
static leco_status see(const looking *l, const train_prompt *p, train_prompt *out, leco_error *err)
{
    const char **text[MOST_TEXTS];
    LECO_TRY(copy_entry(p, l->memory, out, err));
    const size_t count = texts_of(out, true, text);
    for (size_t i = 0; l->tokens && i < count; i++) LECO_TRY(see_one(l, text, i, err));
    return LECO_OK;
}

/* Is an entry still in all drawings? The last of them is what is found. */
static leco_status look_at(const looking *l, const train_prompt *entry, finding *out, leco_error *err)
{
    train_prompt p = *entry;
    drawing d;
    rng r;
    rng_seed(&r, RNG_CPU, 0);
    LECO_TRY(entry_join_attributes(&p, l->memory, err));
    LECO_TRY(prepare(l, &p, &d, err));
    out->still = true;
    for (size_t i = 0; i < (d.choices.count > 0 ? DRAWINGS : 1) && out->still; i++) {
        objective made;
        wildcards_draw(&d.choices, &r);
        LECO_TRY(expand(l, &d, &p, &out->drawn, err));
        LECO_TRY(see(l, &out->drawn, &out->seen, err));
        LECO_TRY(p.action->make(&out->seen, l->memory, &made, err));
        out->still = objective_is_still(&made);
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
static const char *spelling(const finding *found)
{
    train_prompt a = found->drawn, b = found->seen;
    const char **one[MOST_TEXTS], **other[MOST_TEXTS];
    texts_of(&a, false, one);
    texts_of(&b, false, other);
    bool same = true;
    for (size_t i = 0; i < PROMPT_TEXTS; i++) same = same && strcmp(*one[i], *other[i]) == 0;
    return same ? "" : " (texts that have the same tokens, as \"Red \" and \"red\", are one prompt)";
}

static leco_status judge(const train_config *config, const finding *found, leco_error *err)
{
    const finding *first = NULL, *odd = NULL;
    size_t still = 0, odd_count = 0;
    bool meant;
    for (size_t i = 0; i < config->prompt_count; i++) {
        if (!found[i].still) continue;
        if (still++ == 0) first = &found[i];
        remedy(&found[i].seen, &meant);
        if (!meant && odd_count++ == 0) odd = &found[i];
    }
    if (still == config->prompt_count && !config->images.path)
        return error_set(err, LECO_INVALID, "%s: nothing would be trained: target \"%.80s\": %s%s%s",
                         first->drawn.place, first->drawn.target, remedy(&first->seen, &meant), spelling(first),
                         still > 1 ? "; and so it is with all other entries" : "");
    if (odd_count > 0)
        log_message(LOG_WARNING, "%s: this entry trains nothing: target \"%.80s\": %s%s%s", odd->drawn.place,
                    odd->drawn.target, remedy(&odd->seen, &meant), spelling(odd),
                    odd_count > 1 ? "; there are more like it" : "");
    return LECO_OK;
}

static leco_status check(const train_config *config, looking *l, leco_error *err)
{
    const size_t count = config->prompt_count;
    if (count == 0) return LECO_OK; /* then there are pictures */
    finding *found = arena_alloc(l->memory, count, sizeof *found);
    if (!found) return error_memory(err, count * sizeof *found, "the prompts");
    for (size_t i = 0; l->tokens && i < MOST_TEXTS; i++) {
        l->ids[i] = arena_alloc(l->memory, tokenizer_length(l->tokens), sizeof **l->ids);
        if (!l->ids[i]) return error_memory(err, 0, "token ids");
    }
    for (size_t i = 0; i < count; i++) {
        leco_status status = look_at(l, &config->prompt[i], &found[i], err);
        if (status != LECO_OK) return error_prefix(err, status, "%s", config->prompt[i].place);
    }
    return judge(config, found, err);
}

leco_status still_check(const train_config *config, const tokenizer *tokens, leco_error *err)
{
    looking l = {.tokens = tokens, .memory = arena_create()};
    leco_status status = l.memory ? check(config, &l, err) : error_memory(err, 0, "the objectives");
    arena_destroy(l.memory);
    return status;
}
