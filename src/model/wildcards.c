#include "model/wildcards.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

/* ---- reading ---- */

static bool is_escaped(const char *at)
{
    return at[0] == '\\' && (at[1] == '{' || at[1] == '}' || at[1] == '|');
}

/* How much of the text at `at` a message quotes. */
static int quoted(const char *at)
{
    const size_t length = strlen(at);
    return (int)(length < 40 ? length : 40);
}

/* Where the group that opens at `open` closes, or NULL; *alternatives of its own. */
static const char *closing(const char *open, size_t *alternatives)
{
    size_t depth = 0;
    *alternatives = 1;
    for (const char *at = open; *at; at++) {
        if (is_escaped(at))
            at++;
        else if (*at == '{')
            depth++;
        else if (*at == '|' && depth == 1)
            ++*alternatives;
        else if (*at == '}' && --depth == 0)
            return at;
    }
    return NULL;
}

/* What begins an alternative in other programs and means something else than text: "2$$", "1-2$$", "0.5::". */
static const char *instruction(const char *at, const char *end)
{
    const char *after = at + strspn(at, "0123456789.- ");
    const bool number = after > at && after + 2 <= end;
    if (number && (strncmp(after, "$$", 2) == 0 || strncmp(after, "::", 2) == 0)) return after;
    return NULL;
}

bool wildcards_instruct(const char *text)
{
    return instruction(text, text + strlen(text)) != NULL;
}

static leco_status check_alternatives(const char *open, const char *close, leco_error *err)
{
    size_t depth = 0;
    for (const char *at = open; at < close; at++) {
        const bool starts = (*at == '{' && depth == 0) || (*at == '|' && depth == 1);
        if (is_escaped(at))
            at++;
        else if (*at == '{')
            depth++;
        else if (*at == '}')
            depth--;
        const char *found = starts ? instruction(at + 1, close) : NULL;
        if (found)
            return error_set(err, LECO_INVALID, "\"%.*s\": \"%.2s\" in braces is not supported; write {a|b|c}",
                             quoted(open), open, found);
    }
    return LECO_OK;
}

/* The choice of a group: the one that an earlier text has, or a new one. Groups of this text so far are in
 * group [count]. */
static leco_status find_choice(wildcards *w, const wildcard *wanted, size_t *out, leco_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        const wildcard *c = &w->item[i];
        if (c->occurrence != wanted->occurrence || c->length != wanted->length ||
            memcmp(c->body, wanted->body, wanted->length) != 0)
            continue;
        *out = i;
        return LECO_OK;
    }
    if (w->count == w->capacity) {
        const size_t capacity = w->capacity ? 2 * w->capacity : 8;
        wildcard *grown = arena_alloc(w->memory, capacity, sizeof *grown);
        if (!grown) return error_memory(err, capacity * sizeof *grown, "a prompt's alternatives");
        if (w->count > 0) memcpy(grown, w->item, w->count * sizeof *grown);
        w->item = grown;
        w->capacity = capacity;
    }
    w->item[w->count] = *wanted;
    *out = w->count++;
    return LECO_OK;
}

static size_t occurrences(const wildcards *w, const size_t *group, size_t count, const char *body, size_t length)
{
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const wildcard *c = &w->item[group[i]];
        found += c->length == length && memcmp(c->body, body, length) == 0;
    }
    return found;
}

static leco_status read_group(wildcards *w, const char *open, size_t *group, size_t before, leco_error *err)
{
    wildcard c = {.body = open + 1};
    const char *close = closing(open, &c.alternatives);
    if (!close)
        return error_set(err, LECO_INVALID, "\"%.*s\": this { is never closed; \\{ is a plain brace", quoted(open),
                         open);
    LECO_TRY(check_alternatives(open, close, err));
    c.length = (size_t)(close - c.body);
    c.occurrence = occurrences(w, group, before, c.body, c.length);
    return find_choice(w, &c, &group[before], err);
}

leco_status wildcards_read(wildcards *w, const char *text, wildcard_text *out, leco_error *err)
{
    *out = (wildcard_text){.text = text, .plain = true};
    size_t braces = 0;
    for (const char *at = text; *at; at++) braces += *at == '{';
    size_t *group = braces > 0 ? arena_alloc(w->memory, braces, sizeof *group) : NULL;
    if (braces > 0 && !group) return error_memory(err, braces * sizeof *group, "a prompt's alternatives");
    if (braces > WILDCARDS_MAX)
        return error_set(err, LECO_INVALID, "\"%.*s\": %zu braces in one text; at most %d", quoted(text), text, braces,
                         WILDCARDS_MAX);
    size_t depth = 0;
    for (const char *at = text; *at; at++) {
        if (is_escaped(at) && (at[1] != '|' || depth > 0)) {
            out->plain = false;
            at++;
        } else if (*at == '{') {
            if (++depth > WILDCARDS_DEEPEST)
                return error_set(err, LECO_INVALID, "\"%.*s\": braces are nested more than %d deep", quoted(text), text,
                                 WILDCARDS_DEEPEST);
            LECO_TRY(read_group(w, at, group, out->count, err));
            out->count++;
        } else if (*at == '}' && depth-- == 0) {
            return error_set(err, LECO_INVALID, "\"%.*s\": this } has no {; \\} is a plain brace", quoted(at), at);
        }
    }
    out->group = group;
    out->plain = out->plain && out->count == 0;
    return LECO_OK;
}

/* ---- choosing ---- */

void wildcards_draw(wildcards *w, rng *r)
{
    for (size_t i = 0; i < w->count; i++) {
        wildcard *c = &w->item[i];
        if (c->alternatives > 1) c->chosen = (size_t)rng_randint(r, 0, (int64_t)c->alternatives);
    }
}

size_t wildcards_ways(const wildcards *w, const wildcard_text *text)
{
    size_t ways = 1;
    for (size_t i = 0; i < text->count; i++)
        if (__builtin_mul_overflow(ways, w->item[text->group[i]].alternatives, &ways)) return SIZE_MAX;
    return ways;
}

bool wildcards_next(wildcards *w, const wildcard_text *text)
{
    for (size_t i = 0; i < text->count; i++) {
        wildcard *c = &w->item[text->group[i]];
        if (++c->chosen < c->alternatives) return true;
        c->chosen = 0;
    }
    return false;
}

/* ---- expanding ---- */

typedef struct expansion {
    const wildcards *choices;
    const wildcard_text *text;
    size_t group; /* of opening braces so far */
    char *out;
} expansion;

/* Copies what stands at `at`, up to the end of its alternative (or of the text, where depth is 0), where it is taken;
 * passes over it otherwise. Returns the place after it: at '|', '}' or the end. */
static const char *alternative(expansion *e, const char *at, bool taken, size_t depth)
{
    for (; *at; at++) {
        if (depth > 0 && (*at == '|' || *at == '}')) return at;
        if (*at == '{') {
            const size_t chosen = e->choices->item[e->text->group[e->group++]].chosen;
            for (size_t k = 0; *at != '}'; k++) at = alternative(e, at + 1, taken && k == chosen, depth + 1);
            continue;
        }
        if (is_escaped(at) && (at[1] != '|' || depth > 0)) at++;
        if (taken) *e->out++ = *at;
    }
    return at;
}

void wildcards_expand(const wildcards *w, const wildcard_text *text, char *out)
{
    expansion e = {w, text, 0, out};
    alternative(&e, text->text, true, 0);
    *e.out = '\0';
}

/* ---- all that a text may become ---- */

static leco_status visit_drawn(wildcards *w, const wildcard_text *text, size_t count, char *expanded,
                               wildcards_visitor visit, void *user, leco_error *err)
{
    rng r;
    rng_seed(&r, RNG_CPU, 0);
    for (size_t i = 0; i < count; i++) {
        wildcards_draw(w, &r);
        wildcards_expand(w, text, expanded);
        LECO_TRY(visit(user, expanded, err));
    }
    return LECO_OK;
}

static leco_status visit_all(wildcards *w, const wildcard_text *text, char *expanded, wildcards_visitor visit,
                             void *user, leco_error *err)
{
    do {
        wildcards_expand(w, text, expanded);
        LECO_TRY(visit(user, expanded, err));
    } while (wildcards_next(w, text));
    return LECO_OK;
}

leco_status wildcards_visit(const char *text, size_t most, wildcards_visitor visit, void *user, leco_error *err)
{
    wildcards w = {.memory = arena_create()};
    wildcard_text read;
    char *expanded = mem_calloc(strlen(text) + 1, 1);
    leco_status status = LECO_OK;
    if (!w.memory || !expanded) status = error_memory(err, strlen(text) + 1, "a prompt's alternatives");
    if (status == LECO_OK) status = wildcards_read(&w, text, &read, err);
    if (status == LECO_OK)
        status = wildcards_ways(&w, &read) <= most ? visit_all(&w, &read, expanded, visit, user, err)
                                                   : visit_drawn(&w, &read, most, expanded, visit, user, err);
    mem_free(expanded);
    arena_destroy(w.memory);
    return status;
}
