#include "train/settings.h"

#include <string.h>

#include "base/mem.h"

leco_status settings_create(setting_list *out, leco_error *err)
{
    *out = (setting_list){.memory = arena_create()};
    return out->memory ? LECO_OK : error_memory(err, 0, "the settings");
}

void settings_free(setting_list *s)
{
    arena_destroy(s->memory);
    mem_free(s->pair);
    *s = (setting_list){0};
}

leco_status settings_add(setting_list *s, const char *name, const char *value, leco_error *err)
{
    if (s->count == s->capacity) {
        const size_t wanted = s->capacity ? 2 * s->capacity : 64;
        const char *(*grown)[2] = mem_realloc(s->pair, wanted, sizeof *grown);
        if (!grown) return error_memory(err, wanted * sizeof *grown, "the settings");
        s->pair = grown;
        s->capacity = wanted;
    }
    const char **pair = s->pair[s->count];
    pair[0] = arena_strdup(s->memory, name);
    pair[1] = arena_strdup(s->memory, value);
    if (!pair[0] || !pair[1]) return error_memory(err, strlen(name) + strlen(value), "the settings");
    s->count++;
    return LECO_OK;
}

const char *settings_find(const setting_list *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->pair[i][0], name) == 0) return s->pair[i][1];
    return NULL;
}
