/* Describing models, tensors files and pictures: one JSON document each, which people get as indented lines. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/inspect.h"
#include "api/internal.h"
#include "api/locale.h"
#include "api/report.h"
#include "base/file.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/adapter_config.h"
#include "model/checkpoint.h"
#include "model/family.h"
#include "model/hub.h"
#include "model/model_place.h"
#include "model/part.h"

/* A folder as PEFT and diffusers save LoRAs in, and no model's. */
static bool is_lora_folder(const char *path, char **file)
{
    char *part = file_is_folder(path) ? file_join(path, part_rows[PART_UNET].name) : NULL;
    const bool other = !part || file_exists(part);
    mem_free(part);
    return !other && adapter_find(path, file, NULL) == LECO_OK;
}

/* ---- pictures ---- */

static leco_status inspect_picture(const char *path, json_t *o, leco_error *err)
{
    image picture;
    char *parameters;
    LECO_TRY(png_read(path, &picture, &parameters, err));
    json_object_set_new(o, "kind", json_string("picture"));
    json_object_set_new(o, "width", json_integer(picture.width));
    json_object_set_new(o, "height", json_integer(picture.height));
    json_object_set_new(o, "parameters", parameters ? json_string(parameters) : json_null());
    mem_free(parameters);
    image_free(&picture);
    return LECO_OK;
}

/* ---- models ---- */

static json_t *levels_json(const unet_config *u)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < u->level_count; i++) {
        const unet_level *l = &u->level[i];
        json_array_append_new(list, json_pack("{s:I, s:I, s:I, s:I, s:b}", "channels", l->channels, "layers", l->layers,
                                              "heads", l->heads, "transformer_layers", l->transformer_layers,
                                              "attention", (int)(l->down_attention || l->up_attention)));
    }
    return list;
}

static leco_status open_weights(const model *m, model_part part, weights **out, leco_error *err)
{
    if (m->file) return checkpoint_weights(m->file, m, part, out, err);
    char *folder = file_join(m->folder, part_rows[part].name);
    if (!folder) return error_memory(err, strlen(m->folder), "a path");
    leco_status status = weights_open(folder, out, err);
    mem_free(folder);
    return status;
}

/* Adds what a part's weights are: parameters, dtype. */
static leco_status add_weights(const model *m, model_part part, json_t *o, leco_error *err)
{
    weights *w;
    LECO_TRY(open_weights(m, part, &w, err));
    json_object_set_new(o, "parameters", json_integer(weights_parameters(w)));
    if (weights_main_type(w)) json_object_set_new(o, "dtype", json_string(weights_main_type(w)));
    weights_close(w);
    return LECO_OK;
}

static json_t *unet_json(const model *m)
{
    const unet_config *u = &m->unet;
    json_t *size = u->sample_height == u->sample_width ? json_integer(u->sample_height)
                                                       : json_pack("[I, I]", u->sample_height, u->sample_width);
    return json_pack("{s:o, s:I, s:I, s:b, s:o}", "sample_size", size, "context_width", unet_context_width(u),
                     "norm_groups", (json_int_t)u->norm_groups, "linear_projection", (int)u->use_linear_projection,
                     "levels", levels_json(u));
}

static json_t *text_json(const text_config *t)
{
    return json_pack("{s:I, s:I, s:I, s:s, s:I}", "layers", t->layers, "width", t->hidden_size, "heads", t->heads,
                     "activation",
                     t->act == ACT_GELU         ? "gelu"
                     : t->act == ACT_QUICK_GELU ? "quick_gelu"
                                                : "silu",
                     "vocabulary", t->vocab_size);
}

static json_t *vae_json(const model *m)
{
    const vae_config *v = &m->vae;
    json_t *channels = json_array();
    for (int64_t i = 0; i < v->level_count; i++) json_array_append_new(channels, json_integer(v->channels[i]));
    return json_pack("{s:I, s:I, s:f, s:o}", "factor", vae_factor(v), "latent_channels", v->latent_channels,
                     "scaling_factor", (double)v->scaling_factor, "channels", channels);
}

static leco_status inspect_model(const char *path, json_t *o, leco_error *err)
{
    model *m;
    LECO_TRY(model_open(path, &m, err));
    const schedule_config *s = &m->schedule;
    const int64_t factor = vae_factor(&m->vae), width = m->unet.sample_width * factor;
    json_object_set_new(o, "kind", json_string(m->file ? "checkpoint" : "model"));
    json_object_set_new(o, "family", json_string(m->family->name));
    json_object_set_new(o, "size",
                        json_sprintf("%lldx%lld", (long long)width, (long long)(m->unet.sample_height * factor)));
    json_object_set_new(o, "prediction", json_string(s->prediction == PREDICT_V ? "v_prediction" : "epsilon"));
    const bool at_odds = s->zero_terminal_snr && s->prediction == PREDICT_EPSILON;
    if (!m->prediction_told)
        json_object_set_new(o, "prediction_from",
                            json_string(at_odds
                                            ? "nothing: its ztsnr goes with v_prediction, which the file doesn't say"
                                            : "the family: the file doesn't say"));
    static const model_part ids[] = {PART_TEXT_ENCODER, PART_TEXT_ENCODER_2, PART_UNET, PART_VAE};
    leco_status status = LECO_OK;
    for (int i = 0; i < 4; i++) {
        if (!model_has(m, ids[i])) continue;
        if (ids[i] == PART_VAE && m->lacks_vae) {
            json_object_set_new(o, "missing", json_pack("[s]", part_rows[PART_VAE].name));
            continue;
        }
        json_t *part = ids[i] == PART_UNET  ? unet_json(m)
                       : ids[i] == PART_VAE ? vae_json(m)
                                            : text_json(ids[i] == PART_TEXT_ENCODER ? &m->text : &m->text_2);
        if (status == LECO_OK) status = add_weights(m, ids[i], part, err);
        json_object_set_new(o, part_rows[ids[i]].name, part);
    }
    json_object_set_new(o, "scheduler",
                        json_pack("{s:I, s:f, s:f, s:s, s:I, s:b, s:b, s:s*}", "train_timesteps", s->train_timesteps,
                                  "beta_start", s->beta_start, "beta_end", s->beta_end, "beta_schedule",
                                  s->beta == BETA_LINEAR ? "linear" : "scaled_linear", "steps_offset", s->steps_offset,
                                  "set_alpha_to_one", (int)s->set_alpha_to_one, "zero_terminal_snr",
                                  (int)s->zero_terminal_snr, "timestep_spacing", spacing_name(s->spacing)));
    model_close(m);
    return status;
}

/* A checkpoint, or a file of other tensors; opened once, as there may be a million. */
static leco_status inspect_file(const char *place, json_t *o, leco_error *err)
{
    safetensors *file;
    LECO_TRY(tensors_open(place, &file, err));
    const bool is_model = checkpoint_is(file);
    if (!is_model) inspect_tensors(file, o);
    safetensors_close(file);
    return is_model ? inspect_model(place, o, err) : LECO_OK;
}

/* path: as it was given; place: what it stands for. */
static leco_status inspect_any(const char *path, const char *place, json_t *o, leco_error *err)
{
    if (file_is_dangling(place)) return file_refuse_open(place, ENOENT, err);
    if (!file_exists(place)) return error_set(err, LECO_IO, "%s: no such file%s", path, hub_hint(path));
    char *lora = NULL;
    if (is_lora_folder(place, &lora)) {
        const leco_status status = inspect_file(lora, o, err);
        mem_free(lora);
        return status;
    }
    if (file_is_folder(place)) return inspect_model(place, o, err);
    const bool picture = strlen(place) > 4 && strcasecmp(place + strlen(place) - 4, ".png") == 0;
    return picture ? inspect_picture(place, o, err) : inspect_file(place, o, err);
}

leco_status leco_inspect(const char *path, bool json, char **text, leco_error *err)
{
    IN_C_LOCALE;
    json_t *o = json_object();
    if (!o) return error_memory(err, 0, "a description");
    json_object_set_new(o, "path", report_string(path));
    char *place = NULL;
    leco_status status = model_find(path, &place, err);
    if (status == LECO_OK) status = inspect_any(path, place, o, err);
    mem_free(place);
    if (status == LECO_OK) status = report_text(o, json, text, err);
    json_decref(o);
    return status;
}
