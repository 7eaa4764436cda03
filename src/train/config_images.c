/* The pictures of a config. */
#include <stdio.h>

#include "base/file.h"
#include "train/config_internal.h"
#include "train/config_keys.h"
#include "train/modes.h"

/* *path, as the config has it, becomes that of the folder. */
static leco_status find_folder(train_config *c, const doc_node *map, const char *section, const char *key,
                               const char **path, leco_error *err)
{
    const char *written = *path;
    char name[64];
    snprintf(name, sizeof name, "%s.%s", section, key);
    if (!written || !*written)
        return error_set(err, LECO_INVALID, "%s: %s is missing: a folder of pictures", map->place, name);
    LECO_TRY(config_find(c, written, path, err));
    if (!file_exists(*path)) return train_config_missing(doc_find(map, key)->place, name, *path, written, err);
    if (file_is_folder(*path)) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: %s: %s is not a folder", doc_find(map, key)->place, name, *path);
}

static leco_status read_regularisation(train_config *c, const doc_node *n, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_REGULARISATION];
    if (doc_is_null(n)) return LECO_OK;
    if (n->kind != DOC_MAP) return doc_wrong(n, section->name, "keys with values (\"path: FOLDER\")", err);
    if (c->preserve.prompt)
        return error_set(err, LECO_INVALID, "%s: %s and preserve do the same work; keep one", n->place, section->name);
    LECO_TRY(config_join_texts(c, n, section->name, "prompt", err));
    LECO_TRY(keys_read(n, section, config_sections, c, err));
    return find_folder(c, n, section->name, "path", &c->images.regularisation.path, err);
}

leco_status config_read_images(train_config *c, const doc_node *root, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_IMAGES];
    const doc_node *n = doc_find(root, section->name);
    images_config *p = &c->images;
    if (doc_is_null(n)) return LECO_OK;
    if (n->kind != DOC_MAP) return doc_wrong(n, section->name, "keys with values (\"path: FOLDER\")", err);
    LECO_TRY(config_join_texts(c, n, section->name, "prompt", err));
    LECO_TRY(keys_read(n, section, config_sections, c, err));
    p->place = n->place;
    LECO_TRY(find_folder(c, n, section->name, "path", &p->path, err));
    if (!p->batch_size) p->batch_size = c->batch_size;
    return read_regularisation(c, doc_find(n, "regularisation"), err);
}

leco_status config_read_pairs(train_config *c, const doc_node *entry, train_prompt *p, leco_error *err)
{
    static const char *const others[] = {
        "positive", "neutral", "unconditional", "teacher", "trajectory", "terms", "trajectory_guidance_scale"};
    const key_section *section = &config_sections[SECTION_PAIRS];
    const doc_node *n = doc_find(entry, "images");
    if (doc_is_null(n)) return LECO_OK;
    if (n->kind != DOC_MAP) return doc_wrong(n, section->name, "{before: FOLDER, after: FOLDER}", err);
    if (!p->action->pictures)
        return error_set(err, LECO_INVALID, "%s: %s: pictures before and after are for action: slider", n->place,
                         section->name);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (doc_find(entry, others[i]))
            return error_set(err, LECO_INVALID, "%s: prompts.%s says nothing beside prompts.images",
                             doc_find(entry, others[i])->place, others[i]);
    LECO_TRY(keys_read(n, section, config_sections, p, err));
    LECO_TRY(find_folder(c, n, section->name, "before", &p->before, err));
    LECO_TRY(find_folder(c, n, section->name, "after", &p->after, err));
    if (!file_is_same(p->before, p->after)) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: %s: before and after are the same folder: there is no difference to learn",
                     n->place, section->name);
}
