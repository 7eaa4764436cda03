#include "model/adapter_open.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/tensors.h"
#include "model/adapter_config.h"
#include "model/adapter_keys.h"

/* ---- names ---- */

typedef struct renaming {
    const char *from, *to;
} renaming;

/* Of the whole name. The longer of two that fit stands first. */
static const renaming beginnings[] = {
    {"base_model.model.unet.", "lora_unet_"},
    {"base_model.model.text_encoder.", "lora_te_"},
    {"base_model.model.", ""},                /* and what follows decides */
    {"unet.base_model.model.", "lora_unet_"}, /* PEFT's state under diffusers' name of the part */
    {"text_encoder.base_model.model.", "lora_te_"},
    {"text_encoder_2.base_model.model.", "lora_te2_"},
    {"unet.", "lora_unet_"},
    {"text_encoder.", "lora_te_"},
    {"text_encoder_2.", "lora_te2_"},
    {"diffusion_model.", "lora_unet_"}, /* ComfyUI's own, over the original checkpoint's names */
    {"text_encoders.clip_l.transformer.", "lora_te_"},
    {"text_encoders.clip_h.transformer.", "lora_te_"},
    {"text_encoders.clip_g.transformer.", "lora_te2_"},
    {NULL, NULL},
};

/* Of names that begin with a module of ours. */
static const renaming modules[] = {
    {"down_blocks.", "lora_unet_"},   {"mid_block.", "lora_unet_"}, {"up_blocks.", "lora_unet_"},
    {"conv_in.", "lora_unet_"},       {"conv_out.", "lora_unet_"},  {"time_embedding.", "lora_unet_"},
    {"add_embedding.", "lora_unet_"}, {"text_model.", "lora_te_"},  {NULL, NULL},
};

/* Behind "lycoris_", which LyCORIS writes before layers of a model that it knows nothing of; and who wrote that and
 * knows says so. */
static const renaming lycoris_modules[] = {
    {"unet_", "lora_unet_"},
    {"down_blocks_", "lora_unet_down_blocks_"},
    {"mid_block_", "lora_unet_mid_block_"},
    {"up_blocks_", "lora_unet_up_blocks_"},
    {"conv_", "lora_unet_conv_"},
    {"time_embed", "lora_unet_time_embed"}, /* ..ding_linear_1, or the original time_embed_0 */
    {"add_embedding_", "lora_unet_add_embedding_"},
    {"input_blocks_", "lora_unet_input_blocks_"},
    {"middle_block_", "lora_unet_middle_block_"},
    {"output_blocks_", "lora_unet_output_blocks_"},
    {"label_emb_", "lora_unet_label_emb_"},
    {"out_", "lora_unet_out_"},
    {"text_model_", "lora_te_text_model_"},
    {NULL, NULL},
};

static const renaming ends[] = {
    {".lora_A.weight", ".lora_down.weight"},
    {".lora_B.weight", ".lora_up.weight"},
    {".lora_magnitude_vector.weight", ".dora_scale"},
    {".lora_magnitude_vector", ".dora_scale"},
    {".lora_linear_layer.down.weight", ".lora_down.weight"},
    {".lora_linear_layer.up.weight", ".lora_up.weight"},
    {".lora.down.weight", ".lora_down.weight"},
    {".lora.up.weight", ".lora_up.weight"},
    {"_lora.down.weight", ".lora_down.weight"},
    {"_lora.up.weight", ".lora_up.weight"},
    {".lora_down.weight", ".lora_down.weight"},
    {".lora_up.weight", ".lora_up.weight"},
    {".dora_scale", ".dora_scale"},
    {".oft_R.default.weight", ".oft_R.weight"},
    {".oft_R.weight", ".oft_R.weight"},
    {".oft_r.default", ".oft_r"},
    {".oft_s.default", ".oft_s"},
    {".oft_r", ".oft_r"},
    {".oft_s", ".oft_s"},
    {".boft_R.default", ".boft_R"},
    {".boft_s.default", ".boft_s"},
    {".boft_R", ".boft_R"},
    {".boft_s", ".boft_s"},
    {".alpha", ".alpha"},
    {".diff", ".diff"},
    {".diff_b", ".diff_b"},
    {NULL, NULL},
};

/* What stands behind any program's path of a layer as it does behind kohya's. */
static const char *const same_ends[] = {
    ".lora_mid.weight", ".diff",    ".diff_b",    ".w_norm",    ".b_norm",    ".hada_w1_a", ".hada_w1_b",  ".hada_w2_a",
    ".hada_w2_b",       ".hada_t1", ".hada_t2",   ".lokr_w1",   ".lokr_w1_a", ".lokr_w1_b", ".lokr_w2",    ".lokr_w2_a",
    ".lokr_w2_b",       ".lokr_t2", ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight", ".oft_blocks", ".rescale",
};

/* How a tensor's name ends: the suffix, and what that is with kohya. */
typedef struct ending {
    size_t length;
    const char *from, *to; /* `to` is NULL where it is none of these */
} ending;

static const renaming *beginning_of(const renaming *rows, const char *name)
{
    for (; rows->from; rows++)
        if (strncmp(name, rows->from, strlen(rows->from)) == 0) return rows;
    return NULL;
}

/* PEFT's matrices of an adapter that has a name: ".lora_A.NAME.weight". */
static ending named_end(const char *name, size_t length)
{
    static const renaming parts[] = {
        {".lora_A.", ".lora_down.weight"}, {".lora_B.", ".lora_up.weight"}, {".lora_magnitude_vector.", ".dora_scale"}};
    static const char tail[] = ".weight";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *at = strstr(name, parts[i].from), *of = at ? at + strlen(parts[i].from) : NULL;
        const char *end = of ? strchr(of, '.') : NULL;
        if (at && at > name && end && end > of && strcmp(end, tail) == 0)
            return (ending){length - (size_t)(at - name), at, parts[i].to};
    }
    return (ending){0};
}

static ending end_of(const char *name)
{
    const size_t length = strlen(name);
    for (const renaming *row = ends; row->from; row++) {
        const size_t end = strlen(row->from);
        if (length > end && strcmp(name + length - end, row->from) == 0) return (ending){end, row->from, row->to};
    }
    for (size_t i = 0; i < sizeof same_ends / sizeof *same_ends; i++) {
        const size_t end = strlen(same_ends[i]);
        if (length > end && strcmp(name + length - end, same_ends[i]) == 0)
            return (ending){end, same_ends[i], same_ends[i]};
    }
    return named_end(name, length);
}

/* Takes a part out of the path where it is. */
static void cut(char *path, const char *part)
{
    char *at = strstr(path, part);
    if (at) memmove(at, at + strlen(part), strlen(at + strlen(part)) + 1);
}

/* Old diffusers' "to_q", "to_out" at the path's end, which is cut off: what the layer is called, with what joins it. */
static const char *attention_layer(char *path, bool in_unet)
{
    static const char *const layers[][3] = {{".to_q", "_to_q", "_q_proj"},
                                            {".to_k", "_to_k", "_k_proj"},
                                            {".to_v", "_to_v", "_v_proj"},
                                            {".to_out", "_to_out_0", "_out_proj"}};
    const size_t length = strlen(path);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const size_t end = strlen(layers[i][0]);
        if (length <= end || strcmp(path + length - end, layers[i][0]) != 0) continue;
        path[length - end] = '\0';
        return layers[i][in_unet ? 1 : 2];
    }
    return "";
}

/* ---- kohya's name ---- */

/* A name that is kohya's but for blocks of original checkpoints, under theirs; takes it. */
static leco_status with_known_blocks(char *name, char **out, leco_error *err)
{
    char *original = NULL;
    leco_status status = name ? adapter_name_of_original(name, &original, err) : error_memory(err, 0, "a LoRA's keys");
    *out = original ? original : name;
    if (original || status != LECO_OK) mem_free(name);
    if (status != LECO_OK) *out = NULL;
    return status;
}

/* Of a path with points: kohya's name, behind `prefix`. */
static leco_status name_of_path(const char *prefix, const char *rest, ending end, char **out, leco_error *err)
{
    char *path = mem_strndup(rest, strlen(rest) - end.length);
    if (!path) return error_memory(err, strlen(rest), "the keys of a LoRA");
    cut(path, ".processor"); /* of attention, in old diffusers: "attn1.processor.to_q_lora" */
    const char *layer = end.from[0] == '_' ? attention_layer(path, strcmp(prefix, "lora_unet_") == 0) : "";
    for (char *p = path; *p; p++)
        if (*p == '.') *p = '_';
    char *name = mem_printf("%s%s%s%s", prefix, path, layer, end.to);
    mem_free(path);
    return with_known_blocks(name, out, err);
}

static leco_status name_of(const char *name, char **out, leco_error *err)
{
    static const char of_unet[] = "lora_unet_", of_oft[] = "oft_unet_", of_lycoris[] = "lycoris_";
    if (strncmp(name, of_unet, sizeof of_unet - 1) == 0) return adapter_name_of_original(name, out, err);
    if (strncmp(name, of_oft, sizeof of_oft - 1) == 0) /* kohya's networks.oft */
        return with_known_blocks(mem_printf("%s%s", of_unet, name + sizeof of_oft - 1), out, err);
    const char *prefix = "", *rest = name;
    if (strncmp(name, of_lycoris, sizeof of_lycoris - 1) == 0) {
        rest += sizeof of_lycoris - 1;
        const renaming *module = beginning_of(lycoris_modules, rest);
        if (!module) return LECO_OK;
        return with_known_blocks(mem_printf("%s%s", module->to, rest + strlen(module->from)), out, err);
    }
    const renaming *begin = beginning_of(beginnings, name);
    const ending end = end_of(name);
    if (begin) {
        prefix = begin->to;
        rest += strlen(begin->from);
    }
    if (!*prefix) { /* the module itself says whose it is */
        const renaming *module = beginning_of(modules, rest);
        if (!module) return LECO_OK;
        prefix = module->to;
    }
    return end.to && strlen(rest) > end.length ? name_of_path(prefix, rest, end, out, err) : LECO_OK;
}

leco_status adapter_kohya_name(const char *name, char **out, leco_error *err)
{
    static const char wrapper[] = "module."; /* DistributedDataParallel's */
    layer_info layer;
    *out = NULL;
    if (strncmp(name, wrapper, sizeof wrapper - 1) != 0) return name_of(name, out, err);
    name += sizeof wrapper - 1;
    LECO_TRY(name_of(name, out, err));
    if (*out || !adapter_path(name, &layer)) return LECO_OK;
    *out = mem_strdup(name);
    return *out ? LECO_OK : error_memory(err, strlen(name), "the keys of a LoRA");
}

/* ---- alphas ---- */

/* What diffusers' metadata say of a part's alphas: {"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 4}}; or
 * PEFT's config, of all of them. */
typedef struct told_alphas {
    const char *path; /* of the file that says it */
    const json_t *root;
    const char *key;    /* before its keys: "unet." */
    const char *prefix; /* before the names of tensors */
} told_alphas;

static const json_t *told(const told_alphas *t, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "%s%s", t->key, name);
    return json_object_get(t->root, key);
}

/* The first pattern that fits counts, as in PEFT: the module's path, or its end from a point on. What a regular
 * expression may say besides is refused. */
static leco_status alpha_by_pattern(const told_alphas *t, const char *path, size_t length, double *out, leco_error *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.";
    const char *pattern;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)told(t, "alpha_pattern"), pattern, value) {
        const size_t end = strlen(pattern);
        if (strspn(pattern, plain) != end)
            return error_set(
                err, LECO_UNSUPPORTED,
                "%s: alphas are given by the pattern \"%.80s\" (%salpha_pattern): leco reads paths of modules and "
                "their ends",
                t->path, pattern, t->key);
        const bool fits = end <= length && strncmp(path + length - end, pattern, end) == 0;
        if (!fits || !json_is_number(value) || (end < length && path[length - end - 1] != '.')) continue;
        *out = json_number_value(value);
        return LECO_OK;
    }
    return LECO_OK;
}

/* The alpha of a module whose rank is told by its lora_down: as the scale that PEFT gives it. NaN: it isn't told. */
static leco_status alpha_of(const told_alphas *t, const char *path, size_t length, const safetensors_entry *down,
                            double *out, leco_error *err)
{
    const json_t *all = told(t, "lora_alpha");
    *out = json_is_number(all) ? json_number_value(all) : (double)NAN;
    LECO_TRY(alpha_by_pattern(t, path, length, out, err));
    const double rank = down->rank > 0 ? (double)down->shape[0] : 1;
    if (json_is_true(told(t, "use_rslora"))) *out *= sqrt(rank); /* alpha / sqrt(rank) */
    return LECO_OK;
}

/* The alpha that goes with a tensor: *name is NULL where none does; else mem_free it. */
static leco_status alpha_for(const told_alphas *parts, size_t count, const safetensors_entry *e, char **name,
                             double *value, leco_error *err)
{
    static const char down[] = ".lora_down.weight";
    char *kohya;
    *name = NULL;
    *value = NAN;
    LECO_TRY(adapter_kohya_name(e->name, &kohya, err));
    const size_t length = kohya ? strlen(kohya) : 0, tail = sizeof down - 1;
    const ending end = end_of(e->name);
    leco_status status = LECO_OK;
    if (end.to && length > tail && strcmp(kohya + length - tail, down) == 0)
        for (size_t i = 0; i < count && status == LECO_OK; i++) {
            const size_t begin = strlen(parts[i].prefix), rest = end.length;
            if (strncmp(e->name, parts[i].prefix, begin) != 0) continue;
            status = alpha_of(&parts[i], e->name + begin, strlen(e->name) - begin - rest, e, value, err);
        }
    if (status == LECO_OK && isfinite(*value)) {
        *name = mem_printf("%.*s.alpha", (int)(length - tail), kohya);
        if (!*name) status = error_memory(err, length, "the alphas of a LoRA");
    }
    mem_free(kohya);
    return status;
}

static leco_status add_alphas(safetensors *file, const told_alphas *parts, size_t part_count, leco_error *err)
{
    const size_t count = safetensors_count(file);
    safetensors_number_to_add *all = mem_calloc(count, sizeof *all);
    size_t made = 0;
    leco_status status = all ? LECO_OK : error_memory(err, count * sizeof *all, "the alphas of a LoRA");
    for (size_t i = 0; i < count && status == LECO_OK; i++) {
        char *name;
        double value;
        status = alpha_for(parts, part_count, safetensors_at(file, i), &name, &value, err);
        if (status == LECO_OK && name) all[made++] = (safetensors_number_to_add){name, value};
    }
    if (status == LECO_OK && made > 0) status = safetensors_add_numbers(file, all, made, err);
    for (size_t i = 0; i < made; i++) mem_free((char *)(uintptr_t)all[i].name);
    mem_free(all);
    return status;
}

static leco_status read_metadata(safetensors *file, leco_error *err)
{
    static const char key[] = "lora_adapter_metadata";
    const char *text = safetensors_metadata(file, key);
    json_error_t problem;
    if (!text) return LECO_OK;
    json_t *root = json_parse(text, strlen(text), 0, &problem);
    if (!root && json_lacks_memory(&problem)) return error_memory(err, strlen(text), safetensors_path(file));
    const char *path = safetensors_path(file);
    const told_alphas parts[] = {{path, root, "unet.", "unet."},
                                 {path, root, "text_encoder.", "text_encoder."},
                                 {path, root, "text_encoder_2.", "text_encoder_2."}};
    leco_status status = json_is_object(root) ? add_alphas(file, parts, 3, err) : LECO_OK;
    json_decref(root);
    return status;
}

/* PEFT's files say nothing of it themselves. */
static leco_status read_config(safetensors *file, leco_error *err)
{
    static const char of_peft[] = "base_model.model.";
    bool any = false;
    char *path;
    json_t *root;
    for (size_t i = 0; i < safetensors_count(file) && !any; i++)
        any = strncmp(safetensors_at(file, i)->name, of_peft, sizeof of_peft - 1) == 0;
    if (!any) return LECO_OK;
    LECO_TRY(adapter_config_read(safetensors_path(file), &path, &root, err));
    if (!root) return LECO_OK;
    const told_alphas all = {path, root, "", of_peft};
    leco_status status = add_alphas(file, &all, 1, err);
    json_decref(root);
    mem_free(path);
    return status;
}

/* ---- opening ---- */

static leco_status rename_all(safetensors *file, leco_error *err)
{
    size_t renamed = 0;
    LECO_TRY(read_metadata(file, err)); /* which tell of the names that there are */
    LECO_TRY(read_config(file, err));
    LECO_TRY(adapter_turn_magnitudes(file, err));
    LECO_TRY(safetensors_rename(file, adapter_kohya_name, &renamed, err));
    if (renamed > 0)
        log_message(LOG_DEBUG, "%s: %zu tensors have PEFT's or diffusers' names, and are called as kohya's are",
                    safetensors_path(file), renamed);
    return LECO_OK;
}

leco_status adapter_open(const char *path, safetensors **out, leco_error *err)
{
    char *found;
    *out = NULL;
    LECO_TRY(adapter_find(path, &found, err));
    leco_status status = tensors_open(found, out, err);
    mem_free(found);
    LECO_TRY(status);
    status = rename_all(*out, err);
    if (status == LECO_OK) status = safetensors_widen(*out, err);
    if (status == LECO_OK) status = adapter_fold(*out, err);
    if (status == LECO_OK) status = adapter_fold_doras(*out, err);
    if (status == LECO_OK) return LECO_OK;
    safetensors_close(*out);
    *out = NULL;
    return status;
}
