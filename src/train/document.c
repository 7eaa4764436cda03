#include "train/document.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "base/file.h"
#include "base/mem.h"

enum { MAX_BYTES = 4 << 20, MAX_NODES = 200000, MAX_DEPTH = 32 };

/* ---- YAML to tree ---- */

typedef struct reader {
    arena *memory;
    const char *source; /* the file's path, or the --set assignment */
    bool is_file;
    yaml_document_t *yaml;
    int nodes;
} reader;

static const char *place_of(const reader *r, size_t line)
{
    if (!r->is_file) return r->source;
    return arena_printf(r->memory, "%s:%zu", r->source, line + 1);
}

static leco_status convert(reader *r, int index, int depth, doc_node **out, leco_error *err);

static leco_status convert_map(reader *r, const yaml_node_t *y, int depth, doc_node *n, leco_error *err)
{
    n->kind = DOC_MAP;
    n->count = (size_t)(y->data.mapping.pairs.top - y->data.mapping.pairs.start);
    n->item = arena_alloc(r->memory, n->count + 1, sizeof *n->item);
    if (!n->item) return error_memory(err, n->count * sizeof *n->item, r->source);
    for (size_t i = 0; i < n->count; i++) {
        yaml_node_pair_t pair = y->data.mapping.pairs.start[i];
        doc_node *key;
        LECO_TRY(convert(r, pair.key, depth + 1, &key, err));
        if (key->kind != DOC_SCALAR) return error_set(err, LECO_FORMAT, "%s: a key must be plain text", key->place);
        for (size_t j = 0; j < i; j++)
            if (strcmp(n->item[j].key, key->text) == 0)
                return error_set(err, LECO_FORMAT, "%s: key \"%s\" is given twice", key->place, key->text);
        n->item[i].key = key->text;
        LECO_TRY(convert(r, pair.value, depth + 1, &n->item[i].value, err));
        /* A value may stand lines below its key (a list under it); complaints are about the key's line. */
        if (n->item[i].value->kind != DOC_SCALAR) n->item[i].value->place = key->place;
    }
    return LECO_OK;
}

static leco_status convert_list(reader *r, const yaml_node_t *y, int depth, doc_node *n, leco_error *err)
{
    n->kind = DOC_LIST;
    n->count = (size_t)(y->data.sequence.items.top - y->data.sequence.items.start);
    n->item = arena_alloc(r->memory, n->count + 1, sizeof *n->item);
    if (!n->item) return error_memory(err, n->count * sizeof *n->item, r->source);
    for (size_t i = 0; i < n->count; i++)
        LECO_TRY(convert(r, y->data.sequence.items.start[i], depth + 1, &n->item[i].value, err));
    return LECO_OK;
}

static leco_status convert(reader *r, int index, int depth, doc_node **out, leco_error *err)
{
    const yaml_node_t *y = yaml_document_get_node(r->yaml, index);
    doc_node *n = arena_alloc(r->memory, 1, sizeof *n);
    const char *place = y ? place_of(r, y->start_mark.line) : NULL;
    if (!n || !place) return error_memory(err, sizeof *n, r->source);
    /* Aliases repeat what they stand for, and may contain themselves. */
    if (++r->nodes > MAX_NODES || depth > MAX_DEPTH)
        return error_set(err, LECO_FORMAT, "%s: too many values, or nested too deeply", place);
    n->place = place;
    n->text = "";
    *out = n;
    if (y->type == YAML_MAPPING_NODE) return convert_map(r, y, depth, n, err);
    if (y->type == YAML_SEQUENCE_NODE) return convert_list(r, y, depth, n, err);
    const char *text = (const char *)y->data.scalar.value;
    if (strlen(text) != y->data.scalar.length)
        return error_set(err, LECO_FORMAT, "%s: a NUL character inside a value", place);
    n->kind = DOC_SCALAR;
    n->quoted = y->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    n->text = arena_strdup(r->memory, text);
    return n->text ? LECO_OK : error_memory(err, strlen(text), r->source);
}

/* Parses `text`; what messages call it is r->source. *out stays NULL where the text holds nothing. */
static leco_status parse(reader *r, const char *text, size_t size, doc_node **out, leco_error *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    if (!yaml_parser_initialize(&parser)) return error_memory(err, 0, "the YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
    if (!yaml_parser_load(&parser, &document)) {
        size_t line = parser.problem_mark.line ? parser.problem_mark.line : parser.context_mark.line;
        leco_status status = parser.error == YAML_MEMORY_ERROR
                                 ? error_memory(err, 0, "the YAML parser")
                                 : error_set(err, LECO_FORMAT, "%s: not valid YAML: %s", place_of(r, line),
                                             parser.problem ? parser.problem : "unreadable");
        yaml_parser_delete(&parser);
        return status;
    }
    r->yaml = &document;
    leco_status status = LECO_OK;
    if (yaml_document_get_root_node(&document)) status = convert(r, 1, 0, out, err);
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
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

leco_status document_read(arena *memory, const char *path, doc_node **out, leco_error *err)
{
    char *text;
    size_t size;
    LECO_TRY(file_read_text(path, MAX_BYTES, &text, &size, err));
    reader r = {memory, arena_strdup(memory, path), true, NULL, 0};
    doc_node *root = NULL;
    leco_status status = r.source ? parse(&r, text, size, &root, err) : error_memory(err, strlen(path), "a path");
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
    char *place = arena_printf(memory, "--set %s", assignment);
    char *path = arena_strdup(memory, assignment);
    if (!place || !path) return error_memory(err, strlen(assignment), "an override");
    path[equals - assignment] = '\0';

    reader r = {memory, place, false, NULL, 0};
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
    char *rest = NULL;
    for (char *name = strtok_r(path, ".", &rest); name; name = strtok_r(NULL, ".", &rest)) {
        LECO_TRY(slot_of(memory, at, name, place, &slot, err));
        at = slot->value;
    }
    if (!slot) return error_set(err, LECO_INVALID, "%s: expected section.key=value", place);
    slot->value = value;
    return LECO_OK;
}

/* ---- reading values ---- */

const doc_node *doc_find(const doc_node *map, const char *key)
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

static leco_status wrong(const doc_node *n, const char *key, const char *expected, leco_error *err)
{
    if (n->kind == DOC_SCALAR)
        return error_set(err, LECO_INVALID, "%s: %s: expected %s, found \"%.200s\"", n->place, key, expected, n->text);
    return error_set(err, LECO_INVALID, "%s: %s: expected %s, found a %s", n->place, key, expected,
                     n->kind == DOC_LIST ? "list" : "map");
}

leco_status doc_text(const doc_node *n, const char *key, const char **out, leco_error *err)
{
    if (n->kind != DOC_SCALAR) return wrong(n, key, "a text", err);
    *out = n->text;
    return LECO_OK;
}

leco_status doc_number(const doc_node *n, const char *key, double low, double high, double *out, leco_error *err)
{
    if (n->kind != DOC_SCALAR || n->text[0] == '\0') return wrong(n, key, "a number", err);
    char *end;
    double value = strtod(n->text, &end);
    if (*end != '\0' || !isfinite(value)) return wrong(n, key, "a number", err);
    if (value < low || value > high)
        return error_set(err, LECO_INVALID, "%s: %s: expected a number from %g to %g, found %s", n->place, key, low,
                         high, n->text);
    *out = value;
    return LECO_OK;
}

leco_status doc_int(const doc_node *n, const char *key, int64_t low, int64_t high, int64_t *out, leco_error *err)
{
    if (n->kind != DOC_SCALAR || n->text[0] == '\0') return wrong(n, key, "a whole number", err);
    char *end;
    errno = 0;
    long long value = strtoll(n->text, &end, 10);
    if (*end != '\0') return wrong(n, key, "a whole number", err);
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
    return wrong(n, key, "true or false", err);
}

/* ---- suggestions ---- */

/* Levenshtein distance, with a swap of neighbours as one edit; words of up to 63 characters. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LIMIT = 63 };
    size_t rows[3][LIMIT + 1];
    size_t m = strlen(a), n = strlen(b);
    if (m > LIMIT || n > LIMIT) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[m % 3][n];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t least = 1 + (strlen(word) + 1) / 3; /* a third of the letters may be wrong */
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, names[i]);
        if (distance <= least && (!best || distance < least)) {
            best = names[i];
            least = distance;
        }
    }
    return best;
}
