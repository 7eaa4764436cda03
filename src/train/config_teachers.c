/* The teachers of a config, and who of them is meant where. */
#include <string.h>

#include "base/suggest.h"
#include "train/config_internal.h"
#include "train/config_keys.h"

static leco_status read_teacher(train_config *c, const doc_item *item, teacher_config *t, leco_error *err)
{
    const key_section *section = &config_sections[SECTION_TEACHERS];
    keys_defaults(section, false, t);
    t->place = item->value->place;
    t->name = item->key;
    t->key = arena_printf(c->memory, "teachers.%s.name_or_path", t->name);
    if (!t->key) return error_memory(err, strlen(t->name), "the teachers");
    LECO_TRY(keys_read(item->value, section, config_sections, t, err));
    if (!t->written || !*t->written)
        return error_set(err, LECO_INVALID, "%s: %s is missing: the folder of a model", t->place, t->key);
    return config_find_model(c, t->written, &t->path, err);
}

leco_status config_read_teachers(train_config *c, const doc_node *map, leco_error *err)
{
    if (doc_is_null(map)) return LECO_OK;
    if (map->kind != DOC_MAP)
        return doc_wrong(map, "teachers", "names with models (\"donor: {name_or_path: ...}\")", err);
    c->teacher = arena_alloc(c->memory, map->count, sizeof *c->teacher);
    if (!c->teacher) return error_memory(err, map->count * sizeof *c->teacher, "the teachers");
    c->teacher_count = map->count;
    for (size_t i = 0; i < map->count; i++) LECO_TRY(read_teacher(c, &map->item[i], &c->teacher[i], err));
    return LECO_OK;
}

/* The place of a name: 0 for none. */
static leco_status find_teacher(const train_config *c, const doc_node *map, const char *key, const char *name,
                                size_t *out, leco_error *err)
{
    *out = 0;
    if (!name) return LECO_OK;
    for (size_t i = 0; i < c->teacher_count; i++) {
        if (strcmp(c->teacher[i].name, name) != 0) continue;
        *out = 1 + i;
        return LECO_OK;
    }
    const char *place = doc_find(map, "teacher")->place;
    if (c->teacher_count == 0)
        return error_set(err, LECO_INVALID, "%s: %s: there is no teacher \"%.80s\"; \"teachers\" has none", place, key,
                         name);
    return error_set(err, LECO_INVALID, "%s: %s: there is no teacher \"%.80s\"; the first of \"teachers\" is \"%s\"",
                     place, key, name, c->teacher[0].name);
}

leco_status config_find_teachers(const train_config *c, const doc_node *entry, train_prompt *p, leco_error *err)
{
    LECO_TRY(find_teacher(c, entry, "prompts.teacher", p->teacher_name, &p->teacher, err));
    const doc_node *terms = doc_find(entry, "terms");
    for (size_t i = 0; i < p->term_count; i++)
        LECO_TRY(
            find_teacher(c, terms->item[i].value, "terms.teacher", p->term[i].teacher_name, &p->term[i].teacher, err));
    return LECO_OK;
}
