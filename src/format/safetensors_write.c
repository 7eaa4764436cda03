#include "format/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

/* ---- the header's text ---- */

typedef struct text {
    char *data;
    size_t used, capacity;
    const char *path; /* for messages */
} text;

static leco_status text_reserve(text *t, size_t more, leco_error *err)
{
    size_t needed;
    if (!mem_add(t->used, more, &needed)) return error_memory(err, more, t->path);
    if (needed <= t->capacity) return LECO_OK;
    size_t wanted = t->capacity < needed / 2 ? needed : t->capacity * 2;
    if (wanted < 4096) wanted = 4096;
    char *grown = mem_realloc(t->data, wanted, 1);
    if (!grown) return error_memory(err, wanted, t->path);
    t->data = grown;
    t->capacity = wanted;
    return LECO_OK;
}

static leco_status text_add(text *t, leco_error *err, const char *string)
{
    size_t length = strlen(string);
    LECO_TRY(text_reserve(t, length, err));
    memcpy(t->data + t->used, string, length);
    t->used += length;
    return LECO_OK;
}

static leco_status text_add_number(text *t, leco_error *err, size_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%zu", number);
    return text_add(t, err, digits);
}

/* A string's character as JSON has it, the way the safetensors library (serde_json) writes it. */
static void escape(const unsigned char *p, size_t bytes, char piece[8])
{
    static const char controls[] = "\b\f\n\r\t", letters[] = "bfnrt";
    const char *control = strchr(controls, *p);
    if (*p == '"' || *p == '\\')
        snprintf(piece, 8, "\\%c", *p);
    else if (control)
        snprintf(piece, 8, "\\%c", letters[control - controls]);
    else if (*p < 0x20)
        snprintf(piece, 8, "\\u%04x", (unsigned)*p);
    else
        snprintf(piece, 8, "%.*s", (int)bytes, (const char *)p);
}

/* Adds a string in quotes, escaped. */
static leco_status text_add_quoted(text *t, leco_error *err, const char *string)
{
    LECO_TRY(text_add(t, err, "\""));
    for (const unsigned char *p = (const unsigned char *)string; *p;) {
        char piece[8];
        size_t bytes = utf8_bytes(p);
        if (bytes == 0) return error_set(err, LECO_INVALID, "%s: cannot write \"%s\": is not UTF-8", t->path, string);
        escape(p, bytes, piece);
        LECO_TRY(text_add(t, err, piece));
        p += bytes;
    }
    return text_add(t, err, "\"");
}

/* ---- checks ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts `names` and refuses two equal ones: readers would keep either. */
static leco_status check_distinct(const char *path, const char **names, size_t count, leco_error *err)
{
    if (count > 0) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return error_set(err, LECO_INVALID, "%s: cannot write two entries named \"%s\"", path, names[i]);
    return LECO_OK;
}

static leco_status check_names(const char *path, const safetensors_entry *entries, size_t count,
                               const char *const (*metadata)[2], size_t metadata_count, leco_error *err)
{
    size_t most = count > metadata_count ? count : metadata_count;
    const char **names = mem_calloc(most, sizeof *names);
    if (!names) return error_memory(err, most * sizeof *names, path);
    leco_status status = LECO_OK;
    for (size_t i = 0; i < count; i++) {
        names[i] = entries[i].name;
        if (strcmp(names[i], SAFETENSORS_METADATA) == 0)
            status = error_set(err, LECO_INVALID, "%s: no tensor can be named \"%s\"", path, names[i]);
    }
    if (status == LECO_OK) status = check_distinct(path, names, count, err);
    for (size_t i = 0; i < metadata_count; i++) names[i] = metadata[i][0];
    if (status == LECO_OK) status = check_distinct(path, names, metadata_count, err);
    mem_free(names);
    return status;
}

static leco_status check_entry(const char *path, const safetensors_entry *entry, size_t *bytes, leco_error *err)
{
    size_t count = 1;
    bool fits = entry->rank >= 0 && entry->rank <= SAFETENSORS_MAX_DIMS;
    for (int i = 0; fits && i < entry->rank; i++)
        fits = entry->shape[i] >= 0 && mem_mul(count, (size_t)entry->shape[i], &count);
    if (!fits || count != entry->count || !mem_mul(count, dtype_size(entry->type), bytes))
        return error_set(err, LECO_INVALID, "%s: cannot write tensor \"%s\": its shape and count disagree", path,
                         entry->name);
    return LECO_OK;
}

/* ---- the parts of the file ---- */

/* Tensors are stored wider types first: the file has no room for padding between them. */
static const size_t widths[] = {8, 4, 2};
#define WIDTHS (sizeof widths / sizeof *widths)

static leco_status add_entry(text *t, const safetensors_entry *entry, size_t *offset, leco_error *err)
{
    size_t bytes, end;
    LECO_TRY(check_entry(t->path, entry, &bytes, err));
    if (!mem_add(*offset, bytes, &end) || end > INT64_MAX)
        return error_set(err, LECO_INVALID, "%s: the tensors are too large together", t->path);
    LECO_TRY(text_add_quoted(t, err, entry->name));
    LECO_TRY(text_add(t, err, ":{\"dtype\":\""));
    LECO_TRY(text_add(t, err, safetensors_type_name(entry->type)));
    LECO_TRY(text_add(t, err, "\",\"shape\":["));
    for (int i = 0; i < entry->rank; i++) {
        if (i > 0) LECO_TRY(text_add(t, err, ","));
        LECO_TRY(text_add_number(t, err, (size_t)entry->shape[i]));
    }
    LECO_TRY(text_add(t, err, "],\"data_offsets\":["));
    LECO_TRY(text_add_number(t, err, *offset));
    LECO_TRY(text_add(t, err, ","));
    LECO_TRY(text_add_number(t, err, end));
    LECO_TRY(text_add(t, err, "]}"));
    *offset = end;
    return LECO_OK;
}

static leco_status make_header(text *t, const safetensors_entry *entries, size_t count,
                               const char *const (*metadata)[2], size_t metadata_count, leco_error *err)
{
    const char *separator = "";
    LECO_TRY(text_add(t, err, "{"));
    if (metadata_count > 0) {
        LECO_TRY(text_add(t, err, "\"" SAFETENSORS_METADATA "\":{"));
        for (size_t i = 0; i < metadata_count; i++) {
            if (i > 0) LECO_TRY(text_add(t, err, ","));
            LECO_TRY(text_add_quoted(t, err, metadata[i][0]));
            LECO_TRY(text_add(t, err, ":"));
            LECO_TRY(text_add_quoted(t, err, metadata[i][1]));
        }
        LECO_TRY(text_add(t, err, "}"));
        separator = ",";
    }
    size_t offset = 0;
    for (size_t w = 0; w < WIDTHS; w++) {
        for (size_t i = 0; i < count; i++) {
            if (dtype_size(entries[i].type) != widths[w]) continue;
            LECO_TRY(text_add(t, err, separator));
            LECO_TRY(add_entry(t, &entries[i], &offset, err));
            separator = ",";
        }
    }
    LECO_TRY(text_add(t, err, "}"));
    while (t->used % 8 != 0) LECO_TRY(text_add(t, err, " "));
    return LECO_OK;
}

leco_status safetensors_data_begin(const char *path, const safetensors_entry *entries, size_t count,
                                   const char *const (*metadata)[2], size_t metadata_count, size_t *out,
                                   leco_error *err)
{
    text header = {.path = path};
    leco_status status = make_header(&header, entries, count, metadata, metadata_count, err);
    if (status == LECO_OK) *out = sizeof(uint64_t) + header.used;
    mem_free(header.data);
    return status;
}

static leco_status write_parts(file_writer *w, const text *header, const safetensors_entry *entries, size_t count,
                               const safetensors_maker *by, leco_error *err)
{
    uint64_t length = header->used;
    LECO_TRY(file_writer_write(w, &length, sizeof length, err));
    LECO_TRY(file_writer_write(w, header->data, header->used, err));
    for (size_t k = 0; k < WIDTHS; k++) {
        for (size_t i = 0; i < count; i++) {
            size_t width = dtype_size(entries[i].type);
            const void *data = entries[i].data;
            if (width != widths[k]) continue;
            if (by) LECO_TRY(by->make(by->user, i, &data, err));
            LECO_TRY(file_writer_write(w, data, entries[i].count * width, err));
        }
    }
    return LECO_OK;
}

leco_status safetensors_write_made(const char *path, const safetensors_entry *entries, size_t count,
                                   const char *const (*metadata)[2], size_t metadata_count, const safetensors_maker *by,
                                   leco_error *err)
{
    text header = {.path = path};
    file_writer *w = NULL;
    leco_status status = check_names(path, entries, count, metadata, metadata_count, err);
    if (status == LECO_OK) status = make_header(&header, entries, count, metadata, metadata_count, err);
    if (status == LECO_OK) status = file_writer_open(path, &w, err);
    if (status == LECO_OK) {
        status = write_parts(w, &header, entries, count, by, err);
        if (status == LECO_OK && by && by->check) status = by->check(by->user, file_writer_place(w), err);
        if (status == LECO_OK)
            status = file_writer_commit(w, err);
        else
            file_writer_abort(w);
    }
    mem_free(header.data);
    return status;
}

leco_status safetensors_write(const char *path, const safetensors_entry *entries, size_t count,
                              const char *const (*metadata)[2], size_t metadata_count, leco_error *err)
{
    return safetensors_write_made(path, entries, count, metadata, metadata_count, NULL, err);
}
