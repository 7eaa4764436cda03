#include "train/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/suggest.h"

enum { MAX_NAMES = 96, MAX_KEY = 128 };

/* The keys of all sections as one would write them there: "lr", or "train.lr" in another section. */
typedef struct key_list {
    const char *name[MAX_NAMES];
    char text[MAX_NAMES][48];
    size_t count;
} key_list;

static void add_keys(key_list *list, const rule_section *s, const rule_section *here)
{
    const bool dotted = s != here && *s->name;
    for (const rule *r = s->rules; r->key && list->count < MAX_NAMES; r++) {
        char *text = list->text[list->count];
        snprintf(text, sizeof list->text[0], "%s%s%s", dotted ? s->name : "", dotted ? "." : "", r->key);
        list->name[list->count++] = text;
    }
}

static leco_status unknown_key(const doc_node *map, const char *key, const rule_section *section,
                               const rule_section *all, leco_error *err)
{
    key_list known = {.count = 0};
    add_keys(&known, section, section); /* first: of two that are equally near it is this section's */
    for (const rule_section *other = all; other->name; other++)
        if (other != section) add_keys(&known, other, section);
    const char *near = suggest(key, known.name, known.count);
    return error_set(err, LECO_INVALID, "%s: %s%s%s is not a known key%s%s%s", map->place, section->name,
                     *section->name ? "." : "", key, near ? "; did you mean \"" : "", near ? near : "",
                     near ? "\"?" : "");
}

static leco_status read_choice(const doc_node *n, const char *key, const choice *choices, int *out, leco_error *err)
{
    const char *text;
    LECO_TRY(doc_text(n, key, &text, err));
    const char *names[MAX_NAMES];
    size_t count = 0;
    char list[512] = "";
    for (const choice *c = choices; c->name && count < MAX_NAMES; c++) {
        if (strcasecmp(c->name, text) == 0) {
            if (c->refusal)
                return error_set(err, LECO_UNSUPPORTED, "%s: %s: \"%s\" %s", n->place, key, text, c->refusal);
            *out = c->value;
            return LECO_OK;
        }
        names[count++] = c->name;
        if (c->refusal) continue;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", c->name);
    }
    const char *near = suggest(text, names, count);
    return error_set(err, LECO_INVALID, "%s: %s: \"%.100s\" is not known%s%s%s; there are %s", n->place, key, text,
                     near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "", list);
}

static bool says_no(const doc_node *n)
{
    if (n->kind != DOC_SCALAR) return false;
    static const char *const words[] = {"", "false", "no", "off", "0", "none"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(n->text, words[i]) == 0) return true;
    return false;
}

static leco_status read_value(const doc_node *n, const char *key, const rule *r, void *values, leco_error *err)
{
    void *at = (char *)values + r->offset;
    if (r->refusal) {
        if (says_no(n)) return LECO_OK;
        return error_set(err, LECO_UNSUPPORTED, "%s: %s %s", n->place, key, r->refusal);
    }
    switch (r->kind) {
    case RULE_TEXT:
        return doc_text(n, key, at, err);
    case RULE_INT:
        return doc_int(n, key, (int64_t)r->low, (int64_t)r->high, at, err);
    case RULE_NUMBER:
        return doc_number(n, key, r->low, r->high, at, err);
    case RULE_BOOL:
        return doc_bool(n, key, at, err);
    case RULE_FLAG: {
        bool flag = false;
        LECO_TRY(doc_bool(n, key, &flag, err));
        *(int *)at = flag;
        return LECO_OK;
    }
    case RULE_CHOICE:
        return read_choice(n, key, r->choices, at, err);
    case RULE_NODE:
        *(const doc_node **)at = n;
        return LECO_OK;
    case RULE_IGNORED:
        return LECO_OK;
    }
    return LECO_OK;
}

leco_status rules_read(const doc_node *map, const rule_section *section, const rule_section *all, void *values,
                       leco_error *err)
{
    const char *name = section->name;
    if (doc_is_null(map)) return LECO_OK;
    if (map->kind != DOC_MAP)
        return error_set(err, LECO_INVALID, "%s: %s: expected keys with values, found a %s", map->place,
                         *name ? name : "the file", map->kind == DOC_LIST ? "list" : "single value");
    for (size_t i = 0; i < map->count; i++) {
        const doc_item *item = &map->item[i];
        const rule *r = section->rules;
        while (r->key && strcmp(r->key, item->key) != 0) r++;
        /* For a key's line its value's place is nearer than the map's. */
        if (!r->key) return unknown_key(item->value, item->key, section, all, err);
        if (doc_is_null(item->value)) continue;
        char key[MAX_KEY];
        snprintf(key, sizeof key, "%s%s%s", name, *name ? "." : "", item->key);
        LECO_TRY(read_value(item->value, key, r, values, err));
    }
    return LECO_OK;
}
