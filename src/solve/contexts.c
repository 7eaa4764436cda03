#include "solve/contexts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/name_table.h"
#include "base/suggest.h"
#include "model/wildcards.h"

/* Stands for {} while wildcards are drawn: a character that no prompt has. */
#define PLACE '\x1a'

/* ---- templates ---- */

/* Does a brace that is open there close behind it? */
static bool is_in_choice(const char *text, const char *place)
{
    size_t depth = 0;
    for (const char *c = text; c < place; c++) {
        if (*c == '\\' && c + 1 < place)
            c++;
        else if (*c == '{')
            depth++;
        else if (*c == '}' && depth > 0)
            depth--;
    }
    return depth > 0;
}

static leco_status find_place(const char *template, char **out, arena *memory, leco_error *err)
{
    const char *place = strstr(template, "{}");
    if (!place || strstr(place + 2, "{}"))
        return error_set(err, LECO_INVALID, "the context \"%.100s\" has %s: expected one {} where the concept stands",
                         template, place ? "more than one {}" : "no {}");
    if (!(*out = arena_strdup(memory, template))) return error_memory(err, strlen(template), "a context");
    char *at = *out + (place - template);
    at[0] = PLACE;
    memmove(at + 1, at + 2, strlen(at + 2) + 1);
    if (!is_in_choice(*out, at)) return LECO_OK;
    return error_set(err, LECO_INVALID,
                     "the {} of the context \"%.100s\" is one of several choices, so that others lack it: expected it "
                     "outside",
                     template);
}

/* A template that is ready to be drawn from. */
typedef struct draw {
    wildcards choices;
    wildcard_text text;
} draw;

static leco_status prepare(const char *template, arena *memory, draw *out, leco_error *err)
{
    char *text = NULL;
    wildcards written = {.memory = memory}; /* messages quote the text as it is written */
    LECO_TRY(wildcards_read(&written, template, &out->text, err));
    LECO_TRY(find_place(template, &text, memory, err));
    *out = (draw){.choices = {.memory = memory}};
    return wildcards_read(&out->choices, text, &out->text, err);
}

leco_status context_check(const char *template, leco_error *err)
{
    draw ready;
    arena *memory = arena_create();
    leco_status status = memory ? prepare(template, memory, &ready, err) : error_memory(err, 0, "a context");
    arena_destroy(memory);
    return status;
}

/* Draws one, and adds it where it wasn't there before. */
static leco_status add_drawn(draw *d, size_t number, rng *r, name_table *known, arena *memory, context_list *out,
                             leco_error *err)
{
    char *text = arena_alloc(memory, strlen(d->text.text) + 1, 1);
    if (!text) return error_memory(err, strlen(d->text.text), "a context");
    wildcards_draw(&d->choices, r);
    wildcards_expand(&d->choices, &d->text, text);
    if (name_table_find(known, text)) return LECO_OK;
    char *name = arena_strdup(memory, text), *place = strchr(text, PLACE);
    if (!name || !name_table_add(known, name, out->count)) return error_memory(err, strlen(text), "a context");
    *place = '\0';
    out->item[out->count++] = (context){.before = text, .after = place + 1, .drawn_from = number};
    return LECO_OK;
}

leco_status contexts_draw(const char *const *templates, size_t count, size_t wanted, rng *r, arena *memory,
                          context_list *out, leco_error *err)
{
    name_table known = {0};
    *out = (context_list){.item = arena_alloc(memory, wanted, sizeof(context))};
    draw *draws = arena_alloc(memory, count, sizeof *draws);
    if (!out->item || !draws) return error_memory(err, wanted * sizeof(context), "contexts");
    leco_status status = LECO_OK;
    for (size_t i = 0; i < count && status == LECO_OK; i++) status = prepare(templates[i], memory, &draws[i], err);
    /* By turns, so that each has its share; some rounds more than needed, because draws repeat themselves. */
    for (size_t i = 0; i < 8 * (wanted + count) && out->count < wanted && status == LECO_OK; i++)
        status = add_drawn(&draws[i % count], i % count, r, &known, memory, out, err);
    name_table_free(&known);
    return status;
}

/* ---- words ---- */

static size_t count_tokens(const tokenizer *t, const char *text)
{
    int32_t ids[4096];
    size_t needed = 0;
    if (tokenizer_length(t) > sizeof ids / sizeof ids[0] ||
        tokenizer_encode(t, text, strlen(text), ids, &needed, NULL) != LECO_OK)
        return SIZE_MAX;
    return needed - 2;
}

/* Runs of letters, and single other characters that aren't blank. */
static size_t count_words(const char *text)
{
    size_t words = 0;
    for (const char *c = text; *c; c++) {
        const bool letter = isalpha((unsigned char)*c) || (unsigned char)*c >= 0x80;
        const bool before = c > text && (isalpha((unsigned char)c[-1]) || (unsigned char)c[-1] >= 0x80);
        words += letter ? !before : !isspace((unsigned char)*c);
    }
    return words;
}

size_t word_article(const char *text)
{
    return strncasecmp(text, "an ", 3) == 0 ? 3 : strncasecmp(text, "a ", 2) == 0 ? 2 : 0;
}

/* "striped style" is the style striped: what kind of thing a word is stands in the texts themselves, if anywhere. */
static void drop_kind(char *word)
{
    char *last = strrchr(word, ' ');
    if (!last || last == word) return;
    for (const topic *about = topics; about->name; about++) {
        if (strcasecmp(last + 1, about->name) != 0) continue;
        *last = '\0';
        if (topic_listing(word) != about) *last = ' ';
        return;
    }
}

const char *word_by_itself(const char *text, arena *memory)
{
    static const char blanks[] = " \t\r\n", around[] = " \t\r\n\"'.,;:!?";
    const char *bare = text + strspn(text, around);
    text = *bare ? bare : text + strspn(text, blanks);
    const size_t article = word_article(text);
    const char *rest = text + article + strspn(text + article, blanks);
    if (*rest) text = rest;
    size_t length = strlen(text);
    while (length > 0 && strchr(*bare ? around : blanks, text[length - 1])) length--;
    char *copy = arena_printf(memory, "%.*s", (int)length, text);
    if (!copy) return NULL;
    drop_kind(copy);
    return strncasecmp(copy, "the ", 4) == 0 && topic_listing(copy + 4) ? copy + 4 : copy;
}

void word_warn_of_phrase(const char *word)
{
    enum { FEW = 3 };
    if (strchr(word, ','))
        log_message(LOG_WARNING, "\"%.60s\" has a comma and is taken as one: several words are given one by one", word);
    else if (count_words(word) > FEW)
        log_message(
            LOG_WARNING,
            "\"%.60s\" is a phrase, which leco's texts have in a word's place: name the word of it that is to go "
            "(or say in which texts it stands)",
            word);
}

bool word_is_known(const tokenizer *t, const char *word)
{
    const size_t words = count_words(word), tokens = count_tokens(t, word);
    return words <= 1 ? tokens <= 1 : tokens <= 2 * words;
}

static bool is_among(word_list words, const char *word)
{
    for (; words && *words; words++)
        if (strcasecmp(*words, word) == 0) return true;
    return false;
}

static leco_status known_of(const char *list, const tokenizer *t, word_list avoid, arena *memory, const char ***out,
                            size_t *count, leco_error *err)
{
    size_t most = 1;
    for (const char *c = list; *c; c++) most += *c == '|';
    *out = arena_alloc(memory, most, sizeof **out);
    char *text = arena_strdup(memory, list), *rest = text;
    if (!*out || !text) return error_memory(err, strlen(list), "a list of words");
    *count = 0;
    for (char *word; (word = strtok_r(rest, "|", &rest));)
        if (word_is_known(t, word) && !is_among(avoid, word)) (*out)[(*count)++] = word;
    return LECO_OK;
}

leco_status topic_words(const topic *about, const tokenizer *t, arena *memory, const char ***out, size_t *count,
                        leco_error *err)
{
    return known_of(about->words, t, NULL, memory, out, count, err);
}

/* The known word of any topic that a misspelt one is nearest to; NULL: none is near. */
static leco_status suggest_word(const tokenizer *t, const char *word, arena *memory, const char **out, leco_error *err)
{
    *out = NULL;
    for (const topic *about = topics; about->name && !*out; about++) {
        const char **known;
        size_t count;
        LECO_TRY(topic_words(about, t, memory, &known, &count, err));
        *out = suggest(word, known, count);
    }
    return LECO_OK;
}

static leco_status warn_of_each(const tokenizer *t, char *text, bool only_meant, arena *memory, leco_error *err)
{
    if (!text) return error_memory(err, 0, "a text");
    for (char *word; (word = strtok_r(text, " ,.", &text));) {
        if (word_is_known(t, word)) continue;
        const char *near = NULL;
        LECO_TRY(suggest_word(t, word, memory, &near, err));
        if (only_meant && !near) continue;
        log_message(LOG_WARNING, "\"%.60s\" is no word of this model's tokenizer, and perhaps none that it knows%s%s%s",
                    word, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    return LECO_OK;
}

leco_status word_warn_of_unknown(const tokenizer *t, const char *text, bool only_meant, leco_error *err)
{
    if (word_is_known(t, text)) return LECO_OK;
    arena *memory = arena_create();
    leco_status status =
        memory ? warn_of_each(t, arena_strdup(memory, text), only_meant, memory, err) : error_memory(err, 0, "a text");
    arena_destroy(memory);
    return status;
}

/* ---- a topic's texts ---- */

/* "{a|b|c}" of the words of a list that are known; "" where none is. */
static leco_status group_of(const char *list, const tokenizer *t, word_list avoid, arena *memory, const char **out,
                            leco_error *err)
{
    const char **word;
    size_t count;
    char *group = arena_alloc(memory, strlen(list) + 3, 1);
    if (!group) return error_memory(err, strlen(list), "a list of words");
    LECO_TRY(known_of(list, t, avoid, memory, &word, &count, err));
    char *end = group;
    for (size_t i = 0; i < count; i++) {
        *end++ = i == 0 ? '{' : '|';
        end = stpcpy(end, word[i]);
    }
    if (count) strcpy(end, "}");
    *out = group;
    return LECO_OK;
}

/* Writes a topic's text with wildcards in place of its lists; "" where one of them, or a word of the text itself, is
 * not known. */
static leco_status fill_in(const char *text, const tokenizer *t, word_list avoid, arena *memory, const char **out,
                           leco_error *err)
{
    const char *plain = arena_strdup(memory, ""), *filled = plain;
    *out = plain;
    for (const char *from = text; *from;) {
        const size_t same = strcspn(from, "$");
        char *part = arena_printf(memory, "%.*s", (int)same, from);
        if (!part) return error_memory(err, same, "a context");
        filled = arena_printf(memory, "%s%s", filled, part);
        plain = arena_printf(memory, "%s%s ", plain, part);
        if (!filled || !plain) return error_memory(err, same, "a context");
        from += same;
        if (!*from) break;
        size_t length;
        const char *group = "";
        LECO_TRY(group_of(topic_list(from + 1, &length), t, avoid, memory, &group, err));
        if (!*group) return LECO_OK;
        if (!(filled = arena_printf(memory, "%s%s", filled, group))) return error_memory(err, same, "a context");
        from += 1 + length;
    }
    /* {} is two words of a token each, or one of one: it doesn't decide. */
    if (count_tokens(t, plain) <= count_words(plain)) *out = filled;
    return LECO_OK;
}

leco_status topic_templates(const topic *about, const tokenizer *t, word_list avoid, arena *memory,
                            const char *const **out, size_t *count, leco_error *err)
{
    size_t all = 0, used = 0;
    while (about->context[all]) all++;
    const char **template = arena_alloc(memory, all, sizeof *template);
    if (!template) return error_memory(err, all * sizeof *template, "contexts");
    for (size_t i = 0; i < all; i++) {
        LECO_TRY(fill_in(about->context[i], t, avoid, memory, &template[used], err));
        used += *template[used] != '\0';
    }
    if (used == 0) template[used++] = "{}"; /* a model of another language */
    *out = template;
    *count = used;
    return LECO_OK;
}

leco_status contexts_of_topic(const topic *about, const tokenizer *t, word_list avoid, size_t wanted, rng *r,
                              arena *memory, context_list *out, leco_error *err)
{
    const char *const *template;
    size_t count;
    LECO_TRY(topic_templates(about, t, avoid, memory, &template, &count, err));
    return contexts_draw(template, count, wanted, r, memory, out, err);
}

/* ---- token ids ---- */

static bool takes_an(char first)
{
    return first && strchr("aeioAEIO", first);
}

static bool is_article(const char *text, size_t at)
{
    return text[at] == 'a' && (at == 0 || text[at - 1] == ' ') && text[at + 1] == ' ';
}

/* A copy of a text, which goes on with `next`, in which "a" before a vowel is "an". */
static char *with_articles(const char *text, char next, arena *memory)
{
    const size_t length = strlen(text);
    char *copy = arena_alloc(memory, 2 * length + 1, 1), *end = copy;
    for (size_t i = 0; copy && i < length; i++) {
        *end++ = text[i];
        if (is_article(text, i) && takes_an(i + 2 < length ? text[i + 2] : next)) *end++ = 'n';
    }
    return copy;
}

char *wildcards_with_articles(const char *text, arena *memory)
{
    char *copy = arena_alloc(memory, 4 * strlen(text) + 1, 1), *end = copy;
    bool owed = false;              /* an article that is still to be said */
    uint64_t depth = 1, saying = 0; /* a bit for each depth at which choices say it */
    for (size_t i = 0; copy && text[i]; i++) {
        if (owed && text[i] != '{') {
            end = stpcpy(end, takes_an(text[i]) ? "an " : "a ");
            owed = false;
        }
        if (is_article(text, i) && text[i + 2] == '{') {
            owed = true;
            i += 2;
        }
        if (text[i] == '{') {
            depth <<= 1;
            saying = owed ? saying | depth : saying & ~depth;
        }
        if (text[i] == '}') depth >>= 1;
        if (text[i] == '|') owed = saying & depth;
        *end++ = text[i];
        if (is_article(text, i) && takes_an(text[i + 2])) *end++ = 'n';
        if (text[i] == '\\' && text[i + 1]) *end++ = text[++i];
    }
    return copy;
}

/* What stands before and behind a word: "a {} star" of no word is "a star", of "orange" "an orange star". */
static bool fit_context(const context *c, const char *word, arena *memory, context *out)
{
    const char *after = *word || *c->after != ' ' ? c->after : c->after + 1;
    out->before = with_articles(c->before, *word ? *word : *after, memory);
    out->after = with_articles(after, '\0', memory);
    return out->before && out->after;
}

char *context_text(const context *c, const char *word, arena *memory)
{
    context fit;
    if (!fit_context(c, word, memory, &fit)) return NULL;
    return arena_printf(memory, "%s%s%s", fit.before, word, fit.after);
}

leco_status text_place(const char *text, const tokenizer *t, arena *memory, placed_text *out, leco_error *err)
{
    *out = (placed_text){.ids = arena_alloc(memory, tokenizer_length(t), sizeof *out->ids)};
    if (!out->ids) return error_memory(err, tokenizer_length(t) * sizeof *out->ids, "token ids");
    LECO_TRY(tokenizer_encode(t, text, strlen(text), out->ids, &out->needed, err));
    out->cut = out->needed > tokenizer_length(t);
    if (out->cut) out->needed = tokenizer_length(t);
    return LECO_OK;
}

static leco_status too_long(const char *text, const tokenizer *t, leco_error *err)
{
    return error_set(err, LECO_INVALID, "\"%.200s\" is more than the %zu tokens that the text encoder reads", text,
                     tokenizer_length(t));
}

/* Of "van gogh" those of "van". */
static size_t lead_of(const char *words, size_t length, const tokenizer *t)
{
    const char *space = strrchr(words, ' ');
    const size_t last = space ? count_tokens(t, space + 1) : length;
    return last < length ? length - last : 0;
}

/* How many ids a and b begin with alike, their last ones not counted; and end with alike, up to `most`. */
static size_t same_start(const placed_text *a, const placed_text *b)
{
    size_t same = 0;
    while (same + 1 < a->needed && same + 1 < b->needed && a->ids[same] == b->ids[same]) same++;
    return same;
}

static size_t same_end(const placed_text *a, const placed_text *b, size_t most)
{
    size_t same = 0;
    while (same < most && a->ids[a->needed - 1 - same] == b->ids[b->needed - 1 - same]) same++;
    return same;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

leco_status context_place(const context *c, const char *word, const tokenizer *t, arena *memory, placed_text *out,
                          leco_error *err)
{
    context fit;
    const char *text = fit_context(c, word, memory, &fit) ? context_text(c, word, memory) : NULL;
    if (!text) return error_memory(err, strlen(word), "a context");
    placed_text before, after;
    LECO_TRY(text_place(fit.before, t, memory, &before, err));
    LECO_TRY(text_place(fit.after, t, memory, &after, err));
    LECO_TRY(text_place(text, t, memory, out, err));
    /* How far the text begins like what stands before the word, and ends like what stands behind it. */
    const size_t from = same_start(out, &before);
    const size_t to = same_end(out, &after, smaller(after.needed - 1, out->needed - from));
    out->from = from;
    out->length = out->needed - from - to;
    out->lead = lead_of(word, out->length, t);
    if (out->cut) return too_long(text, t, err);
    return LECO_OK;
}

leco_status pair_place(const char *text, const char *other, const tokenizer *t, arena *memory, placed_text out[2],
                       leco_error *err)
{
    LECO_TRY(text_place(text, t, memory, &out[0], err));
    LECO_TRY(text_place(other, t, memory, &out[1], err));
    if (out[0].cut || out[1].cut) return too_long(out[0].cut ? text : other, t, err);
    const placed_text *a = &out[0], *b = &out[1];
    const size_t from = same_start(a, b), to = same_end(a, b, smaller(a->needed, b->needed) - from);
    for (int i = 0; i < 2; i++) {
        out[i].from = from;
        out[i].length = out[i].needed - from - to;
    }
    return LECO_OK;
}

bool text_mentions(const placed_text *text, const placed_text *word)
{
    const size_t length = word->needed - 2;
    if (length == 0) return false;
    for (size_t i = 1; i + length < text->needed; i++)
        if (memcmp(text->ids + i, word->ids + 1, length * sizeof *word->ids) == 0) return true;
    return false;
}
