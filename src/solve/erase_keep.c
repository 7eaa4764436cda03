/* What an edit is to leave as it is. */
#include <string.h>

#include "base/log.h"
#include "solve/erase_internal.h"

/* In how many contexts each word is kept that the caller names, and in how many all of them; of how many words such a
 * word may be; and how many of the texts that aren't certain stand for all: what these tell is a mean over them. */
enum { KEPT_IN = 4, KEPT_TEXTS = 1000, LONGEST_WORD = 3, DRAWN = 1000 };

const subject *erase_mentioned(const solver *s, const placed_text *text)
{
    for (size_t i = 0; i < s->options->words; i++)
        if (text_mentions(text, &s->subject[i].alone)) return &s->subject[i];
    return NULL;
}

/* Does a text say what a pair changes, and nothing that would tell it apart? All of the pair's text is in it, or it is
 * a part of that which has all that differs. "a red heart" is neither of "a red star", whose red is to change: that
 * one stays. */
static bool says_pair(const placed_text *text, const placed_text *pair)
{
    const size_t length = text->needed - 2; /* without start and end */
    if (pair->needed <= 2 || length == 0) return false;
    if (text_mentions(text, pair)) return true;
    for (size_t at = 1; at + length < pair->needed && at <= pair->from; at++)
        if (at + length >= pair->from + pair->length && pair->length > 0 &&
            memcmp(pair->ids + at, text->ids + 1, length * sizeof *text->ids) == 0)
            return true;
    return false;
}

static bool is_to_change(const solver *s, const placed_text *text)
{
    for (size_t i = 0; i < s->options->pairs; i++)
        if (says_pair(text, &s->subject[0].text[i].place)) return true;
    return erase_mentioned(s, text) != NULL;
}

static leco_status grow_kept(solver *s)
{
    const size_t count = s->kept_count, grown = s->kept_capacity ? 2 * s->kept_capacity : 128;
    encoded_text *kept = arena_alloc(s->texts, grown, sizeof *kept);
    const char **name = arena_alloc(s->texts, grown, sizeof *name);
    float *counted = arena_alloc(s->texts, grown, sizeof *counted);
    if (!kept || !name || !counted) return erase_no_memory(s, "texts");
    for (size_t i = 0; i < count; i++) kept[i] = s->kept[i], name[i] = s->kept_name[i], counted[i] = s->kept_weight[i];
    s->kept = kept;
    s->kept_name = name;
    s->kept_weight = counted;
    s->kept_capacity = grown;
    return LECO_OK;
}

/* A text that is there already counts once more. */
static leco_status keep(solver *s, const char *text)
{
    placed_text place;
    if (!text) return erase_no_memory(s, "a text");
    const size_t *there = name_table_find(&s->kept_places, text);
    if (there) {
        s->kept_weight[*there] += 1;
        return LECO_OK;
    }
    LECO_TRY(text_place(text, s->model->tokenizer, s->texts, &place, s->err));
    if (is_to_change(s, &place)) {
        if (s->options->pairs && !s->contradiction) s->contradiction = text;
        return LECO_OK;
    }
    if (s->kept_count == s->kept_capacity) LECO_TRY(grow_kept(s));
    if (!name_table_add(&s->kept_places, text, s->kept_count)) return erase_no_memory(s, "texts");
    s->kept[s->kept_count].place = place;
    s->kept_weight[s->kept_count] = 1;
    s->kept_name[s->kept_count++] = text;
    return LECO_OK;
}

/* Could it stand in a context, or is it a prompt by itself? */
static bool is_word(const char *text)
{
    size_t words = 1;
    for (const char *c = text; *c; c++) words += *c == ' ' && c[1] != ' ';
    return words <= LONGEST_WORD && !strpbrk(text, ",.:;") && word_article(text) == 0;
}

/* Where a word of the caller's is kept, too: in the texts of the concept of its kind, or of the first. */
static const context_list *contexts_for(const solver *s, const char *word)
{
    const topic *about = topic_listing(word);
    for (size_t i = 0; i < s->count && about; i++)
        if (s->result->erased[i].near.topic == about) return &s->subject[i].at;
    return &s->subject[0].at;
}

/* Each context once with one of the nearest words, once with any other of its kind, and twice with one that shares the
 * concept's first words: to tell these from it is hardest. */
static leco_status keep_near(solver *s, const subject *c, const context_list *at, const near_words *near)
{
    const char **word = arena_alloc(s->texts, near->count + 1, sizeof *word);
    const char **sharing = arena_alloc(s->texts, near->count + 1, sizeof *sharing);
    if (!word || !sharing) return erase_no_memory(s, "near words");
    size_t count = near_others(near, c->word, false, word);
    const size_t sharers = near_others(near, c->word, true, sharing);
    if (count == 0) word[count++] = "";
    for (size_t i = 0; i < at->count; i++) {
        const size_t any = (size_t)rng_randint(&s->random, 0, (int64_t)count);
        LECO_TRY(keep(s, context_text(&at->item[i], word[i % (count < NEAR_MOST ? count : NEAR_MOST)], s->memory)));
        LECO_TRY(keep(s, context_text(&at->item[i], word[any], s->memory)));
        for (size_t k = 0; k < 2 && sharers > 0; k++)
            LECO_TRY(keep(s, context_text(&at->item[i], sharing[(2 * i + k) % sharers], s->memory)));
    }
    return LECO_OK;
}

/* The caller's texts: those that are certain, and of the others some, in their order (Knuth's algorithm S, "The art of
 * computer programming", 3.4.2). */
static leco_status draw_given(solver *s, const char ***out, size_t *count)
{
    const erase_options *o = s->options;
    const size_t others = o->keeps - o->certain, wanted = others < DRAWN ? others : DRAWN;
    const char **text = *out = arena_alloc(s->texts, o->certain + wanted + 1, sizeof *text);
    if (!text) return erase_no_memory(s, "texts");
    *count = 0;
    for (size_t i = 0; i < o->keeps; i++) {
        const size_t left = o->keeps - i, missing = o->certain + wanted - *count;
        const bool taken =
            i < o->certain || left == missing || (size_t)rng_randint(&s->random, 0, (int64_t)left) < missing;
        if (taken) text[(*count)++] = o->keep[i];
    }
    if (wanted < others)
        log_message(LOG_WARNING, "of the %zu texts of --keep-file %zu are drawn, which stand for all of them", others,
                    wanted);
    return LECO_OK;
}

/* What the caller names, in contexts, too. It comes on top of what is kept anyway, and weighs no more than that
 * however long the list is: a thousand artists would else leave the solve nothing to tell red from orange by. */
static leco_status keep_given(solver *s)
{
    const erase_options *o = s->options;
    const char **text;
    size_t count = 0;
    LECO_TRY(draw_given(s, &text, &count));
    const size_t before = s->kept_count, most = count ? KEPT_TEXTS / count : 0;
    for (size_t i = 0; i < count; i++) {
        LECO_TRY(keep(s, arena_strdup(s->memory, text[i])));
        if (!is_word(text[i])) continue;
        const context_list *at = contexts_for(s, text[i]);
        for (size_t k = 0; at->item && k < KEPT_IN && k < most && k < at->count; k++)
            LECO_TRY(keep(s, context_text(&at->item[(i + k) % at->count], text[i], s->memory)));
    }
    if (s->contradiction)
        log_message(LOG_WARNING, "\"%.100s\" says what is to change, and is to stay: the closed form changes it",
                    s->contradiction);
    float own = 0, given = 0;
    for (size_t i = 0; i < s->kept_count; i++) *(i < before ? &own : &given) += s->kept_weight[i];
    for (size_t i = before; i < s->kept_count && !o->pairs && given > own; i++) s->kept_weight[i] *= own / given;
    s->kept_own = o->pairs ? 1 : (double)(own / (own + (given > own ? own : given)));
    return LECO_OK;
}

leco_status erase_keep(solver *s)
{
    const erase_options *o = s->options;
    LECO_TRY(keep(s, ""));
    for (size_t i = 0; i < o->words; i++) {
        const near_words *near = &s->result->erased[i].near;
        LECO_TRY(keep_near(s, &s->subject[i], &s->subject[i].at, near));
        LECO_TRY(keep_near(s, &s->subject[i], &s->subject[i].usual, near));
    }
    return keep_given(s);
}
