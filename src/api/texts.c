/* What each picture of a request is drawn from: its prompts, with their alternatives chosen by its seed. */
#include <string.h>

#include "api/internal.h"
#include "base/mem.h"
#include "model/wildcards.h"

/* Makes another stream of a picture's seed than its noise has. */
enum { CHOICES = 0x77696c64 };

static leco_status expand(const wildcards *w, const wildcard_text *text, const char **out, leco_error *err)
{
    *out = text->text;
    if (text->plain) return LECO_OK;
    const size_t size = strlen(text->text) + 1;
    char *expanded = arena_alloc(w->memory, size, 1);
    if (!expanded) return error_memory(err, size, "a prompt");
    wildcards_expand(w, text, expanded);
    *out = expanded;
    return LECO_OK;
}

/* The pictures of one prompt: the same choice holds in it and in the negative prompt. */
static leco_status choose(draw_request *q, const char *prompt, size_t first, leco_error *err)
{
    const leco_generate_options *o = q->options;
    wildcards w = {.memory = q->memory};
    wildcard_text positive, negative;
    LECO_TRY(wildcards_read(&w, prompt, &positive, err));
    LECO_TRY(wildcards_read(&w, o->negative ? o->negative : "", &negative, err));
    for (size_t i = first; i < first + (size_t)o->images_per_prompt; i++) {
        rng r;
        rng_seed(&r, RNG_CPU, ((uint64_t)q->seed + i) ^ CHOICES);
        wildcards_draw(&w, &r);
        LECO_TRY(expand(&w, &positive, &q->texts[i].prompt, err));
        if (o->negative) LECO_TRY(expand(&w, &negative, &q->texts[i].negative, err));
    }
    return LECO_OK;
}

leco_status draw_choose_texts(draw_request *q, leco_error *err)
{
    const leco_generate_options *o = q->options;
    const size_t each = (size_t)o->images_per_prompt, count = o->prompt_count * each;
    q->memory = arena_create();
    q->texts = q->memory ? arena_alloc(q->memory, count, sizeof *q->texts) : NULL;
    if (!q->texts) return error_memory(err, count * sizeof *q->texts, "prompts");
    for (size_t i = 0; i < o->prompt_count; i++) LECO_TRY(choose(q, o->prompts[i], i * each, err));
    return LECO_OK;
}

void draw_request_free(draw_request *q)
{
    arena_destroy(q->memory);
    q->memory = NULL;
    q->texts = NULL;
}
