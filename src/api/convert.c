#include <math.h>
#include <string.h>

#include "api/layers.h"
#include "api/locale.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "model/model_write.h"

typedef struct converting {
    const leco_convert_options *options;
    double begun;
} converting;

static bool report(void *user, int64_t done, int64_t total)
{
    const converting *c = user;
    const double seconds = cpu_seconds() - c->begun;
    const leco_progress p = {.what = "converting",
                             .done = done,
                             .total = total,
                             .seconds = seconds,
                             .seconds_left = seconds / (double)done * (double)(total - done),
                             .loss = NAN};
    return !c->options->progress || c->options->progress(c->options->user, &p);
}

static leco_status convert(model *m, const char *out, const leco_convert_options *o, leco_error *err)
{
    const bool file = file_ends_in(out, ".safetensors");
    converting c = {o, cpu_seconds()};
    model_writing how = {.type = DTYPE_COUNT, .report = report, .user = &c};
    if (o->precision) LECO_TRY(layers_precision(o->precision, &how.type, err));
    if (file_ends_in(out, ".ckpt") || file_ends_in(out, ".pt"))
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: leco writes no pickles, which can run code: call it something.safetensors", out);
    if (o->vae) LECO_TRY(model_take_vae(m, o->vae, err));
    const char *const sources[] = {m->folder};
    if (file)
        LECO_TRY(layers_check_output(out, sources, 1, err));
    else if (!m->file)
        LECO_TRY(folder_refuse_inside(m->folder, out, err));
    LECO_TRY(model_map(m, MODEL_ALL, err));
    return file ? model_write_file(m, out, &how, err) : model_write_folder(m, out, &how, err);
}

leco_status leco_convert(const char *model_path, const char *out, const leco_convert_options *options, leco_error *err)
{
    IN_C_LOCALE;
    const leco_convert_options defaults = {0};
    model *m;
    if (!model_path || !*model_path) return error_set(err, LECO_INVALID, "no model given");
    if (!out || !*out) return error_set(err, LECO_INVALID, "no file or folder to write to given");
    LECO_TRY(model_open(model_path, &m, err));
    leco_status status = convert(m, out, options ? options : &defaults, err);
    model_close(m);
    return status;
}
