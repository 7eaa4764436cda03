#include "train/previews_texts.h"

#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/wildcards.h"
#include "train/previews.h"

/* Where the group that begins at `text` ends: at its closing brace. */
static const char *end_of_group(const char *text)
{
    int depth = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '\\' && at[1])
            at++;
        else if (*at == '{')
            depth++;
        else if (*at == '}' && --depth == 0)
            return at;
    }
    return NULL;
}

/* An alternative as a text of its own, where a | needs no backslash. */
static void copy_alternative(const char *from, size_t length, char *out)
{
    int depth = 0;
    for (size_t i = 0; i < length; i++) {
        const bool escaped = from[i] == '\\' && i + 1 < length;
        depth += from[i] == '{';
        depth -= from[i] == '}';
        if (!escaped || from[i + 1] != '|' || depth > 0) *out++ = from[i];
        if (escaped) *out++ = from[++i];
    }
}

static leco_status add(const char *from, size_t length, arena *memory, const char **out, size_t *count, leco_error *err)
{
    if (*count == PREVIEW_MOST_PROMPTS)
        return error_set(err, LECO_INVALID, "logging.prompts: more than %d prompts are too many for previews",
                         PREVIEW_MOST_PROMPTS);
    char *text = arena_alloc(memory, length + 1, 1);
    if (!text) return error_memory(err, length, "a prompt");
    copy_alternative(from, length, text);
    out[(*count)++] = text;
    return LECO_OK;
}

leco_status previews_split(const char *joined, arena *memory, const char ***out, size_t *count, leco_error *err)
{
    const char *end = *joined == '{' ? end_of_group(joined) : NULL, *from = joined + 1;
    int depth = 0;
    *count = 0;
    *out = arena_alloc(memory, PREVIEW_MOST_PROMPTS, sizeof **out);
    if (!*out) return error_memory(err, PREVIEW_MOST_PROMPTS * sizeof **out, "the previews");
    if (!end || end[1]) {
        (*out)[(*count)++] = joined;
        return LECO_OK;
    }
    for (const char *at = from; at < end; at++) {
        if (*at == '\\' && at[1])
            at++;
        else if (*at == '{')
            depth++;
        else if (*at == '}')
            depth--;
        else if (*at == '|' && depth == 0) {
            LECO_TRY(add(from, (size_t)(at - from), memory, *out, count, err));
            from = at + 1;
        }
    }
    return add(from, (size_t)(end - from), memory, *out, count, err);
}

leco_status previews_draw_text(const char *text, uint64_t seed, arena *memory, const char **out, leco_error *err)
{
    wildcards w = {.memory = memory};
    wildcard_text read;
    rng random;
    LECO_TRY(wildcards_read(&w, text, &read, err));
    char *drawn = arena_alloc(memory, strlen(text) + 1, 1);
    if (!drawn) return error_memory(err, strlen(text), "a prompt");
    rng_seed(&random, RNG_CPU, seed);
    wildcards_draw(&w, &random);
    wildcards_expand(&w, &read, drawn);
    *out = drawn;
    return LECO_OK;
}

leco_status previews_visit_prompts(const train_config *c, leco_status (*visit)(void *user, const char *, leco_error *),
                                   void *user, leco_error *err)
{
    if (!c->logging.prompts) return LECO_OK;
    LECO_TRY(visit(user, c->logging.prompts, err)); /* of which each of the prompts is an alternative */
    return visit(user, c->logging.negative_prompt, err);
}

char *previews_file(const train_config *c)
{
    char *name = mem_printf("%s.previews.png", c->save_name);
    char *full = name ? file_join(c->save_path, name) : NULL;
    mem_free(name);
    return full;
}
