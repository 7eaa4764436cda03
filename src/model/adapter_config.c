/* What stands beside a LoRA's file: PEFT's adapter_config.json, which alone knows at which strength its matrices are
 * applied. Source: save_pretrained and LoraLayer.update_layer of peft. */
#include "model/adapter_config.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/json.h"

leco_status adapter_find(const char *path, char **out, leco_error *err)
{
    static const char *const names[] = {"adapter_model.safetensors", "adapter_model.bin",
                                        "pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"};
    *out = NULL;
    if (!file_is_folder(path)) {
        *out = mem_strdup(path);
        return *out ? LECO_OK : error_memory(err, strlen(path), "a path");
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *there = file_join(path, names[i]);
        if (!there) return error_memory(err, strlen(path), "a path");
        if (file_exists(there) && !file_is_folder(there)) {
            *out = there;
            return LECO_OK;
        }
        mem_free(there);
    }
    return error_set(err, LECO_FORMAT,
                     "%s: is a folder that holds no LoRA: expected %s, %s, %s or %s in it, or the path of a file", path,
                     names[0], names[1], names[2], names[3]);
}

/* Other adapters than LoRA have names of tensors of their own, by which they are read or refused; those that would be
 * taken for something else, or whose strength is told under other keys, are refused here. */
static leco_status check_kind(const char *path, const json_t *root, leco_error *err)
{
    const char *kind;
    LECO_TRY(json_get_string(root, path, "peft_type", "LORA", &kind, err));
    if (strcmp(kind, "LORA") == 0 || strcmp(kind, "OFT") == 0 || strcmp(kind, "BOFT") == 0) return LECO_OK;
    return error_set(err, LECO_UNSUPPORTED,
                     "%s: key \"peft_type\": of PEFT's adapters leco reads LORA, not %.40s as in the file beside it",
                     path, kind);
}

/* Some ways to begin leave other weights in the model than it had, which the file of the LoRA doesn't hold. */
static leco_status check_start(const char *path, const json_t *root, leco_error *err)
{
    static const char *const changing[] = {"pissa", "olora", "corda", "loftq"};
    const json_t *start = json_object_get(root, "init_lora_weights");
    for (size_t i = 0; json_is_string(start) && i < sizeof changing / sizeof *changing; i++)
        if (strncmp(json_string_value(start), changing[i], strlen(changing[i])) == 0)
            return error_set(err, LECO_UNSUPPORTED,
                             "%s: key \"init_lora_weights\": with %.40s the LoRA goes on weights that the model "
                             "doesn't have; PEFT can save it as one for the model's own "
                             "(path_initial_model_for_weight_conversion)",
                             path, json_string_value(start));
    return LECO_OK;
}

static leco_status check_pattern(const char *path, const json_t *root, leco_error *err)
{
    const char *pattern;
    json_t *value, *all = json_object_get(root, "alpha_pattern");
    double ignored;
    if (all && !json_is_null(all) && !json_is_object(all))
        return error_set(err, LECO_FORMAT, "%s: key \"alpha_pattern\": expected an object of numbers", path);
    json_object_foreach(all, pattern, value) LECO_TRY(json_get_double(all, path, pattern, 0, &ignored, err));
    return LECO_OK;
}

static leco_status check(const char *path, const json_t *root, leco_error *err)
{
    double alpha;
    bool by_root;
    if (!json_is_object(root)) return error_set(err, LECO_FORMAT, "%s: expected an object", path);
    LECO_TRY(check_kind(path, root, err));
    LECO_TRY(check_start(path, root, err));
    LECO_TRY(check_pattern(path, root, err));
    LECO_TRY(json_get_bool(root, path, "use_rslora", false, &by_root, err));
    return json_get_double(root, path, "lora_alpha", 8, &alpha, err);
}

leco_status adapter_config_read(const char *lora, char **path, struct json_t **out, leco_error *err)
{
    char *folder = file_folder_of(lora);
    *path = folder ? file_join(folder, "adapter_config.json") : NULL;
    *out = NULL;
    mem_free(folder);
    if (!*path) return error_memory(err, strlen(lora), "a path");
    leco_status status = LECO_OK;
    if (file_exists(*path)) {
        status = json_read_file(*path, out, err);
        if (status == LECO_OK) status = check(*path, *out, err);
    }
    if (status == LECO_OK && *out) return LECO_OK;
    json_decref(*out);
    *out = NULL;
    mem_free(*path);
    *path = NULL;
    return status;
}
