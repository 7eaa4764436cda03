/* PEFT's OFT and BOFT: rotations of what goes into a layer (of what comes out, before PEFT 0.14), whose outputs may be
 * scaled besides. What the tensors don't say is in diffusers' metadata, or in PEFT's adapter_config.json beside the
 * file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/json.h"
#include "model/adapter_config.h"
#include "model/adapter_fold.h"

enum { MOST_TERMS = 64 };

/* ---- the options ---- */

static leco_status parse(folding *f, const char *text, leco_error *err)
{
    json_error_t problem;
    f->config = json_parse(text, strlen(text), 0, &problem);
    f->config_path = mem_strdup(safetensors_path(f->file));
    if ((!f->config && json_lacks_memory(&problem)) || !f->config_path)
        return error_memory(err, strlen(text), safetensors_path(f->file));
    return LECO_OK;
}

/* Leaves f->config NULL where nobody says anything of an OFT. */
static leco_status find_config(folding *f)
{
    const char *text = safetensors_metadata(f->file, "lora_adapter_metadata");
    if (f->looked) return LECO_OK;
    LECO_TRY(text ? parse(f, text, f->err)
                  : adapter_config_read(safetensors_path(f->file), &f->config_path, &f->config, f->err));
    f->looked = true;
    if (json_is_object(f->config)) return LECO_OK;
    json_decref(f->config);
    f->config = NULL;
    return LECO_OK;
}

void fold_peft_end(folding *f)
{
    json_decref(f->config);
    mem_free(f->config_path);
}

/* The option's key in key[64]: where one file has several parts, diffusers puts their names before it. */
static const char *key_of(const folding *f, const safetensors_entry *e, const char *option, char key[64])
{
    static const char *const parts[][2] = {
        {"lora_te2_", "text_encoder_2."}, {"lora_te", "text_encoder."}, {"", "unet."}};
    size_t part = 0;
    while (strncmp(e->name, parts[part][0], strlen(parts[part][0])) != 0) part++;
    snprintf(key, 64, "%s%s", parts[part][1], option);
    return json_object_get(f->config, key) ? key : option;
}

/* What a config says of a module. */
typedef struct options {
    bool neumann, old_series, constrained, shared;
    int64_t terms, blocks;
    double eps;
} options;

static leco_status read_options(folding *f, const safetensors_entry *e, options *o)
{
    const json_t *from;
    const char *path, *version;
    char key[64];
    int major = 0, minor = 0;
    LECO_TRY(find_config(f));
    from = f->config, path = f->config_path;
    LECO_TRY(json_get_bool(from, path, key_of(f, e, "use_cayley_neumann", key), false, &o->neumann, f->err));
    LECO_TRY(
        json_get_int(from, path, key_of(f, e, "num_cayley_neumann_terms", key), 5, 0, MOST_TERMS, &o->terms, f->err));
    LECO_TRY(json_get_bool(from, path, key_of(f, e, "coft", key), false, &o->constrained, f->err));
    LECO_TRY(json_get_bool(from, path, key_of(f, e, "block_share", key), false, &o->shared, f->err));
    LECO_TRY(json_get_int(from, path, key_of(f, e, "r", key), 0, 0, INT32_MAX, &o->blocks, f->err));
    LECO_TRY(json_get_double(from, path, key_of(f, e, "eps", key), 6e-5, &o->eps, f->err));
    if (!(o->eps > 0)) return error_set(f->err, LECO_INVALID, "%s: key \"eps\": expected a number above 0", path);
    LECO_TRY(json_get_string(from, path, key_of(f, e, "peft_version", key), "", &version, f->err));
    /* 0.18 made the series' last term half as large, and was the first to say its version */
    o->old_series = sscanf(version, "%d.%d", &major, &minor) != 2 || (major == 0 && minor < 18);
    return LECO_OK;
}

/* ---- blocks ---- */

/* Blocks whose norm is larger than eps get that norm, as PEFT does before each use (COFT). */
static void constrain(float *q, size_t count, size_t side, double eps)
{
    for (size_t k = 0; k < count; k++) {
        float *block = q + k * side * side;
        double sum = 0;
        for (size_t i = 0; i < side * side; i++) sum += (double)block[i] * (double)block[i];
        for (size_t i = 0; i < side * side && sqrt(sum) > eps; i++) block[i] = (float)(block[i] * eps / sqrt(sum));
    }
}

/* One block for all: of how many, the config alone can say. */
static leco_status share(const folding *f, const safetensors_entry *e, const options *o, rotation *r)
{
    if (!o->shared || r->count != 1) return LECO_OK;
    if (o->blocks < 1)
        return error_set(f->err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\" is one block that an OFT of PEFT shares (block_share) with as many as its "
                         "layer has room for, which leco can't apply yet (only where the config says their number, r)",
                         safetensors_path(f->file), e->name);
    r->count = (size_t)o->blocks;
    r->shared = true;
    return LECO_OK;
}

/* The side of a skew matrix that has so many values above its diagonal; 0: there is none. */
static size_t side_of(int64_t values)
{
    size_t side = 2;
    while ((int64_t)(side * (side - 1) / 2) < values && side < 65536) side++;
    return (int64_t)(side * (side - 1) / 2) == values ? side : 0;
}

/* ---- PEFT since 0.16: oft_R.weight [count, side (side - 1) / 2], the values above the diagonals ---- */

static leco_status read_upper(const folding *f, const safetensors_entry *e, size_t side, float **out)
{
    const size_t count = (size_t)e->shape[0];
    float *values;
    const float *next;
    LECO_TRY(fold_values_of(f, e, &values));
    *out = mem_calloc(count * side * side, sizeof **out);
    next = values;
    for (size_t k = 0; *out && k < count; k++)
        for (size_t i = 0; i < side; i++)
            for (size_t j = i + 1; j < side; j++) (*out)[(k * side + i) * side + j] = *next++;
    mem_free(values);
    return *out ? LECO_OK : error_memory(f->err, count * side * side * sizeof **out, e->name);
}

/* What PEFT calls Cayley-Neumann turns the other way than its exact formula. */
static void set_formula(const options *o, rotation *r)
{
    const int terms = (int)o->terms;
    r->times = o->neumann ? -1 : 1;
    r->series = ROTATION_EXACT;
    if (!o->neumann) return;
    r->series = terms < 2 ? 0 : terms == 2 ? 1 : o->old_series ? terms - 1 : terms < 4 ? 2 : terms - 2;
    r->half = !o->old_series && terms > 2;
}

static leco_status fold_upper(folding *f, const safetensors_entry *e, size_t stem)
{
    const size_t side = e->rank == 2 && e->count ? side_of(e->shape[1]) : 0;
    char key[64];
    options o;
    float *q;
    if (side == 0) return fold_wrong(f, e, "values [count,side (side - 1) / 2] above the diagonals of square blocks");
    const int64_t width = e->shape[0] * (int64_t)side;
    LECO_TRY(fold_check_size(f, e, (const int64_t[]){width, width}, 2));
    LECO_TRY(read_options(f, e, &o));
    if (!json_is_boolean(json_object_get(f->config, key_of(f, e, "use_cayley_neumann", key))))
        return error_set(f->err, LECO_UNSUPPORTED,
                         "%s: tensor \"%s\" is of an OFT of PEFT, and which way it turns is told by use_cayley_neumann "
                         "in PEFT's adapter_config.json, which was expected in the same folder",
                         safetensors_path(f->file), e->name);
    LECO_TRY(read_upper(f, e, side, &q));
    rotation r = {.stages = 1, .count = (size_t)e->shape[0], .side = side};
    set_formula(&o, &r); /* the norm is that of the skew matrix, sqrt(2) times that of its half */
    if (o.constrained) constrain(q, r.count, side, o.eps / sqrt(2 * (double)r.count));
    r.q = q;
    leco_status status = share(f, e, &o, &r);
    if (status == LECO_OK) status = fold_rotation(f, e, stem, &r, NULL, ".oft_in_change");
    mem_free(q);
    return status == LECO_OK ? fold_take_away(f, e->name, stem, ".oft_R.weight") : status;
}

/* ---- before: oft_r [count,side,side], since 0.14 with oft_s [out,1]; BOFT: boft_R [stages,count,side,side] with
 * boft_s, of a convolution [1,out] ---- */

static leco_status add_scale(folding *f, const safetensors_entry *scale, size_t stem, const char *suffix)
{
    const int64_t shape[] = {(int64_t)scale->count};
    float *values, *copy;
    LECO_TRY(fold_values_of(f, scale, &values));
    leco_status status = fold_make_room(f, scale, shape, 1, &copy);
    for (size_t i = 0; status == LECO_OK && i < scale->count; i++) copy[i] = values[i] - 1;
    mem_free(values);
    if (status == LECO_OK) status = fold_add(f, scale->name, stem, ".oft_in_scale", 1, shape, copy);
    return status == LECO_OK ? fold_take_away(f, scale->name, stem, suffix) : status;
}

/* In these versions eps was of an element of a block, as wide as outputs would make it. */
static double old_eps(const options *o, const rotation *r, const safetensors_entry *scale)
{
    const double blocks = o->shared && o->blocks > 0 ? (double)o->blocks : (double)r->count;
    const double side = scale ? ceil((double)scale->count / blocks) : (double)r->side;
    return o->eps * side * side;
}

static leco_status fold_squares(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *scale = fold_beside(f, e->name, stem, ".oft_s");
    options o;
    float *q;
    if (e->rank != 3 || e->count == 0 || e->shape[1] != e->shape[2] || e->shape[0] > INT32_MAX)
        return fold_wrong(f, e, "square blocks [count,side,side]");
    LECO_TRY(read_options(f, e, &o));
    LECO_TRY(fold_values_of(f, e, &q));
    rotation r = {
        .stages = 1, .count = (size_t)e->shape[0], .side = (size_t)e->shape[1], .times = 0.5, .series = ROTATION_EXACT};
    if (o.constrained) constrain(q, r.count, r.side, old_eps(&o, &r, scale) / sqrt((double)r.count));
    r.q = q;
    leco_status status = share(f, e, &o, &r);
    if (status == LECO_OK) status = fold_rotation(f, e, stem, &r, NULL, scale ? ".oft_in_change" : ".oft_change");
    mem_free(q);
    LECO_TRY(status);
    if (scale) LECO_TRY(add_scale(f, scale, stem, ".oft_s"));
    return fold_take_away(f, e->name, stem, ".oft_r");
}

static leco_status fold_butterfly(folding *f, const safetensors_entry *e, size_t stem)
{
    const safetensors_entry *scale = fold_beside(f, e->name, stem, ".boft_s");
    float *q;
    if (e->rank != 4 || e->count == 0 || e->shape[2] != e->shape[3] || e->shape[1] > INT32_MAX ||
        e->shape[2] > INT32_MAX)
        return fold_wrong(f, e, "square blocks [stages,count,side,side]");
    if (!scale) return fold_wrong(f, e, "a .boft_s beside it");
    rotation r = {.stages = (size_t)e->shape[0],
                  .count = (size_t)e->shape[1],
                  .side = (size_t)e->shape[2],
                  .times = 0.5,
                  .series = ROTATION_EXACT,
                  .order = ROTATION_HALVES,
                  .last_first = true};
    if (!rotation_fits(&r)) return fold_wrong(f, e, "blocks that so many stages of a BOFT can be made of");
    LECO_TRY(fold_values_of(f, e, &q));
    r.q = q;
    leco_status status = fold_rotation(f, e, stem, &r, NULL, ".oft_in_change");
    mem_free(q);
    LECO_TRY(status);
    LECO_TRY(add_scale(f, scale, stem, ".boft_s"));
    return fold_take_away(f, e->name, stem, ".boft_R");
}

leco_status fold_peft(folding *f, const safetensors_entry *e, size_t stem)
{
    const char *suffix = e->name + stem;
    if (strcmp(suffix, ".oft_R.weight") == 0) return fold_upper(f, e, stem);
    if (strcmp(suffix, ".oft_r") == 0) return fold_squares(f, e, stem);
    if (strcmp(suffix, ".boft_R") == 0) return fold_butterfly(f, e, stem);
    return LECO_OK;
}
