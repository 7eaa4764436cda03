/* Which file of a component's folder holds the weights; and what is there instead, where none does. */
#include <dirent.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/weights.h"

#define EXPECTED "diffusion_pytorch_model.safetensors or model.safetensors, or either with .fp16 before .safetensors"

typedef enum finding { SHARDS, PIECE, OTHER_NAME, PICKLES, FLAX, TENSORFLOW, ONNX, NOTHING } finding;

/* What else may hold weights: names that end in `end` and have `within` in them. */
static const struct row {
    finding is;
    const char *within, *end;
} rows[] = {
    {SHARDS, ".index", ".json"}, {PIECE, "-of-0", ".safetensors"},
    {PIECE, "-of-0", ".bin"},    {OTHER_NAME, "", ".safetensors"},
    {PICKLES, "", ".bin"},       {PICKLES, "", ".ckpt"},
    {PICKLES, "", ".pt"},        {PICKLES, "", ".pth"},
    {FLAX, "", ".msgpack"},      {TENSORFLOW, "", ".h5"},
    {ONNX, "", ".onnx"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static finding what_is(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < ROWS; i++) {
        size_t end = strlen(rows[i].end);
        if (length > end && strcmp(name + length - end, rows[i].end) == 0 && strstr(name, rows[i].within))
            return rows[i].is;
    }
    return NOTHING;
}

/* The most telling file of the folder; of several alike, the first by name. *name is NULL for NOTHING. */
static leco_status look(const char *folder, finding *best, char **name, leco_error *err)
{
    *best = NOTHING;
    *name = NULL;
    DIR *listing = opendir(folder);
    leco_status status = LECO_OK;
    for (struct dirent *entry; listing && status == LECO_OK && (entry = readdir(listing));) {
        finding is = what_is(entry->d_name);
        if (is > *best || is == NOTHING || (is == *best && strcmp(entry->d_name, *name) > 0)) continue;
        *best = is;
        mem_free(*name);
        *name = mem_strdup(entry->d_name);
        if (!*name) status = error_memory(err, strlen(entry->d_name), "the name of a file");
    }
    if (listing) closedir(listing);
    return status;
}

static leco_status refuse(const char *folder, finding is, const char *name, leco_error *err)
{
    switch (is) {
    case PIECE:
        return error_set(err, LECO_IO, "%s: a piece of the weights (%s), but no index of them (NAME.index.json)",
                         folder, name);
    case SHARDS:
    case OTHER_NAME:
        return error_set(err, LECO_IO, "%s: no weights under a name that leco knows (expected " EXPECTED "; found %s)",
                         folder, name);
    case PICKLES:
        return error_set(err, LECO_IO,
                         "%s: no weights under a name that leco knows (expected " EXPECTED ", or the like with .bin; "
                         "found %s)",
                         folder, name);
    case FLAX:
    case TENSORFLOW:
    case ONNX:
        return error_set(err, LECO_UNSUPPORTED, "%s: the weights are here for %s only (%s; expected " EXPECTED ")",
                         folder,
                         is == FLAX   ? "Flax"
                         : is == ONNX ? "ONNX"
                                      : "TensorFlow",
                         name);
    case NOTHING:
        break;
    }
    return error_set(err, LECO_IO, "%s: no weights here (expected " EXPECTED ")", folder);
}

static leco_status explain(const char *folder, leco_error *err)
{
    finding is;
    char *name;
    leco_status status = look(folder, &is, &name, err);
    if (status == LECO_OK) status = refuse(folder, is, name, err);
    mem_free(name);
    return status;
}

/* *path is NULL where FOLDER/name is no file. */
static leco_status find(const char *folder, const char *name, char **path, leco_error *err)
{
    *path = file_join(folder, name);
    if (!*path) return error_memory(err, strlen(folder), "a path");
    if (file_exists(*path)) return LECO_OK;
    mem_free(*path);
    *path = NULL;
    return LECO_OK;
}

/* diffusers, too, takes the pieces where both are there; and a variant's names are these, where it is asked for. */
static const char *const names[] = {
    "diffusion_pytorch_model.safetensors.index.json",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin.index.json",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.fp16.json",
    "pytorch_model.bin.index.fp16.json",
    "diffusion_pytorch_model.fp16.bin",
    "pytorch_model.fp16.bin",
};
enum { NAMES = sizeof names / sizeof *names };

/* ---- other variants: "non_ema", "bf16", ... ---- */

/* The names that a variant's file has, before its own word and behind it; the earlier are taken first. */
static const struct {
    const char *before, *behind;
} forms[] = {
    {"diffusion_pytorch_model.safetensors.index.", ".json"},
    {"model.safetensors.index.", ".json"},
    {"diffusion_pytorch_model.", ".safetensors"},
    {"model.", ".safetensors"},
    {"diffusion_pytorch_model.bin.index.", ".json"},
    {"pytorch_model.bin.index.", ".json"},
    {"diffusion_pytorch_model.", ".bin"},
    {"pytorch_model.", ".bin"},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Which form a name has, and its variant's place in it; FORMS: none. "non_ema-00001-of-00002" is a piece's. */
static size_t form_of(const char *name, const char **word, size_t *length)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
    size_t i = 0;
    for (; i < FORMS; i++) {
        const size_t before = strlen(forms[i].before);
        if (strncmp(name, forms[i].before, before) != 0) continue;
        *word = name + before;
        *length = strspn(*word, plain);
        if (*length && strcmp(*word + *length, forms[i].behind) == 0) break;
    }
    return i;
}

/* What a folder has in variants. */
typedef struct variants {
    char *name, *other; /* the best file of one variant, and one of another; NULL: none */
} variants;

static bool is_same_variant(const char *a, const char *b)
{
    const char *one, *two;
    size_t length, other;
    form_of(a, &one, &length);
    form_of(b, &two, &other);
    return length == other && memcmp(one, two, length) == 0;
}

static leco_status note_variant(variants *v, const char *name, leco_error *err)
{
    const char *word;
    size_t length;
    const size_t form = form_of(name, &word, &length);
    if (form == FORMS) return LECO_OK;
    const bool differs = v->name && !is_same_variant(v->name, name);
    if ((differs && v->other) || (v->name && !differs && form_of(v->name, &word, &length) <= form)) return LECO_OK;
    char **slot = differs ? &v->other : &v->name;
    mem_free(*slot);
    *slot = mem_strdup(name);
    return *slot ? LECO_OK : error_memory(err, strlen(name), "the name of a file");
}

/* *path: the weights of the only variant that is there; NULL: none is. */
static leco_status find_variant(const char *folder, char **path, leco_error *err)
{
    variants v = {0};
    DIR *listing = opendir(folder);
    leco_status status = LECO_OK;
    for (struct dirent *entry; listing && status == LECO_OK && (entry = readdir(listing));)
        status = note_variant(&v, entry->d_name, err);
    if (listing) closedir(listing);
    if (status == LECO_OK && v.other) {
        const bool swap = strcmp(v.name, v.other) > 0; /* a folder's order is any */
        status = error_set(err, LECO_INVALID,
                           "%s: the weights are here in several variants only, %s and %s: leave one of them, or name "
                           "the one you want %s",
                           folder, swap ? v.other : v.name, swap ? v.name : v.other,
                           strncmp(v.name, "diffusion", 9) == 0 ? "diffusion_pytorch_model.safetensors"
                                                                : "model.safetensors");
    } else if (status == LECO_OK && v.name) {
        *path = file_join(folder, v.name);
        if (!*path) status = error_memory(err, strlen(folder), "a path");
    }
    mem_free(v.name);
    mem_free(v.other);
    return status;
}

/* A file of one of the names that is a link to nowhere, as a download that was broken off leaves it. */
static leco_status find_dangling(const char *folder, char **path, leco_error *err)
{
    for (size_t i = 0; i < NAMES; i++) {
        char *one = file_join(folder, names[i]);
        if (!one) return error_memory(err, strlen(folder), "a path");
        if (file_is_dangling(one)) {
            *path = one;
            return LECO_OK;
        }
        mem_free(one);
    }
    return LECO_OK;
}

leco_status weights_open(const char *folder, weights **out, leco_error *err)
{
    char *path = NULL;
    *out = NULL;
    for (size_t i = 0; i < NAMES && !path; i++) LECO_TRY(find(folder, names[i], &path, err));
    if (!path) LECO_TRY(find_dangling(folder, &path, err));
    if (!path) LECO_TRY(find_variant(folder, &path, err));
    if (!path) return explain(folder, err);
    leco_status status = weights_open_file(path, out, err);
    mem_free(path);
    return status;
}
