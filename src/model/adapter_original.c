#include <ctype.h>
#include <string.h>

#include "base/mem.h"
#include "model/adapter_keys.h"
#include "model/checkpoint.h"
#include "model/part.h"

/* SDXL's: residual blocks a level, and where attention is. (Reading asks for the first alone.) */
static const checkpoint_depths released = {.unet_layers = 2, .up_attention = {true, true}};

/* The layer's path in a tensor's name, and where it ends; NULL: it is none of the U-Net. */
static const char *path_of(const char *name, const char **end)
{
    layer_info layer;
    const char *path = adapter_path(name, &layer);
    *end = path ? strchr(path, '.') : NULL;
    return *end && layer.part == PART_UNET ? path : NULL;
}

leco_status adapter_name_of_original(const char *name, char **out, leco_error *err)
{
    const char *suffix, *from = path_of(name, &suffix);
    checkpoint_view view[CHECKPOINT_MOST_VIEWS];
    *out = NULL;
    if (!from) return LECO_OK;
    char *dotted = mem_printf("model.diffusion_model.%s", from);
    if (!dotted) return error_memory(err, strlen(name), "the keys of a LoRA");
    /* A point is where a number is; whatever else was one is part of a name that stays as it is. */
    char *path = dotted + strlen(dotted) - strlen(from), *end = path + (suffix - from);
    for (char *p = path + 1; p < end; p++)
        if (*p == '_' && (isdigit((unsigned char)p[-1]) || isdigit((unsigned char)p[1]))) *p = '.';
    const int views = checkpoint_views(&released, PART_UNET, dotted, view);
    mem_free(dotted);
    if (views == 0) return LECO_OK;
    for (char *p = view[0].name; p < view[0].name + strlen(view[0].name) - strlen(suffix); p++)
        if (*p == '.') *p = '_';
    *out = mem_printf("%s%s", part_rows[PART_UNET].lora_prefix, view[0].name);
    return *out ? LECO_OK : error_memory(err, strlen(name), "the keys of a LoRA");
}

leco_status adapter_original_name(const char *name, char **out, leco_error *err)
{
    const char *suffix, *from = path_of(name, &suffix);
    *out = NULL;
    if (!from) return LECO_OK;
    char path[192], *layer = mem_strndup(from, (size_t)(suffix - from));
    if (!layer) return error_memory(err, strlen(name), "the keys of a LoRA");
    const bool known = checkpoint_unet_path(&released, layer, path);
    mem_free(layer);
    if (!known) return LECO_OK;
    for (char *p = path; *p; p++)
        if (*p == '.') *p = '_';
    *out = mem_printf("%s%s%s", part_rows[PART_UNET].lora_prefix, path, suffix);
    return *out ? LECO_OK : error_memory(err, strlen(name), "the keys of a LoRA");
}
