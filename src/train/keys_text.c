/* All keys as text, for `leco train --help-config`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/keys.h"

enum { COLUMNS = 100, INDENT = 30, LONGEST = 1024 };

/* A text that is put together in a buffer; what doesn't fit is cut, which no row comes near. */
typedef struct line {
    char text[LONGEST];
    size_t used;
} line;

static void put(line *l, const char *text, size_t length)
{
    const size_t room = sizeof l->text - 1 - l->used;
    if (length > room) length = room;
    memcpy(l->text + l->used, text, length);
    l->used += length;
    l->text[l->used] = '\0';
}

/* "`adamw`, `adam` or `sgd`" */
static void put_names(line *l, const choice_list *list)
{
    size_t count = 0, told = 0;
    for (size_t i = 0; list->at(i).name; i++) count += !list->at(i).alias;
    for (size_t i = 0; list->at(i).name; i++) {
        const choice c = list->at(i);
        if (c.alias) continue;
        const char *join = told == 0 ? "" : told + 1 < count ? ", " : " or ";
        put(l, join, strlen(join));
        put(l, "`", 1);
        put(l, c.name, strlen(c.name));
        put(l, "`", 1);
        told++;
    }
}

static void put_told(line *l, const key_row *k)
{
    char text[LONGEST] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    if (!out) return;
    k->tell(out);
    fclose(out);
    text[sizeof text - 1] = '\0';
    put(l, text, strlen(text));
}

/* A row's help, in Markdown, with the names that its value may have, or what its `tell` writes. */
static void put_help(line *l, const key_row *k)
{
    const char *mark = k->tell ? "$more" : "$names";
    const char *text = k->help ? k->help : "", *at = strstr(text, mark);
    if (!at) {
        put(l, text, strlen(text));
        return;
    }
    put(l, text, (size_t)(at - text));
    if (k->tell)
        put_told(l, k);
    else
        put_names(l, k->choices);
    at += strlen(mark);
    put(l, at, strlen(at));
}

static void put_value(line *l, const char *value)
{
    put(l, "`", 1);
    put(l, *value ? value : "\"\"", *value ? strlen(value) : 2);
    put(l, "`", 1);
}

/* A row's default, in Markdown; nothing where there is none. */
static void put_default(line *l, const key_row *k, const char *when)
{
    if (k->fallback)
        put_value(l, k->fallback);
    else if (k->unset)
        put(l, k->unset, strlen(k->unset));
    if (!k->other) return;
    put(l, "; ", 2);
    put(l, when, strlen(when));
    put(l, " ", 1);
    put_value(l, k->other);
}

/* ---- Markdown ---- */

static void print_table(FILE *out, const key_section *s, const char *when)
{
    const char *name = *s->name ? s->name : "the file";
    fprintf(out, "<!-- keys of %s -->\n\n| key | default | meaning |\n| --- | --- | --- |\n", name);
    for (const key_row *k = s->keys; k->name; k++) {
        if (!k->help) continue;
        line fallback = {.used = 0}, help = {.used = 0};
        put_default(&fallback, k, when);
        put_help(&help, k);
        fprintf(out, "| `%s` |%s%s | %s |\n", k->name, fallback.used ? " " : "", fallback.text, help.text);
    }
    fprintf(out, "\n<!-- end of %s -->\n", name);
}

/* ---- for people ---- */

/* Prints words from `column` on, wrapped and indented, without backticks. */
static void print_wrapped(FILE *out, const char *text, size_t column)
{
    for (bool first = true; *text; first = false) {
        text += strspn(text, " ");
        size_t word = strcspn(text, " "), shown = 0;
        for (size_t i = 0; i < word; i++) shown += text[i] != '`';
        if (column + !first + shown > COLUMNS) {
            fprintf(out, "\n%*s", INDENT, "");
            column = INDENT;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        for (size_t i = 0; i < word; i++)
            if (text[i] != '`') fputc(text[i], out);
        column += shown;
        text += word;
    }
    fputc('\n', out);
}

static void print_section(FILE *out, const key_section *s, const char *when)
{
    if (*s->name) fprintf(out, "\n%s:\n", s->name);
    for (const key_row *k = s->keys; k->name; k++) {
        if (!k->help) continue;
        line text = {.used = 0}, fallback = {.used = 0};
        put_help(&text, k);
        put_default(&fallback, k, when);
        if (fallback.used > 0) {
            const bool required = strcmp(fallback.text, "required") == 0;
            put(&text, " (", 2);
            if (!required) put(&text, "default: ", strlen("default: "));
            put(&text, fallback.text, fallback.used);
            put(&text, ")", 1);
        }
        const int indent = *s->name ? 2 : 0;
        int column = fprintf(out, "%*s%s:", indent, "", k->name);
        if (column + 2 > INDENT) column = fprintf(out, "\n") - 1;
        fprintf(out, "%*s", INDENT - column, "");
        print_wrapped(out, text.text, INDENT);
    }
}

leco_status keys_text(const key_section *all, const char *when, bool markdown, char **text, leco_error *err)
{
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    if (!out) return error_memory(err, 0, "a text");
    for (const key_section *s = all; s->name; s++) {
        if (markdown)
            print_table(out, s, when);
        else
            print_section(out, s, when);
    }
    char *copy = fclose(out) == 0 ? mem_strdup(buffer) : NULL; /* what leco_free takes */
    free(buffer);
    if (!copy) return error_memory(err, size, "a text");
    *text = copy;
    return LECO_OK;
}
