#include "train/keys.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/number.h"
#include "base/suggest.h"

enum { MAX_NAMES = 256, MAX_KEY = 128 };

/* ---- unknown keys ---- */

/* The keys of all sections as one would write them there: "lr", or "train.lr" in another section. */
typedef struct name_list {
    const char *name[MAX_NAMES];
    char text[MAX_NAMES][48];
    size_t count;
} name_list;

static void add_names(name_list *list, const key_section *s, const key_section *here)
{
    const bool dotted = s != here && *s->name;
    for (const key_row *k = s->keys; k->name && list->count < MAX_NAMES; k++) {
        char *text = list->text[list->count];
        snprintf(text, sizeof list->text[0], "%s%s%s", dotted ? s->name : "", dotted ? "." : "", k->name);
        list->name[list->count++] = text;
    }
}

static leco_status unknown_key(const doc_node *map, const char *name, const key_section *section,
                               const key_section *all, leco_error *err)
{
    name_list known = {.count = 0};
    add_names(&known, section, section);
    const char *near = suggest(name, known.name, known.count);
    for (int aside = 0; aside < 2 && !near; aside++) {
        for (const key_section *other = all; other->name; other++)
            if (other != section && other->aside == aside) add_names(&known, other, section);
        near = suggest(name, known.name, known.count);
    }
    if (near && strcmp(near, name) == 0) /* of the file itself: sections' keys have a dot */
        return error_set(err, LECO_INVALID, "%s: %s.%s is not a known key: \"%s\" stands at the top of the config",
                         map->place, section->name, name, name);
    return error_set(err, LECO_INVALID, "%s: %s%s%s is not a known key%s%s%s", map->place, section->name,
                     *section->name ? "." : "", name, near ? "; did you mean \"" : "", near ? near : "",
                     near ? "\"?" : "");
}

/* ---- choices ---- */

/* "adamw, adam and sgd are" */
static void tell_choices(const choice_list *list, char *out, size_t size)
{
    const char *last = NULL;
    size_t used = 0, told = 0;
    out[0] = '\0';
    for (size_t i = 0;; i++) {
        const choice c = list->at(i);
        if (c.name && c.alias) continue;
        if (last && used < size) {
            const char *join = told == 0 ? "" : c.name ? ", " : " and ";
            used += (size_t)snprintf(out + used, size - used, "%s%s", join, last);
            told++;
        }
        last = c.name;
        if (!last) break;
    }
    if (used < size) snprintf(out + used, size - used, told == 1 ? " is" : " are");
}

static bool is_refused(const choice_list *list, const char *text)
{
    for (const char *const *name = list->refused; name && *name; name++)
        if (strcasecmp(*name, text) == 0) return true;
    return false;
}

static leco_status read_choice(const doc_node *n, const char *name, const choice_list *list, void *field,
                               leco_error *err)
{
    const char *text, *known[MAX_NAMES];
    size_t count = 0;
    LECO_TRY(doc_text(n, name, &text, err));
    for (size_t i = 0; list->at(i).name; i++) {
        const choice c = list->at(i);
        if (strcasecmp(c.name, text) == 0) {
            list->store(field, &c);
            return LECO_OK;
        }
        if (count < MAX_NAMES) known[count++] = c.name;
    }
    char there_are[512];
    tell_choices(list, there_are, sizeof there_are);
    if (is_refused(list, text))
        return error_set(err, LECO_UNSUPPORTED, "%s: %s: \"%s\" %s; %s", n->place, name, text, list->why, there_are);
    for (const char *const *other = list->refused; other && *other && count < MAX_NAMES; other++)
        known[count++] = *other;
    const char *near = suggest(text, known, count);
    return error_set(err, LECO_INVALID, "%s: %s: \"%.100s\" is not known%s%s%s; %s", n->place, name, text,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "", there_are);
}

/* ---- values ---- */

static bool says_no(const doc_node *n)
{
    if (n->kind != DOC_SCALAR) return false;
    static const char *const words[] = {"", "false", "no", "off", "0", "none"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(n->text, words[i]) == 0) return true;
    return false;
}

static leco_status read_uint(const doc_node *n, const char *name, const key_row *k, uint64_t *out, leco_error *err)
{
    int64_t value;
    LECO_TRY(doc_int(n, name, (int64_t)k->low, (int64_t)k->high, &value, err));
    *out = (uint64_t)value;
    return LECO_OK;
}

static leco_status read_float(const doc_node *n, const char *name, const key_row *k, float *out, leco_error *err)
{
    double value;
    LECO_TRY(doc_number(n, name, k->low, k->high, &value, err));
    *out = (float)value;
    return LECO_OK;
}

static leco_status read_claim(const doc_node *n, const char *name, int *out, leco_error *err)
{
    bool value;
    LECO_TRY(doc_bool(n, name, &value, err));
    *out = value;
    return LECO_OK;
}

static leco_status read_value(const doc_node *n, const char *name, const key_row *k, void *values, leco_error *err)
{
    void *field = (char *)values + k->offset;
    switch (k->kind) {
    case KEY_TEXT:
        return doc_text(n, name, field, err);
    case KEY_INT:
        return doc_int(n, name, (int64_t)k->low, (int64_t)k->high, field, err);
    case KEY_UINT:
        return read_uint(n, name, k, field, err);
    case KEY_NUMBER:
        return doc_number(n, name, k->low, k->high, field, err);
    case KEY_FLOAT:
        return read_float(n, name, k, field, err);
    case KEY_BOOL:
        return doc_bool(n, name, field, err);
    case KEY_CLAIM:
        return read_claim(n, name, field, err);
    case KEY_CHOICE:
        return read_choice(n, name, k->choices, field, err);
    case KEY_OWN:
        return k->read(n, name, values, err);
    case KEY_LATER:
        if (says_no(n)) return LECO_OK;
        return error_set(err, LECO_UNSUPPORTED, "%s: %s %s", n->place, name, k->refusal);
    case KEY_NODE:
    case KEY_NOTHING:
        break;
    }
    return LECO_OK;
}

void keys_defaults(const key_section *section, bool others, void *values)
{
    for (const key_row *k = section->keys; k->name; k++) {
        if (k->kind == KEY_CLAIM) *(int *)(void *)((char *)values + k->offset) = -1;
        const char *text = others && k->other ? k->other : k->fallback;
        if (!text) continue;
        leco_error err;
        const doc_node n = {.kind = DOC_SCALAR, .place = "a default", .text = text, .quoted = true};
        leco_status status = read_value(&n, k->name, k, values, &err);
        assert(status == LECO_OK && "a row's own default");
        (void)status;
    }
}

leco_status keys_read(const doc_node *map, const key_section *section, const key_section *all, void *values,
                      leco_error *err)
{
    const char *name = section->name;
    if (doc_is_null(map)) return LECO_OK;
    if (map->kind != DOC_MAP)
        return error_set(err, LECO_INVALID, "%s: %s: expected keys with values, found a %s", map->place,
                         *name ? name : "the file", map->kind == DOC_LIST ? "list" : "single value");
    for (size_t i = 0; i < map->count; i++) {
        const doc_item *item = &map->item[i];
        const key_row *k = section->keys;
        while (k->name && strcmp(k->name, item->key) != 0) k++;
        /* For a key's line its value's place is nearer than the map's. */
        if (!k->name) return unknown_key(item->value, item->key, section, all, err);
        if (doc_is_null(item->value)) continue;
        char full[MAX_KEY];
        snprintf(full, sizeof full, "%s%s%s", name, *name ? "." : "", item->key);
        LECO_TRY(read_value(item->value, full, k, values, err));
    }
    return LECO_OK;
}

/* ---- telling ---- */

/* mem_free it. *unset: there is nothing to tell. */
static char *value_text(const key_row *k, const void *values, bool *unset)
{
    const void *field = (const char *)values + k->offset;
    const char *text = NULL;
    char number[32];
    switch (k->kind) {
    case KEY_INT:
        return mem_printf("%lld", (long long)*(const int64_t *)field);
    case KEY_UINT:
        return mem_printf("%llu", (unsigned long long)*(const uint64_t *)field);
    case KEY_NUMBER:
        number_exact(*(const double *)field, number, sizeof number);
        return mem_strdup(number);
    case KEY_FLOAT:
        number_exact((double)*(const float *)field, number, sizeof number);
        return mem_strdup(number);
    case KEY_BOOL:
        return mem_strdup(*(const bool *)field ? "true" : "false");
    case KEY_OWN:
        return k->show(values);
    case KEY_TEXT:
        text = *(const char *const *)field;
        break;
    case KEY_CHOICE:
        text = k->choices->name(field);
        break;
    case KEY_CLAIM:
    case KEY_NODE:
    case KEY_NOTHING:
    case KEY_LATER:
        break;
    }
    *unset = !text;
    return text ? mem_strdup(text) : NULL;
}

leco_status keys_tell(const key_section *section, const void *values, key_visit visit, void *user, leco_error *err)
{
    for (const key_row *k = section->keys; k->name; k++) {
        bool unset = false;
        char *text = value_text(k, values, &unset);
        if (unset) continue;
        leco_status status = text ? visit(user, k->name, text, err) : error_memory(err, 0, "a key's value");
        mem_free(text);
        LECO_TRY(status);
    }
    return LECO_OK;
}
