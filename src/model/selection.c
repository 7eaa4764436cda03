#include "model/selection.h"

#include <string.h>

static bool in_scope(layer_scope scope, const layer_info *layer)
{
    switch (scope) {
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

bool layer_selected(const layer_selection *s, const layer_info *layer)
{
    if (layer->class == LAYER_TOKENS) return s->scope == SCOPE_EMBEDDING;
    if (layer->part == PART_TEXT_ENCODER)
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

bool selection_reaches(const layer_selection *s, model_part part)
{
    const bool table = s->scope == SCOPE_EMBEDDING;
    return part == PART_UNET ? !table : part == PART_TEXT_ENCODER && (table || s->text_encoder);
}
