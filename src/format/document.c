#include "format/document.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/name_table.h"
#include "format/toml.h"

enum { MAX_BYTES = 4 << 20, MAX_NODES = 200000, MAX_DEPTH = 32, MAX_DIRECTIVES = 64 };
enum { SHOWN = 120 }; /* bytes of an override in messages */

/* ---- YAML to tree ---- */

/* A node that may be repeated by "*name". */
typedef struct anchored {
    const doc_node *node;
    bool whole; /* false while it is being read: it can't contain itself */
} anchored;

/* The tree grows with the parser's events, not from libyaml's finished document: there, depth and the number of nodes
 * and anchors cost time squared before they could be refused. */
typedef struct reader {
    arena *memory;
    const char *source; /* the file's path, or the --set assignment */
    bool is_file;
    const char *text; /* what is parsed */
    size_t size;
    yaml_parser_t parser;
    name_table anchors; /* places in anchor */
    anchored *anchor;
    size_t anchor_capacity;
    int nodes;
} reader;

static const char *place_of(const reader *r, size_t line)
{
    if (!r->is_file) return r->source;
    return arena_printf(r->memory, "%s:%zu", r->source, line + 1);
}

static leco_status out_of_memory(const reader *r, size_t bytes, leco_error *err)
{
    return error_memory(err, bytes, r->source);
}

/* The parser's next event; yaml_event_delete it. */
static leco_status next_event(reader *r, yaml_event_t *event, leco_error *err)
{
    if (yaml_parser_parse(&r->parser, event)) return LECO_OK;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return error_memory(err, 0, "the YAML parser");
    size_t line = p->problem_mark.line ? p->problem_mark.line : p->context_mark.line;
    if (p->error == YAML_READER_ERROR) /* its marks are behind: it decodes a buffer ahead */
        for (size_t i = line = 0; i < p->problem_offset && i < r->size; i++) line += r->text[i] == '\n';
    const char *what = p->problem ? p->problem : "unreadable", *hint = "";
    if (strstr(what, "expected key") || strstr(what, "expected ',' or"))
        hint = "; a text with braces, colons or commas wants quotes: \"{small|large} star\"";
    if (strstr(what, "unknown escape")) hint = "; in double quotes \\ begins an escape: take single quotes";
    if (strstr(what, "cannot start any token")) hint = "; indent by spaces, not tabs, and put texts into quotes";
    return error_set(err, LECO_FORMAT, "%s: not valid YAML: %s%s", place_of(r, line), what, hint);
}

static leco_status new_node(reader *r, const char *place, int depth, doc_node **out, leco_error *err)
{
    doc_node *n = arena_alloc(r->memory, 1, sizeof *n);
    if (!n || !place) return out_of_memory(r, sizeof *n, err);
    if (++r->nodes > MAX_NODES || depth > MAX_DEPTH)
        return error_set(err, LECO_FORMAT, "%s: too many values, or nested too deeply", place);
    n->place = place;
    n->text = "";
    *out = n;
    return LECO_OK;
}

/* Appends to a list or map of which `capacity` elements have been allocated. */
static leco_status append(const reader *r, doc_node *n, size_t *capacity, doc_item item, leco_error *err)
{
    if (n->count == *capacity) {
        size_t grown = *capacity ? 2 * *capacity : 4;
        doc_item *items = arena_alloc(r->memory, grown, sizeof *items);
        if (!items) return out_of_memory(r, grown * sizeof *items, err);
        if (n->count > 0) memcpy(items, n->item, n->count * sizeof *items);
        n->item = items;
        *capacity = grown;
    }
    n->item[n->count++] = item;
    return LECO_OK;
}

/* ---- anchors and aliases ---- */

static leco_status add_anchor(reader *r, const char *name, const doc_node *n, size_t *index, leco_error *err)
{
    *index = r->anchors.count;
    if (name_table_find(&r->anchors, name))
        return error_set(err, LECO_FORMAT, "%s: the anchor &%.100s is given twice", n->place, name);
    if (*index == r->anchor_capacity) {
        size_t capacity = r->anchor_capacity ? 2 * r->anchor_capacity : 16;
        anchored *grown = mem_realloc(r->anchor, capacity, sizeof *grown);
        if (!grown) return out_of_memory(r, capacity * sizeof *grown, err);
        r->anchor = grown;
        r->anchor_capacity = capacity;
    }
    r->anchor[*index] = (anchored){n, false};
    const char *copy = arena_strdup(r->memory, name);
    if (!copy || !name_table_add(&r->anchors, copy, *index)) return out_of_memory(r, strlen(name), err);
    return LECO_OK;
}

/* A copy, since an override may change one of the two. */
static leco_status copy_node(reader *r, const doc_node *from, int depth, doc_node **out, leco_error *err)
{
    doc_node *n;
    LECO_TRY(new_node(r, from->place, depth, &n, err));
    *n = *from;
    *out = n;
    if (n->kind == DOC_SCALAR) return LECO_OK;
    n->item = arena_alloc(r->memory, n->count, sizeof *n->item);
    if (!n->item) return out_of_memory(r, n->count * sizeof *n->item, err);
    for (size_t i = 0; i < n->count; i++) {
        n->item[i].key = from->item[i].key;
        LECO_TRY(copy_node(r, from->item[i].value, depth + 1, &n->item[i].value, err));
    }
    return LECO_OK;
}

static leco_status read_alias(reader *r, const yaml_event_t *event, int depth, doc_node **out, leco_error *err)
{
    const char *name = (const char *)event->data.alias.anchor, *place = place_of(r, event->start_mark.line);
    if (!place) return out_of_memory(r, strlen(r->source), err);
    const size_t *index = name_table_find(&r->anchors, name);
    if (!index) return error_set(err, LECO_FORMAT, "%s: there is no anchor &%.100s above *%.100s", place, name, name);
    if (!r->anchor[*index].whole)
        return error_set(err, LECO_FORMAT, "%s: *%.100s stands in what it repeats, which is nested too deeply then",
                         place, name);
    return copy_node(r, r->anchor[*index].node, depth, out, err);
}

/* ---- nodes ---- */

static leco_status read_node(reader *r, const yaml_event_t *event, int depth, doc_node **out, leco_error *err);

/* The next node of a list or map; *out is NULL at its end. */
static leco_status read_next(reader *r, int depth, doc_node **out, leco_error *err)
{
    yaml_event_t event;
    LECO_TRY(next_event(r, &event, err));
    leco_status status = LECO_OK;
    *out = NULL;
    if (event.type != YAML_SEQUENCE_END_EVENT && event.type != YAML_MAPPING_END_EVENT)
        status = read_node(r, &event, depth, out, err);
    yaml_event_delete(&event);
    return status;
}

static leco_status read_list(reader *r, int depth, doc_node *n, leco_error *err)
{
    size_t capacity = 0;
    n->kind = DOC_LIST;
    for (;;) {
        doc_item item = {NULL, NULL};
        LECO_TRY(read_next(r, depth + 1, &item.value, err));
        if (!item.value) return LECO_OK;
        LECO_TRY(append(r, n, &capacity, item, err));
    }
}

/* YAML 1.1's "<<: *name": what this map doesn't say itself, it has from there; `keys` are those that it has. */
static leco_status merge(reader *r, const doc_node *from, doc_node *n, size_t *capacity, name_table *keys,
                         leco_error *err)
{
    if (from->kind == DOC_LIST) {
        for (size_t i = 0; i < from->count; i++)
            if (from->item[i].value->kind != DOC_MAP) return doc_wrong(from->item[i].value, "<<", "a map", err);
        for (size_t i = 0; i < from->count; i++) LECO_TRY(merge(r, from->item[i].value, n, capacity, keys, err));
        return LECO_OK;
    }
    if (from->kind != DOC_MAP) return doc_wrong(from, "<<", "a map, or a list of maps", err);
    for (size_t i = 0; i < from->count; i++) {
        if (name_table_find(keys, from->item[i].key)) continue;
        if (!name_table_add(keys, from->item[i].key, n->count)) return out_of_memory(r, 0, err);
        LECO_TRY(append(r, n, capacity, from->item[i], err));
    }
    return LECO_OK;
}

/* `keys` holds those read so far. */
static leco_status read_pairs(reader *r, int depth, doc_node *n, name_table *keys, leco_error *err)
{
    size_t capacity = 0;
    const doc_node *merged = NULL;
    for (;;) {
        doc_node *key, *value;
        LECO_TRY(read_next(r, depth + 1, &key, err));
        if (!key) return merged ? merge(r, merged, n, &capacity, keys, err) : LECO_OK;
        if (key->kind != DOC_SCALAR) return error_set(err, LECO_FORMAT, "%s: a key must be plain text", key->place);
        const bool is_merge = strcmp(key->text, "<<") == 0 && !key->quoted;
        if (name_table_find(keys, key->text) || (is_merge && merged))
            return error_set(err, LECO_FORMAT, "%s: key \"%s\" is given twice", key->place, key->text);
        LECO_TRY(read_next(r, depth + 1, &value, err));
        if (is_merge) {
            merged = value;
            continue;
        }
        if (!name_table_add(keys, key->text, n->count)) return out_of_memory(r, strlen(key->text), err);
        /* A value may stand lines below its key (a list under it); complaints are about the key's line. */
        if (value->kind != DOC_SCALAR) value->place = key->place;
        LECO_TRY(append(r, n, &capacity, (doc_item){key->text, value}, err));
    }
}

static leco_status read_map(reader *r, int depth, doc_node *n, leco_error *err)
{
    name_table keys = {0};
    n->kind = DOC_MAP;
    leco_status status = read_pairs(r, depth, n, &keys, err);
    name_table_free(&keys);
    return status;
}

static leco_status read_scalar(const reader *r, const yaml_event_t *event, doc_node *n, leco_error *err)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length)
        return error_set(err, LECO_FORMAT, "%s: a NUL character inside a value", n->place);
    n->kind = DOC_SCALAR;
    n->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = arena_strdup(r->memory, text);
    return n->text ? LECO_OK : out_of_memory(r, strlen(text), err);
}

static leco_status read_node(reader *r, const yaml_event_t *event, int depth, doc_node **out, leco_error *err)
{
    if (event->type == YAML_ALIAS_EVENT) return read_alias(r, event, depth, out, err);
    doc_node *n;
    LECO_TRY(new_node(r, place_of(r, event->start_mark.line), depth, &n, err));
    const yaml_char_t *anchor = event->type == YAML_SCALAR_EVENT           ? event->data.scalar.anchor
                                : event->type == YAML_SEQUENCE_START_EVENT ? event->data.sequence_start.anchor
                                                                           : event->data.mapping_start.anchor;
    size_t index = 0;
    if (anchor) LECO_TRY(add_anchor(r, (const char *)anchor, n, &index, err));
    if (event->type == YAML_SCALAR_EVENT)
        LECO_TRY(read_scalar(r, event, n, err));
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        LECO_TRY(read_list(r, depth, n, err));
    else
        LECO_TRY(read_map(r, depth, n, err));
    if (anchor) r->anchor[index].whole = true;
    *out = n;
    return LECO_OK;
}

/* ---- documents ---- */

/* Expects an event of one of two types; *is_first says which it was. */
static leco_status read_mark(reader *r, yaml_event_type_t first, size_t *line, bool *is_first, leco_error *err)
{
    yaml_event_t event;
    LECO_TRY(next_event(r, &event, err));
    *is_first = event.type == first;
    *line = event.start_mark.line;
    yaml_event_delete(&event);
    return LECO_OK;
}

/* libyaml compares each "%TAG" line with all before it, ere it returns anything. */
static leco_status check_directives(const reader *r, const char *text, size_t size, leco_error *err)
{
    size_t lines = 0, count = 0;
    for (size_t i = 0; i < size; i++) {
        bool starts = i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r';
        if (starts && text[i] == '%' && ++count > MAX_DIRECTIVES)
            return error_set(err, LECO_FORMAT, "%s: more than %d directives (lines that begin with %%)",
                             place_of(r, lines), MAX_DIRECTIVES);
        lines += text[i] == '\n';
    }
    return LECO_OK;
}

static leco_status read_document(reader *r, doc_node **out, leco_error *err)
{
    bool is_one;
    size_t line;
    LECO_TRY(read_mark(r, YAML_STREAM_START_EVENT, &line, &is_one, err));
    LECO_TRY(read_mark(r, YAML_DOCUMENT_START_EVENT, &line, &is_one, err));
    if (!is_one) return LECO_OK;
    LECO_TRY(read_next(r, 0, out, err));
    LECO_TRY(read_mark(r, YAML_DOCUMENT_END_EVENT, &line, &is_one, err));
    LECO_TRY(read_mark(r, YAML_DOCUMENT_START_EVENT, &line, &is_one, err));
    if (is_one)
        return error_set(err, LECO_FORMAT, "%s: a second YAML document begins here; expected a single one",
                         place_of(r, line));
    return LECO_OK;
}

/* Parses `text`; what messages call it is r->source. *out stays NULL where the text holds nothing. */
static leco_status parse(reader *r, const char *text, size_t size, doc_node **out, leco_error *err)
{
    LECO_TRY(check_directives(r, text, size, err));
    if (!yaml_parser_initialize(&r->parser)) return error_memory(err, 0, "the YAML parser");
    r->text = text;
    r->size = size;
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, size);
    leco_status status = read_document(r, out, err);
    yaml_parser_delete(&r->parser);
    name_table_free(&r->anchors);
    mem_free(r->anchor);
    return status;
}

static doc_node *empty_map(arena *memory, const char *place)
{
    doc_node *n = arena_alloc(memory, 1, sizeof *n);
    if (!n) return NULL;
    n->kind = DOC_MAP;
    n->place = place;
    n->text = "";
    return n;
}

static bool is_toml(const char *path)
{
    static const char end[] = ".toml";
    const size_t length = strlen(path), tail = strlen(end);
    return length >= tail && strcasecmp(path + length - tail, end) == 0;
}

leco_status document_read(arena *memory, const char *path, doc_node **out, leco_error *err)
{
    char *text;
    size_t size;
    LECO_TRY(file_read_text(path, MAX_BYTES, &text, &size, err));
    reader r = {.memory = memory, .source = arena_strdup(memory, path), .is_file = true};
    doc_node *root = NULL;
    leco_status status = !r.source       ? error_memory(err, strlen(path), "a path")
                         : is_toml(path) ? toml_parse(memory, r.source, text, size, &root, err)
                                         : parse(&r, text, size, &root, err);
    mem_free(text);
    if (status == LECO_OK && !root) {
        root = empty_map(memory, r.source);
        if (!root) status = error_memory(err, sizeof *root, path);
    }
    if (status == LECO_OK) *out = root;
    return status;
}

/* ---- overrides ---- */

/* The slot of `name` in a list (by number) or map (made where it is missing). */
static leco_status slot_of(arena *memory, doc_node *n, const char *name, const char *place, doc_item **out,
                           leco_error *err)
{
    if (n->kind == DOC_LIST) {
        char *end;
        errno = 0;
        long long index = strtoll(name, &end, 10);
        if (*name == '\0' || *end != '\0' || errno || index < 0 || (size_t)index >= n->count)
            return error_set(err, LECO_INVALID, "%s: \"%s\" is not one of the %zu elements, counted from 0", place,
                             name, n->count);
        *out = &n->item[index];
        return LECO_OK;
    }
    if (n->kind == DOC_SCALAR && !doc_is_null(n))
        return error_set(err, LECO_INVALID, "%s: there is nothing below \"%s\"", place, n->text);
    n->kind = DOC_MAP;
    for (size_t i = 0; i < n->count; i++) {
        if (strcmp(n->item[i].key, name) == 0) {
            *out = &n->item[i];
            return LECO_OK;
        }
    }
    doc_item *grown = arena_alloc(memory, n->count + 1, sizeof *grown);
    const char *key = arena_strdup(memory, name);
    doc_node *fresh = empty_map(memory, place);
    if (!grown || !key || !fresh) return error_memory(err, (n->count + 1) * sizeof *grown, "an override");
    if (n->count > 0) memcpy(grown, n->item, n->count * sizeof *grown);
    grown[n->count] = (doc_item){key, fresh};
    n->item = grown;
    *out = &grown[n->count++];
    return LECO_OK;
}

leco_status document_set(arena *memory, doc_node *root, const char *assignment, leco_error *err)
{
    const char *equals = strchr(assignment, '=');
    if (!equals || equals == assignment)
        return error_set(err, LECO_INVALID, "--set %s: expected section.key=value", assignment);
    char *place = arena_printf(memory, "--set %.*s%s", SHOWN, assignment, strlen(assignment) > SHOWN ? "..." : "");
    char *path = arena_strdup(memory, assignment);
    if (!place || !path) return error_memory(err, strlen(assignment), "an override");
    path[equals - assignment] = '\0';

    reader r = {.memory = memory, .source = place};
    doc_node *value = NULL;
    LECO_TRY(parse(&r, equals + 1, strlen(equals + 1), &value, err));
    if (!value) { /* "key=": an empty text */
        value = empty_map(memory, place);
        if (!value) return error_memory(err, sizeof *value, "an override");
        value->kind = DOC_SCALAR;
        value->quoted = true;
    }
    doc_item *slot = NULL;
    doc_node *at = root;
    for (char *rest = path, *name; (name = strsep(&rest, "."));) {
        if (!*name) return error_set(err, LECO_INVALID, "%s: expected section.key=value", place);
        LECO_TRY(slot_of(memory, at, name, place, &slot, err));
        at = slot->value;
    }
    slot->value = value;
    return LECO_OK;
}

/* ---- reading values ---- */

doc_node *doc_find(const doc_node *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->item[i].key && strcmp(map->item[i].key, key) == 0) return map->item[i].value;
    return NULL;
}

bool doc_is_null(const doc_node *n)
{
    if (!n) return true;
    if (n->kind != DOC_SCALAR || n->quoted) return false;
    return n->text[0] == '\0' || strcmp(n->text, "~") == 0 || strcasecmp(n->text, "null") == 0;
}

leco_status doc_wrong(const doc_node *n, const char *key, const char *expected, leco_error *err)
{
    if (n->kind == DOC_SCALAR)
        return error_set(err, LECO_INVALID, "%s: %s: expected %s, found \"%.200s\"", n->place, key, expected, n->text);
    return error_set(err, LECO_INVALID, "%s: %s: expected %s, found a %s", n->place, key, expected,
                     n->kind == DOC_LIST ? "list" : "map");
}

leco_status doc_text(const doc_node *n, const char *key, const char **out, leco_error *err)
{
    if (n->kind != DOC_SCALAR) return doc_wrong(n, key, "a text", err);
    *out = n->text;
    return LECO_OK;
}

leco_status doc_number(const doc_node *n, const char *key, double low, double high, double *out, leco_error *err)
{
    if (n->kind != DOC_SCALAR || n->text[0] == '\0') return doc_wrong(n, key, "a number", err);
    char *end;
    double value = strtod(n->text, &end);
    if (*end != '\0' || !isfinite(value)) return doc_wrong(n, key, "a number", err);
    if (value < low || value > high)
        return error_set(err, LECO_INVALID, "%s: %s: expected a number from %g to %g, found %s", n->place, key, low,
                         high, n->text);
    *out = value;
    return LECO_OK;
}

leco_status doc_int(const doc_node *n, const char *key, int64_t low, int64_t high, int64_t *out, leco_error *err)
{
    if (n->kind != DOC_SCALAR || n->text[0] == '\0') return doc_wrong(n, key, "a whole number", err);
    char *end;
    errno = 0;
    long long value = strtoll(n->text, &end, 10);
    if (*end != '\0') { /* "16.0" and "1e3" are whole numbers, too */
        const double number = strtod(n->text, &end);
        if (*end != '\0' || !(fabs(number) < 9e15) || number != trunc(number))
            return doc_wrong(n, key, "a whole number", err);
        errno = 0;
        value = (long long)number;
    }
    if (errno == ERANGE || value < low || value > high)
        return error_set(err, LECO_INVALID, "%s: %s: expected a whole number from %lld to %lld, found %s", n->place,
                         key, (long long)low, (long long)high, n->text);
    *out = value;
    return LECO_OK;
}

leco_status doc_bool(const doc_node *n, const char *key, bool *out, leco_error *err)
{
    static const char *const words[2][3] = {{"false", "no", "off"}, {"true", "yes", "on"}};
    for (int value = 0; value < 2 && n->kind == DOC_SCALAR; value++) {
        for (int i = 0; i < 3; i++) {
            if (strcasecmp(n->text, words[value][i]) == 0) {
                *out = value != 0;
                return LECO_OK;
            }
        }
    }
    return doc_wrong(n, key, "true or false", err);
}
