/* Prompts of a config: a text, a list of them, or a file of them, as one text with wildcards. */
#include <string.h>

#include "base/file.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/text_clean.h"
#include "model/wildcards.h"
#include "train/config_internal.h"

enum { LARGEST_FILE = 4 << 20 };

/* A text in the making: "{one|another". */
typedef struct joining {
    train_config *config;
    const char *place, *key; /* for messages: "erase.yaml:7", "prompts.target" */
    const char *file;        /* the last of those that it takes lines of, or NULL */
    char *text;
    size_t length, size, count;
} joining;

/* A1111's and NovelAI's braces weigh a word; here they are a choice, and one without an alternative says nothing. */
static void tell_of_braces(const joining *j, const char *place, const wildcards *w)
{
    for (size_t i = 0; i < w->count && !j->config->told_of_braces; i++) {
        const wildcard *one = &w->item[i];
        if (one->alternatives > 1 || one->length == 0) continue;
        j->config->told_of_braces = true;
        log_message(
            LOG_WARNING,
            "%s: %s: {%.*s} is a choice of one, and read without its braces: they weigh nothing here; \\{ and \\} "
            "are braces themselves",
            place, j->key, (int)(one->length < 60 ? one->length : 60), one->body);
    }
}

/* own: braces are those that somebody wrote, not what a list became. */
static leco_status check(const joining *j, const char *place, const char *text, bool own, leco_error *err)
{
    arena *memory = arena_create();
    wildcards w = {.memory = memory};
    wildcard_text read;
    leco_status status = memory ? text_check_utf8(text, strlen(text), err) : error_memory(err, 0, "a prompt");
    if (status == LECO_OK) status = wildcards_read(&w, text, &read, err);
    if (status == LECO_OK && own) tell_of_braces(j, place, &w);
    arena_destroy(memory);
    return status == LECO_OK ? LECO_OK : error_prefix(err, status, "%s: %s", place, j->key);
}

static void put(joining *j, char c)
{
    j->text[j->length++] = c;
    j->text[j->length] = '\0';
}

/* Adds a text, which is to mean what it means by itself: a | outside of braces gets a backslash, a beginning that says
 * something in an alternative only an empty group before it. */
static leco_status add(joining *j, const char *place, const char *text, leco_error *err)
{
    LECO_TRY(check(j, place, text, true, err));
    const size_t needed = j->length + 2 * strlen(text) + 6;
    if (needed > j->size) {
        char *grown = mem_realloc(j->text, 2 * needed, 1);
        if (!grown) return error_memory(err, 2 * needed, "the prompts");
        j->text = grown;
        j->size = 2 * needed;
    }
    put(j, j->count++ == 0 ? '{' : '|');
    if (wildcards_instruct(text)) put(j, '{'), put(j, '}');
    size_t depth = 0;
    for (const char *at = text; *at; at++) {
        if (*at == '\\' && (at[1] == '{' || at[1] == '}' || at[1] == '|'))
            put(j, *at++);
        else if (*at == '|' && depth == 0)
            put(j, '\\');
        depth += *at == '{' && (at == text || at[-1] != '\\');
        depth -= *at == '}' && at[-1] != '\\';
        put(j, *at);
    }
    if (j->text[j->length - 1] == '\\') put(j, ' '); /* the next | is to be one: a blank at the end says nothing */
    return LECO_OK;
}

static leco_status add_lines(joining *j, char *lines, const char *path, leco_error *err)
{
    const size_t before = j->count;
    size_t number = 0;
    for (const char *line; (line = lines_next(&lines, &number));) {
        char *place = mem_printf("%s:%zu", path, number);
        leco_status status = place ? add(j, place, line, err) : error_memory(err, 0, "a prompt");
        mem_free(place);
        LECO_TRY(status);
    }
    if (j->count == before) return error_set(err, LECO_INVALID, "%s: %s: %s holds no prompts", j->place, j->key, path);
    return LECO_OK;
}

static leco_status add_file(joining *j, const doc_node *map, leco_error *err)
{
    const char *name, *path;
    char *lines;
    if (map->count != 1 || strcmp(map->item[0].key, "file") != 0)
        return doc_wrong(map, j->key, "a text, a list of texts, or {file: NAME}", err);
    LECO_TRY(doc_text(map->item[0].value, j->key, &name, err));
    LECO_TRY(config_find(j->config, name, &path, err));
    if (!file_exists(path)) return train_config_missing(map->place, j->key, path, name, err);
    j->file = path;
    LECO_TRY(file_read_text(path, LARGEST_FILE, &lines, NULL, err));
    leco_status status = add_lines(j, lines, path, err);
    mem_free(lines);
    return status;
}

static leco_status add_list(joining *j, const doc_node *list, leco_error *err)
{
    if (list->count == 0) return error_set(err, LECO_INVALID, "%s: %s: the list is empty", j->place, j->key);
    for (size_t i = 0; i < list->count; i++) {
        const doc_node *n = list->item[i].value;
        const char *text;
        if (n->kind == DOC_MAP) {
            LECO_TRY(add_file(j, n, err));
            continue;
        }
        if (doc_is_null(n)) return doc_wrong(n, j->key, "a text", err);
        LECO_TRY(doc_text(n, j->key, &text, err));
        LECO_TRY(add(j, n->place, text, err));
    }
    return LECO_OK;
}

/* The node becomes the text, which may have too many groups where each of its parts has not. */
static leco_status replace(joining *j, doc_node *n, leco_error *err)
{
    put(j, '}');
    leco_status status = check(j, j->file ? j->file : j->place, j->text, false, err);
    if (status != LECO_OK) return j->file ? error_prefix(err, status, "%s", j->place) : status;
    const char *text = arena_strdup(j->config->memory, j->text);
    if (!text) return error_memory(err, j->length, "the prompts");
    *n = (doc_node){.kind = DOC_SCALAR, .place = n->place, .text = text, .quoted = true};
    return LECO_OK;
}

leco_status config_join_texts(train_config *c, const doc_node *map, const char *section, const char *key,
                              leco_error *err)
{
    doc_node *n = doc_find(map, key);
    if (doc_is_null(n)) return LECO_OK;
    char *full = mem_printf("%s%s%s", section, *section ? "." : "", key);
    if (!full) return error_memory(err, 0, "the prompts");
    joining j = {.config = c, .place = n->place, .key = full};
    leco_status status = n->kind == DOC_SCALAR ? check(&j, n->place, n->text, true, err)
                         : n->kind == DOC_LIST ? add_list(&j, n, err)
                                               : add_file(&j, n, err);
    if (status == LECO_OK && n->kind != DOC_SCALAR) status = replace(&j, n, err);
    mem_free(j.text);
    mem_free(full);
    return status;
}
