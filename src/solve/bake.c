/* Adding changes to the weights of a model's copy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/checkpoint.h"
#include "model/part.h"
#include "solve/merge.h"

typedef struct named_change {
    const char *tensor; /* "down_blocks.0.attentions.0.proj_in.weight" */
    const change *change;
} named_change;

typedef struct baker {
    const model *m;
    const char *to; /* the folder that is written */
    work *work;
    thin_report *report;
    named_change *changes[PART_COUNT]; /* by name */
    size_t count[PART_COUNT];
    arena *names;
    const char *left_out; /* the first file that isn't copied, of so many: */
    size_t left_out_count;
    model_part part; /* whose file is being written, */
    arena *layer;    /* and what its last tensor was made in */
} baker;

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const named_change *)a)->tensor, ((const named_change *)b)->tensor);
}

static leco_status name_changes(baker *b, const change_list *changes, leco_error *err)
{
    for (int part = 0; part < PART_COUNT; part++) {
        b->changes[part] = arena_alloc(b->names, changes->count, sizeof **b->changes);
        if (!b->changes[part]) return error_memory(err, changes->count * sizeof **b->changes, "the names of tensors");
    }
    for (size_t i = 0; i < changes->count; i++) {
        const layer_info *layer = changes->at[i].layer;
        const char *name = arena_printf(b->names, "%s.%s", layer->path, changes->at[i].tensor);
        if (!name) return error_memory(err, strlen(layer->path), "the names of tensors");
        if (!weights_has(b->m->weights[layer->part], name)) /* not every layer has a bias */
            return error_set(err, LECO_INVALID,
                             "%s: changes %s, which this model doesn't have: it can be used beside "
                             "the model (--lora), not put into it",
                             changes->at[i].of_vector ? changes->at[i].of_vector : "the LoRA", name);
        b->changes[layer->part][b->count[layer->part]++] = (named_change){name, &changes->at[i]};
    }
    for (int part = 0; part < PART_COUNT; part++)
        if (b->count[part] > 0) qsort(b->changes[part], b->count[part], sizeof **b->changes, by_tensor);
    return LECO_OK;
}

/* ---- tensors ---- */

/* out = tensor + change, in the tensor's type; *lost: the square of what rounding made of the change. False where a
 * value isn't finite. */
static bool add_rounded(const safetensors_entry *e, const double *delta, void *out, double *norm, double *lost)
{
    enum { CHUNK = 1024 };
    double before[CHUNK], after[CHUNK];
    const size_t size = dtype_size(e->type);
    *norm = *lost = 0;
    for (size_t from = 0; from < e->count; from += CHUNK) {
        const size_t count = e->count - from < CHUNK ? e->count - from : CHUNK;
        dtype_convert(before, DTYPE_F64, (const char *)e->data + from * size, e->type, count);
        for (size_t i = 0; i < count; i++) after[i] = before[i] + delta[from + i];
        dtype_convert((char *)out + from * size, e->type, after, DTYPE_F64, count);
        dtype_convert(after, DTYPE_F64, (char *)out + from * size, e->type, count);
        for (size_t i = 0; i < count; i++) {
            const double wanted = delta[from + i], off = after[i] - before[i] - wanted;
            if (!isfinite(after[i])) return false;
            *norm += wanted * wanted;
            *lost += off * off;
        }
    }
    return true;
}

/* Room for what a tensor becomes, in the baker's memory until the next one: first what it is. */
static leco_status begin_tensor(baker *b, const safetensors_entry *e, void **out, leco_error *err)
{
    arena_destroy(b->layer);
    b->layer = arena_create();
    *out = b->layer ? arena_alloc(b->layer, e->count, dtype_size(e->type)) : NULL;
    if (!*out) return error_memory(err, e->count * dtype_size(e->type), e->name);
    memcpy(*out, e->data, e->count * dtype_size(e->type));
    return LECO_OK;
}

/* Adds a change to a tensor's elements from `first` on; out is all of it. */
static leco_status add_change(baker *b, const change *c, const safetensors_entry *e, size_t first, void *out,
                              leco_error *err)
{
    double norm, lost;
    const size_t size = dtype_size(e->type);
    safetensors_entry piece = *e;
    piece.count = (size_t)(c->rows * c->columns);
    if (first + piece.count > e->count) /* model_map has seen that it has the layer's shape */
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has changed meanwhile",
                         weights_path(b->m->weights[c->layer->part]), e->name);
    piece.data = (const char *)e->data + first * size;
    double *delta = arena_alloc(b->layer, piece.count, sizeof *delta);
    if (!delta) return error_memory(err, piece.count * sizeof *delta, e->name);
    double *w = c->of_weight ? arena_alloc(b->layer, piece.count, sizeof *w) : NULL;
    if (c->of_weight && !w) return error_memory(err, piece.count * sizeof *w, e->name);
    if (w) dtype_convert(w, DTYPE_F64, piece.data, piece.type, piece.count);
    LECO_TRY(change_add(c, w, delta, b->layer, err));
    if (!add_rounded(&piece, delta, (char *)out + first * size, &norm, &lost))
        return error_set(err, LECO_INVALID,
                         "%s: tensor \"%s\" would get a value that is not a finite %s; nothing is written",
                         weights_path(b->m->weights[c->layer->part]), e->name, dtype_name(e->type));
    thin_note(b->report, c->layer, c->rank, sqrt(norm), norm > 0 ? sqrt(lost / norm) : 0);
    if (c->beside) b->report->layers[c->layer->part]--; /* it is one layer */
    return work_step(b->work, (double)piece.count, err);
}

static const change *change_of(const baker *b, model_part part, const char *name)
{
    const named_change wanted = {.tensor = name};
    const named_change *found = bsearch(&wanted, b->changes[part], b->count[part], sizeof wanted, by_tensor);
    return found ? found->change : NULL;
}

/* Of a part's own file. */
static leco_status replace_tensor(void *user, const safetensors_entry *e, const void **data, leco_error *err)
{
    baker *b = user;
    void *sum;
    const change *c = change_of(b, b->part, e->name);
    if (!c) return LECO_OK;
    if ((int64_t)e->count != c->rows * c->columns)
        return error_set(err, LECO_FORMAT, "%s: tensor \"%s\" has changed meanwhile",
                         weights_path(b->m->weights[b->part]), e->name);
    LECO_TRY(begin_tensor(b, e, &sum, err));
    *data = sum;
    return add_change(b, c, e, 0, sum, err);
}

/* Of a checkpoint in one file, which may hold several layers' weights in a tensor. */
static leco_status replace_original(void *user, const safetensors_entry *e, const void **data, leco_error *err)
{
    baker *b = user;
    void *sum = NULL;
    const checkpoint_depths d = checkpoint_depths_of(b->m);
    for (int part = 0; part < PART_COUNT; part++) {
        checkpoint_view view[CHECKPOINT_MOST_VIEWS];
        const int views = b->count[part] ? checkpoint_views(&d, (model_part)part, e->name, view) : 0;
        for (int i = 0; i < views; i++) {
            const change *c = change_of(b, (model_part)part, view[i].name);
            if (!c) continue;
            if (!sum) LECO_TRY(begin_tensor(b, e, &sum, err));
            LECO_TRY(add_change(b, c, e, view[i].third > 0 ? (size_t)view[i].third * e->count / 3 : 0, sum, err));
        }
    }
    *data = sum;
    return LECO_OK;
}

/* ---- files ---- */

static bool may_hold_weights(const char *name)
{
    static const char *const ends[] = {".safetensors", ".safetensors.index.json",
                                       ".bin",         ".bin.index.json",
                                       ".ckpt",        ".pt",
                                       ".pth",         ".msgpack",
                                       ".h5",          ".onnx",
                                       ".onnx_data",   ".gguf"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (file_ends_in(name, ends[i])) return true;
    return false;
}

/* Whole checkpoints lie at the top, parts in other forms beside the file that leco reads: without the change they would
 * be something else than what the folder says. */
static bool is_stale(const baker *b, const char *relative)
{
    if (!may_hold_weights(relative)) return false;
    if (!strchr(relative, '/')) return true;
    for (int part = 0; part < PART_COUNT; part++) {
        const size_t length = strlen(part_rows[part].name);
        if (b->count[part] > 0 && strncmp(relative, part_rows[part].name, length) == 0 && relative[length] == '/')
            return true;
    }
    return false;
}

/* The part whose weights this file holds; PART_OTHER: none, or one that stays as it is. */
static model_part part_of(const baker *b, const char *path)
{
    for (int part = 0; part < PART_COUNT; part++)
        if (b->count[part] > 0 && strcmp(weights_path(b->m->weights[part]), path) == 0) return (model_part)part;
    return PART_OTHER;
}

/* Of types too coarse to hold a change, which nobody is asked to replace. */
static leco_status refuse_small(const baker *b, const safetensors *file, leco_error *err)
{
    const char *name, *type;
    for (size_t i = 0; i < safetensors_skipped_count(file); i++) {
        safetensors_skipped_at(file, i, &name, &type);
        if (change_of(b, b->part, name))
            return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s: too coarse to hold a LoRA",
                             safetensors_path(file), name, type);
    }
    return LECO_OK;
}

static void tell_rewritten(const char *from, const char *to, size_t left_out)
{
    log_message(LOG_INFO, "%s: becomes %s, one .safetensors file", from, to);
    if (left_out)
        log_message(LOG_WARNING, "%s: %zu tensors of types that leco doesn't compute with are left out", from,
                    left_out);
}

/* What was pickled, or lay in pieces, becomes one file, under the name that diffusers and transformers look for: *to,
 * mem_free it. */
static leco_status name_rewritten(const char *from, const char *to, char **out, leco_error *err)
{
    char *folder = file_folder_of(to);
    const char *slash = strrchr(from, '/'), *name = slash ? slash + 1 : from;
    const char *stem = strncmp(name, "diffusion_", 10) == 0 ? "diffusion_pytorch_model" : "model";
    *out = folder ? mem_printf("%s/%s%s.safetensors", folder, stem, strstr(name, ".fp16") ? ".fp16" : "") : NULL;
    mem_free(folder);
    return *out ? LECO_OK : error_memory(err, strlen(to), "a path");
}

static leco_status rewrite_part(baker *b, const safetensors *file, const char *from, const char *to, leco_error *err)
{
    char *place;
    size_t left_out;
    LECO_TRY(name_rewritten(from, to, &place, err));
    leco_status status = tensors_rewrite(file, place, replace_tensor, b, &left_out, err);
    if (status == LECO_OK) tell_rewritten(from, strrchr(place, '/') + 1, left_out);
    mem_free(place);
    return status;
}

/* A .safetensors file stays as it is but for the changes; its name alone doesn't make it one. */
static leco_status write_part(baker *b, const char *from, const char *to, leco_error *err)
{
    safetensors *file;
    const bool plain = file_ends_in(from, ".safetensors") && safetensors_open(from, &file, NULL) == LECO_OK;
    if (!plain) LECO_TRY(tensors_open(from, &file, err));
    leco_status status = refuse_small(b, file, err);
    if (status == LECO_OK)
        status = plain ? safetensors_copy(file, to, replace_tensor, b, err) : rewrite_part(b, file, from, to, err);
    safetensors_close(file);
    return status;
}

/* A piece of weights that become one file? */
static bool is_piece(const baker *b, const char *relative)
{
    for (int part = 0; part < PART_COUNT; part++) {
        const size_t length = strlen(part_rows[part].name);
        if (b->count[part] > 0 && strncmp(relative, part_rows[part].name, length) == 0 && relative[length] == '/')
            return file_ends_in(weights_path(b->m->weights[part]), ".json") && strstr(relative, "-of-0") != NULL;
    }
    return false;
}

static leco_status copy_one(baker *b, const char *relative, const char *from, const char *to, leco_error *err)
{
    b->part = part_of(b, from);
    if (b->part != PART_OTHER) return write_part(b, from, to, err);
    if (!is_stale(b, relative)) return folder_copy_file(from, to, err);
    if (is_piece(b, relative)) return LECO_OK;
    if (b->left_out_count++ == 0 && !(b->left_out = arena_strdup(b->names, from)))
        return error_memory(err, strlen(from), "a path");
    return LECO_OK;
}

static leco_status copy_entry(void *user, const char *relative, bool is_folder, leco_error *err)
{
    baker *b = user;
    char *from = file_join(b->m->folder, relative), *to = file_join(b->to, relative);
    leco_status status = from && to ? LECO_OK : error_memory(err, strlen(relative), "a path");
    if (status == LECO_OK) status = is_folder ? file_make_folders(to, err) : copy_one(b, relative, from, to, err);
    mem_free(from);
    mem_free(to);
    return status;
}

#define MOSTLY 0.5 /* a share of a change */

static void warn(const baker *b)
{
    double square = 0, lost = 0;
    for (int i = 0; i < PART_COUNT; i++) square += b->report->square[i], lost += b->report->lost[i];
    if (lost > MOSTLY * MOSTLY * square)
        log_message(LOG_WARNING,
                    "%.0f%% of the change is lost in rounding: it is too small for the type of this model's weights; "
                    "give the LoRA a larger weight, or keep it beside the model",
                    100 * sqrt(lost / square));
    if (b->left_out_count == 1)
        log_message(LOG_WARNING, "%s is not copied: it may hold the weights without the change", b->left_out);
    if (b->left_out_count > 1)
        log_message(LOG_WARNING, "%s and %zu more files are not copied: they may hold the weights without the change",
                    b->left_out, b->left_out_count - 1);
}

/* Of small floats, which weights_form.c widens, a sum would lose nearly all of a change. */
static leco_status bake_file(baker *b, const char *to, leco_error *err)
{
    size_t left_out;
    for (size_t i = 0; i < safetensors_skipped_count(b->m->file); i++) {
        const char *name, *type;
        safetensors_skipped_at(b->m->file, i, &name, &type);
        if (strncmp(type, "F8", 2) == 0)
            return error_set(err, LECO_UNSUPPORTED, "%s: tensor \"%s\" is %s: too coarse to hold a LoRA", b->m->folder,
                             name, type);
    }
    safetensors *plain;
    if (safetensors_open(b->m->folder, &plain, NULL) == LECO_OK) {
        const leco_status status = safetensors_copy(plain, to, replace_original, b, err);
        safetensors_close(plain);
        LECO_TRY(status);
    } else {
        LECO_TRY(tensors_rewrite(b->m->file, to, replace_original, b, &left_out, err));
        tell_rewritten(b->m->folder, to, left_out);
    }
    warn(b);
    return LECO_OK;
}

static leco_status bake(baker *b, const change_list *changes, const char *to, leco_error *err)
{
    folder_writer *w;
    double cost = 0;
    LECO_TRY(name_changes(b, changes, err));
    for (size_t i = 0; i < changes->count; i++) cost += (double)(changes->at[i].rows * changes->at[i].columns);
    work_begin(b->work, (int64_t)changes->count, cost);
    if (b->m->file) return bake_file(b, to, err);
    LECO_TRY(folder_writer_open(to, &w, err));
    b->to = folder_writer_place(w);
    leco_status status = folder_walk(b->m->folder, copy_entry, b, err);
    if (status == LECO_OK) {
        warn(b);
        return folder_writer_commit(w, err);
    }
    folder_writer_abort(w);
    return status;
}

leco_status merge_into_model(const model *m, const change_list *changes, const char *to, work *w, thin_report *report,
                             leco_error *err)
{
    *report = (thin_report){0};
    if (changes->count == 0) return error_set(err, LECO_INVALID, "all weights are 0: the model would stay as it is");
    if (!m->file) LECO_TRY(folder_refuse_inside(m->folder, to, err));
    baker b = {.m = m, .work = w, .report = report, .names = arena_create()};
    if (!b.names) return error_memory(err, 0, "the names of tensors");
    leco_status status = bake(&b, changes, to, err);
    arena_destroy(b.names);
    arena_destroy(b.layer);
    return status;
}
