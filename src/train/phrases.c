#include "train/phrases.h"

#include <stdint.h>
#include <string.h>

#include "base/mem.h"

typedef struct phrase {
    conditioner *from;
    wildcard_text *text; /* [count] */
    size_t count, picked;
    int64_t height, width;
    conditioning *out;
} phrase;

struct phrases {
    wildcards choices; /* its memory is there once a text has a brace */
    phrase *item;
    size_t count;
    char *expanded; /* as long as the longest text */
    size_t size;    /* of it */
    picture_crop crop;
};

phrases *phrases_create(void)
{
    return mem_calloc(1, sizeof(phrases));
}

void phrases_destroy(phrases *p)
{
    if (!p) return;
    arena_destroy(p->choices.memory);
    for (size_t i = 0; i < p->count; i++) mem_free(p->item[i].text);
    mem_free(p->item);
    mem_free(p->expanded);
    mem_free(p);
}

static leco_status resolve(const phrases *p, const phrase *one, leco_error *err)
{
    const wildcard_text *read = &one->text[one->picked];
    const char *text = read->text;
    if (!read->plain) {
        wildcards_expand(&p->choices, read, p->expanded);
        text = p->expanded;
    }
    LECO_TRY(conditioner_get(one->from, text, one->out, err));
    conditioning_set_size(one->out, one->height, one->width, p->crop);
    return LECO_OK;
}

/* Room for a text of that size when it is expanded. */
static leco_status make_room(phrases *p, size_t size, leco_error *err)
{
    if (size <= p->size) return LECO_OK;
    char *grown = mem_realloc(p->expanded, size, 1);
    if (!grown) return error_memory(err, size, "a prompt");
    p->expanded = grown;
    p->size = size;
    return LECO_OK;
}

static leco_status read_texts(phrases *p, phrase *one, const char *const *texts, leco_error *err)
{
    for (size_t i = 0; i < one->count; i++) {
        const char *text = texts[i];
        if (strchr(text, '{') && !p->choices.memory) p->choices.memory = arena_create();
        if (strchr(text, '{') && !p->choices.memory) return error_memory(err, 0, "a prompt's alternatives");
        LECO_TRY(wildcards_read(&p->choices, text, &one->text[i], err));
        LECO_TRY(make_room(p, strlen(text) + 1, err));
    }
    return LECO_OK;
}

leco_status phrases_add_any(phrases *p, conditioner *from, const char *const *texts, size_t count, int64_t height,
                            int64_t width, conditioning *out, size_t *slot, leco_error *err)
{
    phrase *grown = mem_realloc(p->item, p->count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (p->count + 1) * sizeof *grown, "an objective's prompts");
    p->item = grown;
    phrase *one = &p->item[p->count];
    *one = (phrase){.from = from, .count = count, .height = height, .width = width, .out = out};
    one->text = mem_calloc(count, sizeof *one->text);
    if (!one->text) return error_memory(err, count * sizeof *one->text, "an objective's prompts");
    *slot = p->count++;
    LECO_TRY(read_texts(p, one, texts, err));
    return resolve(p, one, err);
}

leco_status phrases_add(phrases *p, conditioner *from, const char *text, int64_t height, int64_t width,
                        conditioning *out, leco_error *err)
{
    size_t slot;
    return phrases_add_any(p, from, &text, 1, height, width, out, &slot, err);
}

void phrases_pick(phrases *p, size_t slot, size_t which)
{
    p->item[slot].picked = which;
}

void phrases_draw(phrases *p, rng *r)
{
    wildcards_draw(&p->choices, r);
}

void phrases_draw_crop(phrases *p, rng *r)
{
    if (p->count == 0) return;
    const int64_t height = p->item[0].height, width = p->item[0].width;
    float drawn;
    rng_uniform(r, &drawn, 1, 0, 1);
    const double scale = 2 * (double)drawn + 1;
    picture_crop c = {.height = (int64_t)((double)height * scale), .width = (int64_t)((double)width * scale)};
    c.top = rng_randint(r, 0, c.height > height ? c.height - height : 1);
    c.left = rng_randint(r, 0, c.width > width ? c.width - width : 1);
    p->crop = c;
}

leco_status phrases_resolve(phrases *p, leco_error *err)
{
    for (size_t i = 0; i < p->count; i++) LECO_TRY(resolve(p, &p->item[i], err));
    return LECO_OK;
}

/* ---- all that a text may become ---- */

leco_status phrase_ways(const char *text, size_t *ways, leco_error *err)
{
    wildcards w = {.memory = arena_create()};
    wildcard_text read;
    if (!w.memory) return error_memory(err, 0, "a prompt's alternatives");
    leco_status status = wildcards_read(&w, text, &read, err);
    if (status == LECO_OK) *ways = wildcards_ways(&w, &read);
    arena_destroy(w.memory);
    return status;
}

static leco_status add_one(void *c, const char *text, leco_error *err)
{
    return conditioner_add(c, text, err);
}

leco_status phrase_add_all(conditioner *c, const char *text, leco_error *err)
{
    return wildcards_visit(text, SIZE_MAX, add_one, c, err);
}
