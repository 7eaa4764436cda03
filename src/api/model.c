#include <math.h>
#include <string.h>

#include "api/internal.h"
#include "api/locale.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/adapter_config.h"
#include "model/adapter_metadata.h"
#include "model/family.h"

void leco_model_close(leco_model *handle)
{
    if (!handle) return;
    painter_destroy(handle->painter);
    for (size_t i = 0; i < handle->lora_count; i++) {
        trainable_destroy(handle->lora[i].trainable);
        mem_free(handle->lora[i].name);
        mem_free(handle->lora[i].hash);
    }
    mem_free(handle->lora);
    for (size_t i = 0; i < handle->embedding_count; i++) {
        trainable_destroy(handle->embedding[i].trainable);
        mem_free(handle->embedding[i].name);
        mem_free(handle->embedding[i].hash);
    }
    mem_free(handle->embedding);
    mem_free(handle->schedule);
    model_close(handle->model);
    device_close(&handle->device);
    mem_free(handle);
}

/* As the caller says, or with a word on what is taken where the files don't. */
static leco_status set_prediction(model *m, const char *said, leco_error *err)
{
    if (!said && !m->prediction_told && m->family->v2)
        log_message(LOG_WARNING, "%s doesn't say what it predicts, and is taken for a model that predicts v",
                    m->folder);
    if (said && strcmp(said, "epsilon") != 0 && strcmp(said, "v_prediction") != 0)
        return error_set(err, LECO_INVALID, "prediction: expected \"epsilon\" or \"v_prediction\", found \"%s\"", said);
    return model_predict(m, !said ? -1 : *said == 'v', "--prediction does", err);
}

static leco_status open_parts(leco_model *handle, const char *path, const leco_model_options *o, leco_error *err)
{
    LECO_TRY(device_open(o->device, o->precision, &handle->device, err));
    LECO_TRY(model_open(path, &handle->model, err));
    LECO_TRY(set_prediction(handle->model, o->prediction, err));
    if (o->vae) LECO_TRY(model_take_vae(handle->model, o->vae, err));
    if (o->int8) LECO_TRY(device_narrow(&handle->device, handle->model, err));
    if (o->clip_skip) LECO_TRY(model_skip_layers(handle->model, o->clip_skip, err));
    schedule_config schedule = handle->model->schedule;
    schedule.steps_offset = 1; /* as StableDiffusionPipeline draws, whatever the folder says */
    return noise_schedule_create(&schedule, &handle->schedule, err);
}

const char *leco_device_name(size_t index)
{
    const backend *b = backend_at(index);
    return b ? b->name : NULL;
}

leco_status leco_model_open(const char *path, const leco_model_options *options, leco_model **out, leco_error *err)
{
    IN_C_LOCALE;
    const leco_model_options defaults = {0};
    if (!path || !*path) return error_set(err, LECO_INVALID, "no model given");
    leco_model *handle = mem_calloc(1, sizeof *handle);
    if (!handle) return error_memory(err, sizeof *handle, "a model");
    leco_status status = open_parts(handle, path, options ? options : &defaults, err);
    if (status != LECO_OK) {
        leco_model_close(handle);
        return status;
    }
    *out = handle;
    return LECO_OK;
}

/* ---- LoRAs ---- */

/* The hash that A1111 shows beside a LoRA's name; not having one is fine. */
static char *short_hash(const char *path)
{
    safetensors *file;
    if (tensors_open(path, &file, NULL) != LECO_OK) return NULL;
    const char *hash = safetensors_metadata(file, "sshs_model_hash");
    char *copy = hash && strlen(hash) >= 12 ? mem_strndup(hash, 12) : NULL;
    safetensors_close(file);
    return copy;
}

static leco_status check_weight(float multiplier, leco_error *err)
{
    if (isfinite(multiplier)) return LECO_OK;
    return error_set(err, LECO_INVALID, "a LoRA's weight must be a finite number");
}

/* The embeddings that come with a LoRA, whose words prompts can have from now on. */
static leco_status add_bundled(leco_model *handle, const char *path, dtype exact, leco_error *err)
{
    trainable_list list;
    LECO_TRY(trainable_load_bundled(path, handle->model, exact, &list, err));
    loaded_embedding *grown = mem_realloc(handle->embedding, handle->embedding_count + list.count + 1, sizeof *grown);
    leco_status status = grown ? LECO_OK : error_memory(err, list.count * sizeof *grown, "an embedding");
    if (grown) handle->embedding = grown;
    for (size_t i = 0; i < list.count && status == LECO_OK; i++) {
        loaded_embedding *e = &handle->embedding[handle->embedding_count];
        *e = (loaded_embedding){.name = mem_strdup(trainable_module_at(list.at[i], 0)->token)};
        if (!e->name) {
            status = error_memory(err, 0, "an embedding's name");
            break;
        }
        e->trainable = list.at[i];
        list.at[i] = NULL;
        handle->embedding_count++;
    }
    trainable_list_free(&list);
    return status;
}

static leco_status load_lora(leco_model *handle, const char *path, float multiplier, loaded_lora *l, leco_error *err)
{
    adapter_layers layers;
    const dtype exact = handle->device.compute == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    *l = (loaded_lora){.weight = multiplier};
    LECO_TRY(model_adapter_layers(handle->model, &layers, err));
    LECO_TRY(trainable_load(path, &layers, exact, &l->trainable, err));
    char *file = NULL;
    l->name = file_stem(path);
    leco_status status = l->name ? adapter_find(path, &file, err) : error_memory(err, strlen(path), "a LoRA's name");
    if (status == LECO_OK) status = add_bundled(handle, file, exact, err);
    if (status == LECO_OK) l->hash = short_hash(file);
    mem_free(file);
    if (status == LECO_OK) return LECO_OK;
    trainable_destroy(l->trainable);
    mem_free(l->name);
    return status;
}

leco_status leco_model_add_lora(leco_model *handle, const char *path, float multiplier, leco_error *err)
{
    IN_C_LOCALE;
    loaded_lora l;
    LECO_TRY(check_weight(multiplier, err));
    loaded_lora *grown = mem_realloc(handle->lora, handle->lora_count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (handle->lora_count + 1) * sizeof *grown, "a LoRA");
    handle->lora = grown;
    LECO_TRY(load_lora(handle, path, multiplier, &l, err));
    trainable_set_multiplier(l.trainable, multiplier);
    handle->lora[handle->lora_count++] = l;
    painter_destroy(handle->painter); /* it was made without this one */
    handle->painter = NULL;
    return LECO_OK;
}

leco_status leco_model_set_lora_weight(leco_model *handle, size_t index, float multiplier, leco_error *err)
{
    IN_C_LOCALE;
    LECO_TRY(check_weight(multiplier, err));
    if (index >= handle->lora_count)
        return error_set(err, LECO_INVALID, "there is no LoRA number %zu; %zu were added", index, handle->lora_count);
    handle->lora[index].weight = multiplier;
    trainable_set_multiplier(handle->lora[index].trainable, multiplier);
    if (handle->painter) painter_forget_texts(handle->painter);
    return LECO_OK;
}

/* ---- embeddings ---- */

leco_status leco_model_add_embedding(leco_model *handle, const char *path, leco_error *err)
{
    IN_C_LOCALE;
    loaded_embedding *grown = mem_realloc(handle->embedding, handle->embedding_count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (handle->embedding_count + 1) * sizeof *grown, "an embedding");
    handle->embedding = grown;
    dtype exact = handle->device.compute == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
    loaded_embedding e = {.name = file_stem(path)};
    if (!e.name) return error_memory(err, strlen(path), "an embedding's name");
    leco_status status = trainable_load_embedding(path, handle->model, exact, &e.trainable, err);
    if (status != LECO_OK) {
        mem_free(e.name);
        return status;
    }
    e.hash = adapter_file_hash(path);
    handle->embedding[handle->embedding_count++] = e;
    painter_destroy(handle->painter); /* it was made without this one */
    handle->painter = NULL;
    return LECO_OK;
}

adapter_set model_adapters(const leco_model *handle, adapter_use *use)
{
    adapter_set set = {.use = use};
    for (size_t i = 0; i < handle->lora_count; i++) use[set.count++] = (adapter_use){handle->lora[i].trainable, 1.0f};
    for (size_t i = 0; i < handle->embedding_count; i++)
        use[set.count++] = (adapter_use){handle->embedding[i].trainable, 1.0f};
    return set;
}

_Static_assert(LARGEST_SIDE == LECO_LARGEST_SIDE, "what programs see is what is checked");

leco_status model_picture_size(const leco_model *handle, int *width, int *height, leco_error *err)
{
    const unet_config *u = &handle->model->unet;
    const int factor = (int)vae_factor(&handle->model->vae);
    const int64_t own[] = {u->sample_width * factor, u->sample_height * factor};
    int *const side[] = {width, height};
    const char *const name[] = {"width", "height"};
    const int least = factor > LECO_SMALLEST_SIDE ? factor : LECO_SMALLEST_SIDE;
    for (int i = 0; i < 2; i++) {
        if (*side[i] == 0) *side[i] = (int)own[i];
        if (*side[i] < least || *side[i] > LARGEST_SIDE || *side[i] % factor)
            return error_set(err, LECO_INVALID, "a %s of %d pixels: expected a multiple of %d from %d to %d", name[i],
                             *side[i], factor, least, LARGEST_SIDE);
    }
    return LECO_OK;
}
