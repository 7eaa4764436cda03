/* Prompts as other trainers write them, made into entries as p1atdev's has them (docs/peers.md, "Prompt files"):
 *
 *     [entry, ...]                              p1atdev, Concept Sliders, laksjdjf
 *     prompts: [entry, ...], key: default ...   sd-scripts, which calls it TOML's [[prompts]]
 *     targets: [slider, ...], key: default ...  sd-scripts and ai-toolkit; also below `slider`
 *
 * An entry with a `target_class` is a slider of sd-scripts: it becomes an entry for each direction, weight and
 * resolution. */
#include <string.h>

#include "train/config_internal.h"

/* The list in the making. */
typedef struct entries {
    arena *memory;
    const doc_node *defaults; /* a map whose keys stand for those that an entry lacks; or NULL */
    doc_node *list;
    size_t room;
} entries;

static leco_status no_memory(leco_error *err)
{
    return error_memory(err, 0, "the prompts");
}

/* ---- nodes ---- */

static leco_status new_node(arena *memory, doc_node like, doc_node **out, leco_error *err)
{
    *out = arena_alloc(memory, 1, sizeof **out);
    if (!*out) return no_memory(err);
    **out = like;
    if (!(*out)->text) (*out)->text = "";
    return LECO_OK;
}

/* A map with room for more. */
static leco_status new_map(arena *memory, const char *place, size_t room, doc_node **out, leco_error *err)
{
    doc_item *items = arena_alloc(memory, room, sizeof *items);
    if (!items) return no_memory(err);
    return new_node(memory, (doc_node){.kind = DOC_MAP, .place = place, .item = items}, out, err);
}

static void put(doc_node *map, const char *key, doc_node *value)
{
    if (value) map->item[map->count++] = (doc_item){key, value};
}

static leco_status put_text(arena *memory, doc_node *map, const char *key, const char *place, const char *text,
                            leco_error *err)
{
    doc_node *n;
    const doc_node scalar = {.kind = DOC_SCALAR, .place = place, .text = text, .quoted = true};
    LECO_TRY(new_node(memory, scalar, &n, err));
    put(map, key, n);
    return LECO_OK;
}

static leco_status append(entries *e, doc_node *entry, leco_error *err)
{
    doc_node *list = e->list;
    if (list->count == e->room) {
        const size_t room = 2 * e->room + 8;
        doc_item *grown = arena_alloc(e->memory, room, sizeof *grown);
        if (!grown) return no_memory(err);
        if (list->count) memcpy(grown, list->item, list->count * sizeof *grown);
        list->item = grown;
        e->room = room;
    }
    list->item[list->count++] = (doc_item){NULL, entry};
    return LECO_OK;
}

static bool is_one_of(const char *key, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(key, *names) == 0) return true;
    return false;
}

/* ---- sliders of sd-scripts ---- */

static const char *const neutral_keys[] = {"neutral", "neutrals", "neutral_prompt_file", "prompt_file", NULL};

/* "" where it isn't there. */
static leco_status slider_text(const doc_node *slider, const char *key, const char **out, leco_error *err)
{
    const doc_node *n = doc_find(slider, key);
    *out = "";
    return doc_is_null(n) ? LECO_OK : doc_text(n, key, out, err);
}

/* What the slider says of its neutral texts, as the value of an entry's `neutral`; NULL where it says nothing. */
static leco_status neutral_of(arena *memory, const doc_node *from, doc_node **out, leco_error *err)
{
    doc_node *found = NULL;
    const char *name = NULL;
    for (size_t i = 0; neutral_keys[i]; i++) {
        doc_node *n = doc_find(from, neutral_keys[i]);
        if (doc_is_null(n)) continue;
        /* A file's own default gives way to its longer lists; two lists are one too many. */
        if (found && strcmp(name, "neutral") != 0)
            return error_set(err, LECO_INVALID, "%s: %s and %s are both given; keep one", n->place, name,
                             neutral_keys[i]);
        found = n;
        name = neutral_keys[i];
    }
    *out = found;
    if (!found || strcmp(name, "neutral") == 0) return LECO_OK;
    if (strcmp(name, "neutrals") == 0)
        return found->kind == DOC_LIST ? LECO_OK : doc_wrong(found, name, "a list of texts", err);
    doc_node *map;
    LECO_TRY(new_map(memory, found->place, 1, &map, err));
    put(map, "file", found);
    *out = map;
    return LECO_OK;
}

/* Minus the slider's multiplier. */
static leco_status mirrored(arena *memory, const doc_node *multiplier, doc_node **out, leco_error *err)
{
    double value;
    LECO_TRY(doc_number(multiplier, "multiplier", -1000, 1000, &value, err));
    const char *text = multiplier->text;
    text = *text == '-' ? arena_strdup(memory, text + 1) : arena_printf(memory, "-%s", text + (*text == '+'));
    if (!text) return no_memory(err);
    return new_node(memory, (doc_node){.kind = DOC_SCALAR, .place = multiplier->place, .text = text}, out, err);
}

/* A direction of a slider at one of its weights. */
typedef struct slider_pair {
    const char *positive, *unconditional, *action;
    bool mirrored;
} slider_pair;

/* What the pairs of a slider share. */
typedef struct slider {
    const doc_node *from;
    const char *target;
    doc_node *neutral, *multiplier, *mirrored;
} slider;

static leco_status add_pair(entries *e, const slider *s, const slider_pair *p, doc_node *resolution, leco_error *err)
{
    static const char *const told[] = {
        "target_class", "positive", "negative",    "multiplier",          "resolution", "resolutions",
        "neutral",      "neutrals", "prompt_file", "neutral_prompt_file", NULL};
    const char *place = s->from->place;
    doc_node *entry;
    LECO_TRY(new_map(e->memory, place, s->from->count + 7, &entry, err));
    LECO_TRY(put_text(e->memory, entry, "target", place, s->target, err));
    LECO_TRY(put_text(e->memory, entry, "positive", place, p->positive, err));
    LECO_TRY(put_text(e->memory, entry, "unconditional", place, p->unconditional, err));
    LECO_TRY(put_text(e->memory, entry, "action", place, p->action, err));
    if (!s->neutral) LECO_TRY(put_text(e->memory, entry, "neutral", place, "", err));
    put(entry, "neutral", s->neutral);
    put(entry, "resolution", resolution);
    put(entry, "multiplier", p->mirrored ? s->mirrored : s->multiplier);
    for (size_t i = 0; i < s->from->count; i++)
        if (!is_one_of(s->from->item[i].key, told)) put(entry, s->from->item[i].key, s->from->item[i].value);
    return append(e, entry, err);
}

/* Both directions, each at both weights; or the one there is. */
static leco_status add_pairs(entries *e, const slider *s, doc_node *resolution, leco_error *err)
{
    const char *more, *less;
    LECO_TRY(slider_text(s->from, "positive", &more, err));
    LECO_TRY(slider_text(s->from, "negative", &less, err));
    const bool has_more = more[strspn(more, " ")] != '\0', has_less = less[strspn(less, " ")] != '\0';
    const slider_pair both[] = {{less, more, "erase", false},
                                {more, less, "enhance", false},
                                {more, less, "erase", true},
                                {less, more, "enhance", true}};
    const slider_pair one[] = {{has_more ? more : less, "", has_more ? "enhance" : "erase", false},
                               {has_more ? more : less, "", has_more ? "erase" : "enhance", true}};
    if (!has_more && !has_less)
        return error_set(err, LECO_INVALID, "%s: target_class: a slider needs a positive, a negative, or both",
                         s->from->place);
    const size_t count = has_more && has_less ? 4 : 2;
    for (size_t i = 0; i < count; i++) LECO_TRY(add_pair(e, s, count == 4 ? &both[i] : &one[i], resolution, err));
    return LECO_OK;
}

static leco_status add_slider(entries *e, const doc_node *from, leco_error *err)
{
    static const char *const made[] = {"target", "unconditional", "action"}; /* of what a slider says */
    slider s = {.from = from};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (doc_find(from, made[i]))
            return error_set(err, LECO_INVALID, "%s: %s: a slider's target_class, positive and negative say it all",
                             doc_find(from, made[i])->place, made[i]);
    LECO_TRY(slider_text(from, "target_class", &s.target, err));
    LECO_TRY(neutral_of(e->memory, from, &s.neutral, err));
    s.multiplier = doc_find(from, "multiplier");
    if (doc_is_null(s.multiplier)) {
        const doc_node usual = {.kind = DOC_SCALAR, .place = from->place, .text = "1"};
        LECO_TRY(new_node(e->memory, usual, &s.multiplier, err));
    }
    LECO_TRY(mirrored(e->memory, s.multiplier, &s.mirrored, err));
    doc_node *sizes = doc_find(from, "resolutions"), *size = doc_find(from, "resolution");
    if (doc_is_null(sizes)) return add_pairs(e, &s, size, err);
    const bool several = sizes->kind == DOC_LIST && sizes->count > 0 && sizes->item[0].value->kind == DOC_LIST;
    if (!several) return add_pairs(e, &s, sizes, err); /* a size, or [height, width] */
    for (size_t i = 0; i < sizes->count; i++) LECO_TRY(add_pairs(e, &s, sizes->item[i].value, err));
    return LECO_OK;
}

/* ---- entries ---- */

/* The entry with the file's defaults for what it lacks; its neutral texts are said in one of several ways. */
static leco_status complete(const entries *e, doc_node *entry, doc_node **out, leco_error *err)
{
    const doc_node *d = e->defaults;
    *out = entry;
    if (!d || d->count == 0) return LECO_OK;
    LECO_TRY(new_map(e->memory, entry->place, entry->count + d->count, out, err));
    bool says_neutral = false;
    for (size_t i = 0; i < entry->count; i++) {
        says_neutral = says_neutral || is_one_of(entry->item[i].key, neutral_keys);
        put(*out, entry->item[i].key, entry->item[i].value);
    }
    for (size_t i = 0; i < d->count; i++) {
        const char *key = d->item[i].key;
        if (doc_find(entry, key) || (says_neutral && is_one_of(key, neutral_keys))) continue;
        put(*out, key, d->item[i].value);
    }
    return LECO_OK;
}

static leco_status add_entries(entries *e, const doc_node *list, const char *name, leco_error *err)
{
    if (list->kind != DOC_LIST) return doc_wrong(list, name, "a list (\"- target: ...\")", err);
    for (size_t i = 0; i < list->count; i++) {
        doc_node *entry = list->item[i].value;
        if (entry->kind == DOC_MAP) LECO_TRY(complete(e, entry, &entry, err));
        const bool is_slider = entry->kind == DOC_MAP && doc_find(entry, "target_class");
        LECO_TRY(is_slider ? add_slider(e, entry, err) : append(e, entry, err));
    }
    return LECO_OK;
}

/* What stands beside the list in a file of defaults. */
static leco_status defaults_of(arena *memory, const doc_node *file, const char *list, doc_node **out, leco_error *err)
{
    LECO_TRY(new_map(memory, file->place, file->count, out, err));
    for (size_t i = 0; i < file->count; i++)
        if (strcmp(file->item[i].key, list) != 0) put(*out, file->item[i].key, file->item[i].value);
    return LECO_OK;
}

/* A file that is a map: where its list is. A single entry may stand there in place of the list. */
static leco_status add_file(entries *e, doc_node *file, leco_error *err)
{
    doc_node *inner = doc_find(file, "slider");
    const doc_node *prompts = doc_find(file, "prompts");
    if (!prompts && inner && inner->kind == DOC_MAP) file = inner;
    const char *name = prompts ? "prompts" : "targets";
    const doc_node *list = doc_find(file, name);
    doc_node *defaults;
    if (!list && (doc_find(file, "target") || doc_find(file, "target_class"))) {
        const doc_item only = {NULL, file};
        return add_entries(
            e, &(doc_node){.kind = DOC_LIST, .place = file->place, .count = 1, .item = (doc_item[]){only}}, name, err);
    }
    if (!list)
        return error_set(err, LECO_INVALID,
                         "%s: holds no prompts: expected a list of entries (\"- target: ...\"), or one under prompts "
                         "or targets",
                         file->place);
    LECO_TRY(defaults_of(e->memory, file, name, &defaults, err));
    e->defaults = defaults;
    return add_entries(e, list, name, err);
}

leco_status config_entries(arena *memory, doc_node *root, doc_node **list, leco_error *err)
{
    entries e = {.memory = memory};
    *list = NULL;
    if (root->kind == DOC_SCALAR) return doc_wrong(root, "prompts", "a list (\"- target: ...\")", err);
    LECO_TRY(new_node(memory, (doc_node){.kind = DOC_LIST, .place = root->place}, &e.list, err));
    LECO_TRY(root->kind == DOC_LIST ? add_entries(&e, root, "prompts", err) : add_file(&e, root, err));
    if (e.list->count == 0) return error_set(err, LECO_INVALID, "%s: the list of prompts is empty", root->place);
    *list = e.list;
    return LECO_OK;
}
