#define _GNU_SOURCE /* strcasestr */
#include <string.h>

#include "api/internal.h"
#include "base/mem.h"

/* Appends formatted text; NULL once memory has run out. Takes over `text`. */
static char *append(char *text, char *more)
{
    char *joined = text && more ? mem_printf("%s%s", text, more) : NULL;
    mem_free(text);
    mem_free(more);
    return joined;
}

static const char *last_part(const char *path)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    size_t start = length;
    while (start > 0 && path[start - 1] != '/') start--;
    return path + start;
}

/* A1111 quotes values that hold a comma, colon or line break; ours always hold a colon. */
static char *lora_hashes(const leco_model *handle)
{
    char *text = mem_strdup("");
    for (size_t i = 0; i < handle->lora_count; i++) {
        const loaded_lora *l = &handle->lora[i];
        if (!l->hash) continue;
        text = append(text, mem_printf("%s%s: %s", text && *text ? ", " : "", l->name, l->hash));
    }
    if (!text || !*text) return text;
    return append(append(mem_strdup(", Lora hashes: \""), text), mem_strdup("\""));
}

/* Those that the picture's texts name, with their files' hashes, as A1111 has them. */
static char *embedding_hashes(const leco_model *handle, const picture_text *of)
{
    const char *negative = of->negative ? of->negative : "";
    char *text = mem_strdup("");
    for (size_t i = 0; i < handle->embedding_count; i++) {
        const loaded_embedding *e = &handle->embedding[i];
        const char *const names[] = {e->name, trainable_module_at(e->trainable, 0)->token};
        bool used = false;
        for (size_t k = 0; k < 2; k++)
            used = used || strcasestr(of->prompt, names[k]) || strcasestr(negative, names[k]);
        if (used && e->hash) text = append(text, mem_printf("%s%s: %s", text && *text ? ", " : "", e->name, e->hash));
    }
    if (!text || !*text) return text;
    return append(append(mem_strdup(", TI hashes: \""), text), mem_strdup("\""));
}

char *generation_parameters(const leco_model *handle, const draw_request *request, const picture_text *of, int64_t seed)
{
    const leco_generate_options *o = request->options;
    char label[SAMPLING_LABEL], *text = mem_strdup(of->prompt);
    for (size_t i = 0; i < handle->lora_count; i++)
        text = append(text, mem_printf(" <lora:%s:%g>", handle->lora[i].name, (double)handle->lora[i].weight));
    if (of->negative && *of->negative) text = append(text, mem_printf("\nNegative prompt: %s", of->negative));
    const char *model_name = last_part(handle->model->folder);
    text = append(text, mem_printf("\nSteps: %d, Sampler: %s, CFG scale: %g, Seed: %lld, Size: %dx%d, Model: %s",
                                   o->steps, sampling_label(&request->sampling, label), o->guidance_scale,
                                   (long long)seed, request->width, request->height, model_name));
    if (handle->model->clip_skip > 1)
        text = append(text, mem_printf(", Clip skip: %lld", (long long)handle->model->clip_skip));
    text = append(text, lora_hashes(handle));
    text = append(text, embedding_hashes(handle, of));
    if (o->rng && strcmp(o->rng, "cpu") == 0) text = append(text, mem_strdup(", RNG: CPU"));
    return append(text, mem_strdup(", Version: leco " LECO_VERSION));
}
