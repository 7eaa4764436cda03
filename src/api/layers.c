#include "api/layers.h"

#include <math.h>
#include <string.h>

#include "api/locale.h"
#include "base/date.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

void leco_merge_report_free(leco_merge_report *report)
{
    mem_free(report->most_lost_layer);
    *report = (leco_merge_report){0};
}

static bool forward(void *user, int64_t done, int64_t total, double seconds, double seconds_left)
{
    const layers_progress *p = user;
    const leco_progress out = {
        .what = p->what, .done = done, .total = total, .seconds = seconds, .seconds_left = seconds_left, .loss = NAN};
    IN_HOST_LOCALE;
    return p->progress(p->user, &out);
}

work layers_work(layers_progress *p)
{
    return (work){.report = p->progress ? forward : NULL, .user = p};
}

leco_status layers_precision(const char *name, dtype *out, leco_error *err)
{
    *out = DTYPE_F16;
    if (!name) return LECO_OK;
    if (dtype_find(name, out) && (*out == DTYPE_F16 || *out == DTYPE_F32 || *out == DTYPE_BF16)) return LECO_OK;
    return error_set(err, LECO_INVALID, "a LoRA is saved as float16, float32 or bfloat16, not \"%s\"", name);
}

leco_status layers_check_output(const char *out, const char *const *inputs, size_t count, leco_error *err)
{
    file_writer *w;
    if (!out || !*out) return error_set(err, LECO_INVALID, "no file to write to given");
    for (size_t i = 0; i < count; i++)
        if (file_is_same(out, inputs[i]))
            return error_set(err, LECO_INVALID, "%s: is one of the inputs; give the result another name", out);
    LECO_TRY(file_writer_open(out, &w, err));
    file_writer_abort(w);
    return LECO_OK;
}

char *layers_stem(const char *path)
{
    char *stem = file_stem(path);
    if (stem) utf8_tidy(stem, false);
    return stem;
}

leco_status layers_save(const trainable *t, const char *path, dtype type, const trainable_metadata *metadata,
                        leco_error *err)
{
    char date[DATE_ROOM];
    trainable_metadata own = *metadata;
    LECO_TRY(date_now(date, err));
    own.date = date;
    char *stem = layers_stem(path);
    if (!stem) return error_memory(err, strlen(path), "a name");
    own.output_name = stem;
    leco_status status = trainable_save(t, path, type, &own, err);
    mem_free(stem);
    return status;
}

static double share(double lost, double all, size_t layers)
{
    return layers == 0 ? NAN : all > 0 ? sqrt(lost / all) : 0;
}

leco_status layers_report(const thin_report *from, double seconds, leco_merge_report *to, leco_error *err)
{
    const size_t images = from->layers[PART_UNET];
    const size_t texts = from->layers[PART_TEXT_ENCODER] + from->layers[PART_TEXT_ENCODER_2];
    leco_merge_report made = {
        .layers_unet = images,
        .layers_text_encoder = texts,
        .rank = from->rank,
        .lost_unet = share(from->lost[PART_UNET], from->square[PART_UNET], images),
        .lost_text_encoder = share(from->lost[PART_TEXT_ENCODER] + from->lost[PART_TEXT_ENCODER_2],
                                   from->square[PART_TEXT_ENCODER] + from->square[PART_TEXT_ENCODER_2], texts),
        .most_lost = from->most_lost,
        .others = from->others,
        .seconds = seconds,
    };
    if (from->most_lost_layer) {
        made.most_lost_layer = mem_strdup(from->most_lost_layer->path);
        if (!made.most_lost_layer) return error_memory(err, 0, "a report");
    }
    *to = made;
    return LECO_OK;
}
