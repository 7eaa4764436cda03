#include "solve/compound.h"

#include <string.h>

/* The topic of a word that may be part of one: of names it makes no sense. */
static const topic *kind_of(const char *word)
{
    size_t length;
    const topic *about = topic_listing(word);
    return about && topic_list(about->name, &length) ? about : NULL;
}

/* Adds "before word" or "word after" for each other word of a topic that is known. */
static leco_status add_words(const topic *about, const char *before, const char *after, const char *except,
                             const tokenizer *t, arena *memory, const char **words, leco_error *err)
{
    const char **word;
    size_t count;
    LECO_TRY(topic_words(about, t, memory, &word, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(word[i], except) == 0) continue;
        *words = arena_printf(memory, "%s%s%s%s%s%s%s", *words, **words ? "|" : "", before, *before ? " " : "", word[i],
                              *after ? " " : "", after);
        if (!*words) return error_memory(err, 0, "near words");
    }
    return LECO_OK;
}

/* A topic's texts without the places of another topic's words, which the concept brings itself. */
static leco_status texts_without(const topic *about, const char *name, arena *memory, const char *const **out,
                                 leco_error *err)
{
    size_t count = 0;
    while (about->context[count]) count++;
    const char **text = arena_alloc(memory, count + 1, sizeof *text);
    const char *place = arena_printf(memory, "$%s ", name);
    if (!text || !place) return error_memory(err, count * sizeof *text, "contexts");
    for (size_t i = 0; i < count; i++) {
        const char *whole = about->context[i], *at = strstr(whole, place);
        text[i] = at ? arena_printf(memory, "%.*s%s", (int)(at - whole), whole, at + strlen(place)) : whole;
        if (!text[i]) return error_memory(err, strlen(whole), "contexts");
    }
    *out = text;
    return LECO_OK;
}

leco_status compound_topic(const char *concept, const tokenizer *t, arena *memory, const topic **out, leco_error *err)
{
    const char *space = strrchr(concept, ' ');
    *out = NULL;
    if (!space || topic_listing(concept)) return LECO_OK;
    const char *first = arena_printf(memory, "%.*s", (int)(space - concept), concept), *second = space + 1;
    topic *made = arena_alloc(memory, 1, sizeof *made);
    if (!first || !made) return error_memory(err, sizeof *made, "a kind of concepts");
    const topic *of_first = kind_of(first), *of_second = kind_of(second);
    if (!of_first || !of_second || of_first == of_second) return LECO_OK;
    *made = (topic){.name = arena_printf(memory, "%s and %s", of_first->name, of_second->name), .words = ""};
    if (!made->name) return error_memory(err, 0, "a kind of concepts");
    LECO_TRY(add_words(of_first, "", second, first, t, memory, &made->words, err));
    LECO_TRY(add_words(of_second, first, "", second, t, memory, &made->words, err));
    LECO_TRY(texts_without(of_second, of_first->name, memory, &made->context, err));
    *out = made;
    return LECO_OK;
}
