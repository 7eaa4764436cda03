#include "model/selection.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/suggest.h"

static bool in_scope(layer_scope scope, const layer_info *layer)
{
    switch (scope) {
    case SCOPE_C3LIER:
        if (layer->class == LAYER_RESNET || layer->class == LAYER_SAMPLER) return true;
        /* fall through */
    case SCOPE_LIERLA:
        return layer->kernel == 1 && (layer->class == LAYER_TRANSFORMER || layer->class == LAYER_ATTN1 ||
                                      layer->class == LAYER_ATTN2 || layer->class == LAYER_FEED_FORWARD);
    case SCOPE_EMBEDDING:
        break;
    }
    return false;
}

static bool is_named(const layer_info *layer, const char *name)
{
    const char *dot = strrchr(layer->path, '.');
    return strcmp(dot ? dot + 1 : layer->path, name) == 0;
}

/* Leaving the patterns aside. */
static bool is_meant(const layer_selection *s, const layer_info *layer)
{
    if (layer->class == LAYER_TOKENS) return s->scope == SCOPE_EMBEDDING;
    if (layer->part == PART_TEXT_ENCODER || layer->part == PART_TEXT_ENCODER_2)
        return s->text_encoder && (layer->class == LAYER_TEXT_ATTENTION || layer->class == LAYER_TEXT_MLP);
    if (!in_scope(s->scope, layer)) return false;
    switch (s->method) {
    case METHOD_SELFATTN:
        return layer->class == LAYER_ATTN1;
    case METHOD_XATTN:
        return layer->class == LAYER_ATTN2;
    case METHOD_XATTN_STRICT:
        return layer->class == LAYER_ATTN2 && (is_named(layer, "to_k") || is_named(layer, "to_v"));
    case METHOD_NOXATTN:
        return layer->class != LAYER_ATTN2;
    case METHOD_INNOXATTN:
        return layer->class != LAYER_ATTN1;
    case METHOD_FULL:
        break;
    }
    return true;
}

bool layer_matches(const char *pattern, const layer_info *layer)
{
    if (strpbrk(pattern, "*?[")) return fnmatch(pattern, layer->path, 0) == 0;
    const size_t length = strlen(pattern);
    for (const char *at = layer->path; length > 0 && (at = strstr(at, pattern)) != NULL; at++) {
        const bool begins = at == layer->path || at[-1] == '.', ends = at[length] == '\0' || at[length] == '.';
        if (begins && ends) return true;
    }
    return false;
}

static bool one_matches(const layer_patterns *patterns, const layer_info *layer)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (layer_matches(patterns->at[i], layer)) return true;
    return false;
}

bool layer_selected(const layer_selection *s, const layer_info *layer)
{
    if (!is_meant(s, layer)) return false;
    if (layer->class == LAYER_TOKENS) return true;
    return (s->include.count == 0 || one_matches(&s->include, layer)) && !one_matches(&s->exclude, layer);
}

/* The first layer that the pattern matches, of those that are meant, or of the others; NULL: there is none. */
static const layer_info *find(const char *pattern, const layer_selection *s, const layer_list *const *lists, bool meant)
{
    for (int part = 0; part < PART_COUNT; part++)
        for (size_t i = 0; lists[part] && i < lists[part]->count; i++) {
            const layer_info *layer = &lists[part]->layer[i];
            if (is_meant(s, layer) == meant && layer->class != LAYER_TOKENS && layer_matches(pattern, layer))
                return layer;
        }
    return NULL;
}

/* A stretch of a path, as suggest compares words: dots would part them. */
typedef struct stretch {
    char folded[64];
    const char *from; /* in the path */
    size_t length;
} stretch;

/* The stretches of `names` names of a path, added to out [capacity]; returns their number then. */
static size_t add_stretches(const char *path, size_t names, stretch *out, size_t count, size_t capacity)
{
    for (const char *from = path; from && count < capacity; from = strchr(from, '.'), from += from != NULL) {
        const char *end = from - 1;
        for (size_t k = 0; k < names && end; k++) end = strchr(end + 1, '.');
        size_t length = end ? (size_t)(end - from) : strlen(from);
        stretch *s = &out[count];
        if (length >= sizeof s->folded) continue;
        snprintf(s->folded, sizeof s->folded, "%.*s", (int)length, from);
        for (char *c = s->folded; *c; c++)
            if (*c == '.') *c = '_';
        s->from = from;
        s->length = length;
        bool known = false;
        for (size_t i = 0; i < count && !known; i++) known = strcmp(out[i].folded, s->folded) == 0;
        if (!known) count++;
    }
    return count;
}

/* What of the paths of meant layers is near to the pattern, without its stars at either end; length 0: nothing. */
static stretch nearest(const char *pattern, const layer_selection *s, const layer_list *const *lists)
{
    enum { MOST = 512 };
    static const stretch none;
    const char *known[MOST];
    char word[64];
    size_t names = 1, count = 0;
    pattern += strspn(pattern, "*.");
    size_t length = strlen(pattern);
    while (length > 0 && strchr("*.", pattern[length - 1])) length--;
    if (length == 0 || length >= sizeof word) return none;
    snprintf(word, sizeof word, "%.*s", (int)length, pattern);
    for (char *c = word; *c; c++)
        if (*c == '.') *c = '_', names++;
    stretch *all = mem_calloc(MOST, sizeof *all);
    if (!all) return none;
    for (int part = 0; part < PART_COUNT; part++)
        for (size_t i = 0; lists[part] && i < lists[part]->count; i++)
            if (is_meant(s, &lists[part]->layer[i]))
                count = add_stretches(lists[part]->layer[i].path, names, all, count, MOST);
    for (size_t i = 0; i < count; i++) known[i] = all[i].folded;
    const char *found = suggest(word, known, count);
    stretch result = none;
    for (size_t i = 0; i < count && found; i++)
        if (known[i] == found) result = all[i];
    mem_free(all);
    return result;
}

leco_status layer_patterns_check(const layer_patterns *patterns, const char *key, const layer_selection *s,
                                 const layer_list *const *lists, leco_error *err)
{
    for (size_t i = 0; i < patterns->count; i++) {
        const char *pattern = patterns->at[i];
        if (find(pattern, s, lists, true)) continue;
        const layer_info *other = find(pattern, s, lists, false);
        if (other)
            return error_set(err, LECO_INVALID,
                             "%s: %s: \"%.80s\" matches no layer that the type and the training_method select, only "
                             "others, such as %s",
                             patterns->place, key, pattern, other->path);
        const stretch near = nearest(pattern, s, lists);
        if (near.length)
            return error_set(err, LECO_INVALID, "%s: %s: \"%.80s\" matches no layer; did you mean \"%.*s\"?",
                             patterns->place, key, pattern, (int)near.length, near.from);
        return error_set(err, LECO_INVALID,
                         "%s: %s: \"%.80s\" matches no layer; a pattern is of module paths, such as "
                         "down_blocks.*.attn2.to_k or mid_block",
                         patterns->place, key, pattern);
    }
    return LECO_OK;
}

bool selection_reaches(const layer_selection *s, model_part part)
{
    const bool table = s->scope == SCOPE_EMBEDDING;
    switch (part) {
    case PART_UNET:
        return !table;
    case PART_TEXT_ENCODER:
    case PART_TEXT_ENCODER_2:
        return table || s->text_encoder;
    default:
        return false;
    }
}
