#include "model/model.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/json.h"
#include "format/tensors.h"
#include "model/checkpoint.h"
#include "model/config_json.h"
#include "model/family.h"
#include "model/model_file.h"
#include "model/model_place.h"
#include "model/part.h"

#define INDEX "model_index.json"

/* ---- opening ---- */

/* The keys of model_index.json of StableDiffusionPipeline and StableDiffusionXLPipeline. Each part's own config says
 * what it is. */
static const config_key index_keys[] = {
    {"vae", NULL},
    {"text_encoder", NULL},
    {"text_encoder_2", NULL},
    {"tokenizer", NULL},
    {"tokenizer_2", NULL},
    {"unet", NULL},
    {"scheduler", NULL},
    {"force_zeros_for_empty_prompt", NULL},
    /* not needed to draw from a prompt */
    {"safety_checker", NULL},
    {"requires_safety_checker", NULL},
    {"feature_extractor", NULL},
    {"image_encoder", NULL},
    {"controlnet", NULL},
    {"requires_aesthetics_score", NULL},
    {"add_watermarker", NULL},
    {NULL, NULL},
};

/* Is a part named there? It is a pair of a library and a class: [null, null] says that it lacks. */
static bool index_has(const json_t *root, const char *part)
{
    const json_t *value = json_object_get(root, part);
    return json_is_array(value) && !json_is_null(json_array_get(value, 1));
}

/* Pipelines of other families, whatever else their folders hold: beginnings of their classes' names. */
static bool is_other_family(const char *name)
{
    static const char *const others[] = {"StableDiffusion3", "Flux",          "Kolors",
                                         "AltDiffusion",     "StableCascade", "StableVideo",
                                         "Wuerstchen",       "StableUnCLIP",  "StableDiffusionLDM3D"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0) return true;
    return false;
}

/* The class of a pipeline of somebody's own comes with the name of its file: ["pipeline", "MyPipeline"]. */
static leco_status class_of(const json_t *root, const char *path, const char **name, leco_error *err)
{
    const json_t *own = json_array_get(json_object_get(root, "_class_name"), 1);
    *name = json_string_value(own);
    return *name ? LECO_OK : json_get_string(root, path, "_class_name", "StableDiffusionPipeline", name, err);
}

/* Pipelines that start from a picture, paint into one, or are steered have the same parts, and so may anybody's own:
 * what the parts are is in their configs, which refuse what they can't be. */
static leco_status check_class(const json_t *root, const char *path, const char *name, leco_error *err)
{
    if (strcmp(name, "StableDiffusionPipeline") == 0 || strcmp(name, "StableDiffusionXLPipeline") == 0) return LECO_OK;
    if (json_is_true(json_object_get(root, "requires_aesthetics_score")) ||
        (index_has(root, "text_encoder_2") && !index_has(root, "text_encoder")))
        return error_set(err, LECO_UNSUPPORTED, "%s: is Stable Diffusion XL's refiner, which leco doesn't support",
                         path);
    if (is_other_family(name) || !index_has(root, "unet") || !index_has(root, "text_encoder"))
        return config_refuse(json_object_get(root, "_class_name"), path, "_class_name",
                             "StableDiffusionPipeline and StableDiffusionXLPipeline", err);
    log_message(LOG_WARNING, "%s: key \"_class_name\": a %.100s is taken for the text-to-image model of its parts",
                path, name);
    return LECO_OK;
}

static leco_status check_index(const json_t *root, const char *path, void *opened, leco_error *err)
{
    model *m = opened;
    const char *name;
    LECO_TRY(class_of(root, path, &name, err));
    if (strncmp(name, "Flax", 4) == 0) name += 4;
    LECO_TRY(check_class(root, path, name, err));
    const json_t *second = json_object_get(root, "text_encoder_2");
    if (strcmp(name, "StableDiffusionPipeline") == 0 && second && !json_is_null(json_array_get(second, 0)))
        return error_set(err, LECO_UNSUPPORTED, "%s: key \"text_encoder_2\": a StableDiffusionPipeline has one", path);
    if (strcmp(name, "StableDiffusionXLPipeline") == 0) /* no other class has the key */
        LECO_TRY(json_get_bool(root, path, "force_zeros_for_empty_prompt", true, &m->zeros_for_none, err));
    return config_check(root, path, index_keys, CONFIG_WARN_OF_UNKNOWN, err);
}

/* A folder without model_index.json, at `index`: perhaps that of one part. */
static leco_status refuse_folder(const char *folder, const char *index, leco_error *err)
{
    char *parent = file_folder_of(folder), *other = parent ? file_join(parent, INDEX) : NULL;
    leco_status status =
        !other ? error_memory(err, strlen(folder), "a path")
        : file_exists(other) && strcmp(parent, folder) != 0
            ? error_set(err, LECO_INVALID, "%s: has no " INDEX ": it is one part of a model; give the whole, %s",
                        folder, parent)
            : error_set(err, LECO_IO, "%s: no such file: a model's folder, as diffusers writes it, has one", index);
    mem_free(parent);
    mem_free(other);
    return status;
}

static leco_status read_index(model *m, leco_error *err)
{
    char *index = file_join(m->folder, INDEX);
    if (!index) return error_memory(err, strlen(m->folder), "a path");
    leco_status status = file_exists(index) || file_is_dangling(index)
                             ? config_read(m->folder, INDEX, check_index, m, err)
                             : refuse_folder(m->folder, index, err);
    mem_free(index);
    return status;
}

static leco_status check_text(const model *m, const text_part *t, leco_error *err)
{
    const char *what = part_rows[t->part].name;
    if (!t->tokenizer) return LECO_OK;
    if ((int64_t)tokenizer_vocabulary(t->tokenizer) > t->config->vocab_size)
        return error_set(err, LECO_INVALID, "%s: the tokenizer has %zu tokens, the %s %lld", m->folder,
                         tokenizer_vocabulary(t->tokenizer), what, (long long)t->config->vocab_size);
    if ((int64_t)tokenizer_length(t->tokenizer) > t->config->max_positions)
        return error_set(err, LECO_INVALID, "%s: the tokenizer makes %zu tokens, the %s takes %lld", m->folder,
                         tokenizer_length(t->tokenizer), what, (long long)t->config->max_positions);
    return LECO_OK;
}

/* What a U-Net with added conditions wants of the second text encoder. */
static leco_status check_pooled(const model *m, leco_error *err)
{
    const int64_t wanted = unet_pooled_width(&m->unet);
    const int64_t pooled = m->text_2.projection_dim ? m->text_2.projection_dim : m->text_2.hidden_size;
    if (pooled != wanted)
        return error_set(err, LECO_INVALID,
                         "%s: the second text encoder's pooled state has %lld numbers, the U-Net takes %lld", m->folder,
                         (long long)pooled, (long long)wanted);
    if (m->tokenizer && tokenizer_length(m->tokenizer) != tokenizer_length(m->tokenizer_2))
        return error_set(err, LECO_INVALID, "%s: one tokenizer makes %zu tokens, the other %zu", m->folder,
                         tokenizer_length(m->tokenizer), tokenizer_length(m->tokenizer_2));
    return LECO_OK;
}

/* The parts must fit each other: each config may be fine by itself and come from another model. */
static leco_status check_parts(const model *m, leco_error *err)
{
    const char *folder = m->folder;
    const int64_t width = model_text_width(m), wanted = unet_context_width(&m->unet);
    text_part text[MODEL_MOST_TEXTS];
    const size_t texts = model_texts(m, text);
    if (width != wanted)
        return error_set(err, LECO_INVALID,
                         "%s: the text encoder%s hidden_size %lld is not the U-Net's cross_attention_dim %lld", folder,
                         texts == 1 ? "'s" : "s' added", (long long)width, (long long)wanted);
    if (m->unet.in_channels != m->vae.latent_channels || m->unet.out_channels != m->vae.latent_channels)
        return error_set(
            err, LECO_UNSUPPORTED, "%s: the U-Net takes %lld channels and gives %lld, the VAE's latents have %lld%s",
            folder, (long long)m->unet.in_channels, (long long)m->unet.out_channels, (long long)m->vae.latent_channels,
            m->unet.in_channels == 2 * m->vae.latent_channels + 1
                ? ": it is a model for inpainting, which leco doesn't support"
                : "");
    for (size_t i = 0; i < texts; i++) LECO_TRY(check_text(m, &text[i], err));
    return texts == 1 ? LECO_OK : check_pooled(m, err);
}

static leco_status part_folder(const model *m, const char *name, char **out, leco_error *err)
{
    *out = file_join(m->folder, name);
    return *out ? LECO_OK : error_memory(err, strlen(name), "a path");
}

static leco_status read_schedule(model *m, leco_error *err)
{
    char *folder;
    LECO_TRY(part_folder(m, "scheduler", &folder, err));
    leco_status status = schedule_config_read(folder, &m->schedule, err);
    mem_free(folder);
    return status;
}

static leco_status read_tokenizer(model *m, const char *name, tokenizer **out, leco_error *err)
{
    char *folder;
    LECO_TRY(part_folder(m, name, &folder, err));
    leco_status status = tokenizer_open(folder, out, err);
    mem_free(folder);
    return status;
}

static leco_status read_part(model *m, model_part part, leco_error *err)
{
    char *folder;
    leco_status status = LECO_OK;
    LECO_TRY(part_folder(m, part_rows[part].name, &folder, err));
    if (part == PART_VAE && !file_exists(folder))
        checkpoint_lack_vae(m);
    else
        status = part_rows[part].read(folder, m, err);
    mem_free(folder);
    return status;
}

static leco_status read_folder(model *m, leco_error *err)
{
    LECO_TRY(read_index(m, err));
    LECO_TRY(read_schedule(m, err));
    LECO_TRY(read_tokenizer(m, "tokenizer", &m->tokenizer, err));
    for (int part = 0; part < PART_COUNT; part++) {
        if (part == PART_TEXT_ENCODER_2 && unet_pooled_width(&m->unet) == 0) continue;
        LECO_TRY(read_part(m, (model_part)part, err));
    }
    if (model_has(m, PART_TEXT_ENCODER_2)) LECO_TRY(read_tokenizer(m, "tokenizer_2", &m->tokenizer_2, err));
    m->prediction_told = true;
    return LECO_OK;
}

/* A checkpoint in one file. */
static leco_status read_file(model *m, leco_error *err)
{
    const leco_status status = file_exists(m->folder) ? tensors_open(m->folder, &m->file, err) : LECO_IO;
    if (status == LECO_MEMORY) return status;
    if (status != LECO_OK || !checkpoint_is(m->file)) return model_refuse_file(m->folder, err);
    LECO_TRY(checkpoint_read(m->file, m, err));
    LECO_TRY(checkpoint_tokenizer(m, &m->tokenizer, err));
    m->zeros_for_none = model_has(m, PART_TEXT_ENCODER_2);
    return model_has(m, PART_TEXT_ENCODER_2) ? tokenizer_open_clip("!", &m->tokenizer_2, err) : LECO_OK;
}

static leco_status read_all(model *m, leco_error *err)
{
    LECO_TRY(file_is_folder(m->folder) ? read_folder(m, err) : read_file(m, err));
    m->family = family_of(m);
    m->states = m->family->text;
    return check_parts(m, err);
}

leco_status model_open(const char *path, model **out, leco_error *err)
{
    *out = NULL;
    model *m = mem_calloc(1, sizeof *m);
    leco_status status = m ? model_find(path, &m->folder, err) : error_memory(err, sizeof *m, "a model");
    if (status == LECO_OK) status = read_all(m, err);
    if (status != LECO_OK) {
        model_close(m);
        return status;
    }
    log_message(LOG_DEBUG, "%s: family %s, predicts %s, U-Net of %lldx%lld latents", path, m->family->name,
                m->schedule.prediction == PREDICT_V ? "v" : "epsilon", (long long)m->unet.sample_width,
                (long long)m->unet.sample_height);
    *out = m;
    return LECO_OK;
}

leco_status model_predict(model *m, int v, const char *remedy, leco_error *err)
{
    schedule_config *s = &m->schedule;
    if (v >= 0) s->prediction = v ? PREDICT_V : PREDICT_EPSILON;
    if (m->prediction_told || !s->zero_terminal_snr || s->prediction == PREDICT_V) return LECO_OK;
    if (v < 0)
        return error_set(err, LECO_INVALID,
                         "%s: its tensor ztsnr marks zero terminal SNR, which only models that predict v have, but "
                         "nothing in it says what it predicts: %s",
                         m->folder, remedy);
    s->zero_terminal_snr = false; /* as ComfyUI, which heeds the marker beside v_pred alone */
    s->spacing = SPACING_LEADING;
    return LECO_OK;
}

leco_status model_add_token(model *m, const char *token, int64_t vectors, int32_t *first, leco_error *err)
{
    const int64_t next = m->text.vocab_size + m->added_vectors;
    if (!m->tokenizer) return error_set(err, LECO_INVALID, "%s has no tokenizer", m->folder);
    if (model_has(m, PART_TEXT_ENCODER_2) && m->text_2.vocab_size != m->text.vocab_size)
        return error_set(
            err, LECO_UNSUPPORTED,
            "%s: its text encoders' tables have %lld and %lld tokens: an embedding would need a number that both lack",
            m->folder, (long long)m->text.vocab_size, (long long)m->text_2.vocab_size);
    if (vectors < 1 || next + vectors > INT32_MAX)
        return error_set(err, LECO_INVALID, "an embedding of %lld vectors", (long long)vectors);
    *first = (int32_t)next;
    LECO_TRY(model_name_token(m, token, *first, vectors, err));
    m->added_vectors += vectors;
    return LECO_OK;
}

leco_status model_name_token(model *m, const char *token, int32_t first, int64_t vectors, leco_error *err)
{
    LECO_TRY(tokenizer_add(m->tokenizer, token, first, (int32_t)vectors, err));
    return m->tokenizer_2 ? tokenizer_add(m->tokenizer_2, token, first, (int32_t)vectors, err) : LECO_OK;
}

void model_close(model *m)
{
    if (!m) return;
    tokenizer_close(m->tokenizer);
    tokenizer_close(m->tokenizer_2);
    for (int part = 0; part < PART_COUNT; part++) weights_close(m->weights[part]);
    model_free_layers(m);
    safetensors_close(m->file);
    safetensors_close(m->vae_file);
    mem_free(m->vae_path);
    mem_free(m->folder);
    mem_free(m);
}

/* ---- loading ---- */

/* Builds the whole part once, small, so that each of its tensors is asked for. */
static leco_status ask_for_all(const model *m, weights *w, model_part part, leco_error *err)
{
    graph *g = graph_create(DTYPE_F32);
    if (!g) return error_memory(err, 0, "a graph");
    nn c;
    nn_init(&c, g, w, NULL, part);
    part_rows[part].build(&c, m);
    leco_status status = graph_finish(g, err);
    graph_destroy(g);
    if (status == LECO_OK) weights_warn_of_unused(w);
    return status;
}

static leco_status open_part(const model *m, model_part part, weights **out, leco_error *err)
{
    char *folder;
    if (part == PART_VAE && m->vae_path)
        return file_is_folder(m->vae_path) ? weights_open(m->vae_path, out, err)
                                           : weights_open_file(m->vae_path, out, err);
    if (part == PART_VAE && m->vae_file) return checkpoint_weights(m->vae_file, m, part, out, err);
    if (part == PART_VAE && m->lacks_vae)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: is a model without a VAE, which makes latents of pictures and pictures of latents; "
                         "--vae FILE, or pretrained_model.vae in a config, gives it one",
                         m->folder);
    if (m->file) return checkpoint_weights(m->file, m, part, out, err);
    LECO_TRY(part_folder(m, part_rows[part].name, &folder, err));
    leco_status status = weights_open(folder, out, err);
    mem_free(folder);
    return status;
}

static leco_status map_part(model *m, model_part part, leco_error *err)
{
    weights *w = NULL;
    LECO_TRY(open_part(m, part, &w, err));
    if (m->narrow && part != PART_VAE) weights_narrow(w);
    leco_status status = ask_for_all(m, w, part, err);
    if (status != LECO_OK) {
        weights_close(w);
        return status;
    }
    m->weights[part] = w;
    log_message(LOG_DEBUG, "%s/%s: %.1f MiB of weights mapped", m->folder, part_rows[part].name,
                (double)weights_mapped_bytes(w) / (1024.0 * 1024.0));
    return LECO_OK;
}

leco_status model_map(model *m, int parts, leco_error *err)
{
    for (int part = 0; part < PART_COUNT; part++)
        if ((parts & 1 << part) && !m->weights[part] && model_has(m, (model_part)part))
            LECO_TRY(map_part(m, (model_part)part, err));
    return LECO_OK;
}

leco_status model_load(model *m, int parts, leco_error *err)
{
    LECO_TRY(model_map(m, parts, err));
    for (int part = 0; part < PART_COUNT; part++) {
        if (!(parts & 1 << part) || m->checked[part] || !m->weights[part]) continue;
        LECO_TRY(weights_check_values(m->weights[part], err));
        m->checked[part] = true;
    }
    return LECO_OK;
}

leco_status model_unchanged(const model *m, leco_error *err)
{
    for (int i = 0; i < PART_COUNT; i++)
        if (m->weights[i]) LECO_TRY(weights_unchanged(m->weights[i], err));
    return LECO_OK;
}

void model_unload(model *m, model_part part)
{
    weights_close(m->weights[part]);
    m->weights[part] = NULL;
    m->checked[part] = false;
}

void model_unload_texts(model *m)
{
    model_unload(m, PART_TEXT_ENCODER);
    model_unload(m, PART_TEXT_ENCODER_2);
    tokenizer_close(m->tokenizer);
    tokenizer_close(m->tokenizer_2);
    m->tokenizer = m->tokenizer_2 = NULL;
}
