#include "solve/extract.h"

#include <stdio.h>
#include <string.h>

#include "api/layers.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/room.h"

static leco_status parts_of(const char *name, int *parts, leco_error *err)
{
    *parts = MODEL_UNET | MODEL_TEXT_ENCODER;
    if (!name || strcmp(name, "both") == 0) return LECO_OK;
    *parts = strcmp(name, "unet") == 0 ? MODEL_UNET : strcmp(name, "text-encoder") == 0 ? MODEL_TEXT_ENCODER : 0;
    if (*parts) return LECO_OK;
    return error_set(err, LECO_INVALID, "there is no part \"%s\": it is unet, text-encoder or both", name);
}

static leco_status save(const model *base, const model *tuned, const leco_extract_options *o, const trainable *t,
                        const char *out, dtype type, leco_error *err)
{
    char resolution[48];
    const int64_t factor = vae_factor(&base->vae);
    snprintf(resolution, sizeof resolution, "%lldx%lld", (long long)(base->unet.sample_width * factor),
             (long long)(base->unet.sample_height * factor));
    char *from = layers_stem(base->folder), *to = layers_stem(tuned->folder);
    char *comment = from && to
                        ? mem_printf("leco: extracted from %s, tuned from %s, rank %lld", to, from, (long long)o->rank)
                        : NULL;
    mem_free(from);
    mem_free(to);
    if (!comment) return error_memory(err, 0, "metadata");
    const trainable_metadata metadata = {.comment = comment,
                                         .family = base->family,
                                         .v_prediction = tuned->schedule.prediction == PREDICT_V,
                                         .resolution = resolution};
    leco_status status = layers_save(t, out, type, &metadata, err);
    mem_free(comment);
    return status;
}

static leco_status extract(model *base, model *tuned, const char *out, const leco_extract_options *o,
                           leco_merge_report *report, leco_error *err)
{
    int parts;
    dtype type;
    trainable *t = NULL;
    thin_report made;
    layers_progress progress = {"extracting", o->progress, o->user};
    work w = layers_work(&progress);
    const double begun = cpu_seconds();
    if (o->rank < 1) return error_set(err, LECO_INVALID, "a rank of %lld: expected 1 or more", (long long)o->rank);
    LECO_TRY(layers_precision(o->precision, &type, err));
    LECO_TRY(parts_of(o->part, &parts, err));
    LECO_TRY(layers_check_output(out, NULL, 0, err));
    LECO_TRY(folder_refuse_inside(base->folder, out, err));
    LECO_TRY(folder_refuse_inside(tuned->folder, out, err));
    LECO_TRY(room_for_threads(err));
    LECO_TRY(model_map(base, parts, err));
    LECO_TRY(model_map(tuned, parts, err));
    LECO_TRY(extract_lora(base, tuned, parts, o->rank, &w, &t, &made, err));
    leco_status status = save(base, tuned, o, t, out, type, err);
    trainable_destroy(t);
    return status == LECO_OK && report ? layers_report(&made, cpu_seconds() - begun, report, err) : status;
}

leco_status leco_extract(const char *base_path, const char *tuned_path, const char *out,
                         const leco_extract_options *options, leco_merge_report *report, leco_error *err)
{
    IN_C_LOCALE;
    const leco_extract_options defaults = {0};
    model *base = NULL, *tuned = NULL;
    if (!base_path || !*base_path || !tuned_path || !*tuned_path)
        return error_set(err, LECO_INVALID, "no model given: it takes two");
    leco_status status = model_open(base_path, &base, err);
    if (status == LECO_OK) status = model_open(tuned_path, &tuned, err);
    if (status == LECO_OK) status = extract(base, tuned, out, options ? options : &defaults, report, err);
    model_close(base);
    model_close(tuned);
    return status;
}
