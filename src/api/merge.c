#include "solve/merge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/layers.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/room.h"
#include "format/tensors.h"
#include "model/adapter_config.h"
#include "model/adapter_open.h"
#include "model/file_layers.h"

/* LoRAs that are open, and the layers that they are for. */
typedef struct joining {
    const leco_lora *loras;
    size_t count;
    const char **paths;
    model *model;                      /* or NULL: then the layers are of the files, */
    layer_list from_files[PART_COUNT]; /* these */
    adapter_layers layers;
    change_source *sources; /* [count] */
    arena *memory;
    change_list changes;
} joining;

static void joining_close(joining *j)
{
    for (size_t i = 0; j->sources && i < j->count; i++) trainable_destroy(j->sources[i].trainable);
    for (int part = 0; part < PART_COUNT; part++) layer_list_free(&j->from_files[part]);
    model_close(j->model);
    mem_free(j->sources);
    mem_free(j->paths);
    arena_destroy(j->memory);
}

/* Do the weights of each file add up to nothing? */
static bool cancel(const joining *j)
{
    for (size_t i = 0; i < j->count; i++) {
        double sum = 0;
        for (size_t k = 0; k < j->count; k++)
            if (strcmp(j->paths[i], j->paths[k]) == 0) sum += (double)j->loras[k].weight;
        if (sum != 0) return false;
    }
    return true;
}

static leco_status check_loras(joining *j, leco_error *err)
{
    if (j->count == 0) return error_set(err, LECO_INVALID, "no LoRA given");
    j->memory = arena_create();
    j->sources = mem_calloc(j->count, sizeof *j->sources);
    j->paths = mem_calloc(j->count, sizeof *j->paths);
    if (!j->memory || !j->sources || !j->paths) return error_memory(err, j->count * sizeof *j->sources, "LoRAs");
    for (size_t i = 0; i < j->count; i++) {
        j->paths[i] = j->loras[i].path;
        if (!j->paths[i] || !*j->paths[i]) return error_set(err, LECO_INVALID, "a LoRA without a name");
        if (!isfinite(j->loras[i].weight))
            return error_set(err, LECO_INVALID, "%s: a LoRA's weight must be a finite number", j->paths[i]);
        char *file; /* of a folder */
        LECO_TRY(adapter_find(j->paths[i], &file, err));
        j->paths[i] = arena_strdup(j->memory, file);
        mem_free(file);
        if (!j->paths[i]) return error_memory(err, 0, "a path");
    }
    if (cancel(j)) return error_set(err, LECO_INVALID, "the weights add up to 0: there would be nothing in the result");
    return LECO_OK;
}

/* Without a model, a file tells its layers; a LoHa's doesn't. */
static leco_status layers_of_files(joining *j, leco_error *err)
{
    for (size_t i = 0; i < j->count; i++) {
        char *name;
        LECO_TRY(file_layers_need_model(j->paths[i], &name, err));
        if (!name) continue;
        leco_status status = error_set(
            err, LECO_UNSUPPORTED,
            "%s: tensor \"%s\" is part of no plain LoRA: --into puts it into a model; a LoHa or "
            "LoKr can be joined, too, by saying which model it is for (-m MODEL), and at which rank (--rank N)",
            j->paths[i], name);
        mem_free(name);
        return status;
    }
    LECO_TRY(file_layers_read(j->paths, j->count, j->from_files, err));
    j->layers.part[PART_UNET] = &j->from_files[PART_UNET];
    j->layers.part[PART_TEXT_ENCODER] = &j->from_files[PART_TEXT_ENCODER];
    j->layers.part[PART_TEXT_ENCODER_2] = &j->from_files[PART_TEXT_ENCODER_2];
    return LECO_OK;
}

/* What the files say of themselves under a key, where they say the same; NULL otherwise, and where they must not differ
 * LECO_INVALID. */
static leco_status common_metadata(const joining *j, const char *key, bool must_agree, const char **value,
                                   leco_error *err)
{
    size_t from = 0;
    bool differ = false;
    *value = NULL;
    for (size_t i = 0; i < j->count; i++) {
        safetensors *file;
        LECO_TRY(tensors_open(j->paths[i], &file, err));
        const char *own = safetensors_metadata(file, key);
        leco_status status = LECO_OK;
        const bool other = own && *value && strcmp(own, *value) != 0;
        differ = differ || other;
        if (other && must_agree)
            status = error_set(err, LECO_INVALID, "%s and %s are for different models: their %s is %s and %s",
                               j->paths[from], j->paths[i], key, *value, own);
        if (own && !*value) {
            from = i;
            *value = arena_strdup(j->memory, own);
            if (!*value) status = error_memory(err, strlen(own), "metadata");
        }
        safetensors_close(file);
        LECO_TRY(status);
    }
    if (differ) *value = NULL;
    return LECO_OK;
}

static leco_status warn_of_bundled(const char *path, leco_error *err)
{
    safetensors *file;
    size_t bundled = 0;
    LECO_TRY(tensors_open(path, &file, err));
    for (size_t i = 0; i < safetensors_count(file); i++)
        bundled += strncmp(safetensors_at(file, i)->name, ADAPTER_BUNDLE, sizeof ADAPTER_BUNDLE - 1) == 0;
    safetensors_close(file);
    if (bundled)
        log_message(LOG_WARNING, "%s: %zu tensors are left out: they are embeddings that come with the LoRA", path,
                    bundled);
    return LECO_OK;
}

static leco_status load_all(joining *j, leco_error *err)
{
    for (size_t i = 0; i < j->count; i++) {
        LECO_TRY(warn_of_bundled(j->paths[i], err));
        j->sources[i] = (change_source){.path = j->paths[i], .weight = j->loras[i].weight};
        LECO_TRY(trainable_load(j->paths[i], &j->layers, DTYPE_F64, &j->sources[i].trainable, err));
    }
    return changes_collect(&j->layers, j->sources, j->count, j->memory, &j->changes, err);
}

/* After check_loras. */
static leco_status joining_open(joining *j, const char *model_path, leco_error *err)
{
    LECO_TRY(room_for_threads(err));
    if (model_path) {
        LECO_TRY(model_open(model_path, &j->model, err));
        LECO_TRY(model_adapter_layers(j->model, &j->layers, err));
    } else {
        LECO_TRY(layers_of_files(j, err));
    }
    return load_all(j, err);
}

/* ---- one LoRA of several ---- */

/* "red:1, blue:-0.5" */
static char *merged_from(const joining *j)
{
    char *text = arena_strdup(j->memory, "");
    for (size_t i = 0; text && i < j->count; i++) {
        char *stem = layers_stem(j->paths[i]);
        text = stem ? arena_printf(j->memory, "%s%s%s:%g", text, i ? ", " : "", stem, j->loras[i].weight) : NULL;
        mem_free(stem);
    }
    return text;
}

static leco_status save(joining *j, const trainable *t, const char *out, dtype type, leco_error *err)
{
    enum { COPIED = 4 };
    static const char *const keys[COPIED] = {"ss_base_model_version", "modelspec.architecture",
                                             "modelspec.prediction_type", "modelspec.implementation"};
    const char *extra[COPIED + 1][2];
    size_t count = 0;
    for (size_t i = 0; i < COPIED && !j->model; i++) {
        const char *value;
        LECO_TRY(common_metadata(j, keys[i], false, &value, err));
        if (!value) continue;
        extra[count][0] = keys[i];
        extra[count++][1] = value;
    }
    char *from = merged_from(j), *comment = from ? arena_printf(j->memory, "leco: merged from %s", from) : NULL;
    if (!from || !comment) return error_memory(err, 0, "metadata");
    extra[count][0] = "modelspec.merged_from";
    extra[count++][1] = from;
    const trainable_metadata metadata = {.comment = comment,
                                         .family = j->model ? j->model->family : NULL,
                                         .v_prediction = j->model && j->model->schedule.prediction == PREDICT_V,
                                         .extra = (const char *const(*)[2])extra,
                                         .extra_count = count};
    return layers_save(t, out, type, &metadata, err);
}

static leco_status merge(joining *j, const char *out, const leco_merge_options *o, leco_merge_report *report,
                         leco_error *err)
{
    dtype type;
    const char *version;
    trainable *t = NULL;
    thin_report made;
    layers_progress progress = {"merging", o->progress, o->user};
    work w = layers_work(&progress);
    const double begun = cpu_seconds();
    if (o->rank < 0) return error_set(err, LECO_INVALID, "a rank of %lld: expected 1 or more", (long long)o->rank);
    LECO_TRY(layers_precision(o->precision, &type, err));
    LECO_TRY(check_loras(j, err));
    LECO_TRY(layers_check_output(out, j->paths, j->count, err));
    LECO_TRY(common_metadata(j, "ss_base_model_version", true, &version, err));
    LECO_TRY(joining_open(j, o->model, err));
    if (j->model) LECO_TRY(folder_refuse_inside(j->model->folder, out, err));
    LECO_TRY(merge_loras(&j->changes, o->rank, &w, &t, &made, err));
    leco_status status = save(j, t, out, type, err);
    trainable_destroy(t);
    return status == LECO_OK && report ? layers_report(&made, cpu_seconds() - begun, report, err) : status;
}

leco_status leco_merge(const leco_lora *loras, size_t count, const char *out, const leco_merge_options *options,
                       leco_merge_report *report, leco_error *err)
{
    IN_C_LOCALE;
    const leco_merge_options defaults = {0};
    joining j = {.loras = loras, .count = count};
    leco_status status = merge(&j, out, options ? options : &defaults, report, err);
    joining_close(&j);
    return status;
}

/* ---- into a model ---- */

/* A folder becomes a folder, a file a file. */
static leco_status check_place(const char *model_path, const char *out, leco_error *err)
{
    const bool from_file = file_exists(model_path) && !file_is_folder(model_path);
    if (!out || !*out) return error_set(err, LECO_INVALID, "no folder to write to given");
    const bool plain = file_ends_in(out, ".safetensors");
    if (from_file && !plain)
        return error_set(err, LECO_INVALID,
                         "%s: the copy of a checkpoint in one file is one, too: expected a name that "
                         "ends with .safetensors",
                         out);
    if (from_file && strcmp(model_path, out) == 0)
        return error_set(err, LECO_INVALID, "%s: is the model itself; give another place", out);
    if (!from_file && (plain || file_ends_in(out, ".ckpt")))
        return error_set(err, LECO_UNSUPPORTED, "%s: the copy of a model's folder is a folder, not a file", out);
    return LECO_OK;
}

static leco_status merge_into(joining *j, const char *model_path, const char *out, const leco_merge_options *o,
                              leco_merge_report *report, leco_error *err)
{
    thin_report made;
    layers_progress progress = {"merging", o->progress, o->user};
    work w = layers_work(&progress);
    int parts = 0;
    const double begun = cpu_seconds();
    LECO_TRY(check_place(model_path, out, err));
    LECO_TRY(check_loras(j, err));
    LECO_TRY(joining_open(j, model_path, err));
    for (size_t i = 0; i < j->changes.count; i++) parts |= 1 << j->changes.at[i].layer->part;
    LECO_TRY(model_map(j->model, parts, err));
    LECO_TRY(merge_into_model(j->model, &j->changes, out, &w, &made, err));
    return report ? layers_report(&made, cpu_seconds() - begun, report, err) : LECO_OK;
}

leco_status leco_merge_into(const char *model_path, const leco_lora *loras, size_t count, const char *out,
                            const leco_merge_options *options, leco_merge_report *report, leco_error *err)
{
    IN_C_LOCALE;
    const leco_merge_options defaults = {0};
    if (!model_path || !*model_path) return error_set(err, LECO_INVALID, "no model given");
    joining j = {.loras = loras, .count = count};
    leco_status status = merge_into(&j, model_path, out, options ? options : &defaults, report, err);
    joining_close(&j);
    return status;
}
