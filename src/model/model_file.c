#include "model/model_file.h"

#include <errno.h>
#include <string.h>

#include "base/file.h"
#include "format/file_kind.h"
#include "format/tensors.h"
#include "model/hub.h"
#include "model/other_families.h"

#define EXPECTED "a model is a folder, as diffusers writes it, or a checkpoint in one file"

#define A_LORA "a LoRA, which goes on a model (--lora, where there is one)"

/* What a tensor's name tells about its file; the first row that fits any of them decides. */
static const struct {
    const char *part;
    bool leads; /* stands at the beginning of the name */
    const char *is;
} signs[] = {
    {"model.diffusion_model.", true, "a checkpoint without the beginning of its U-Net"},
    {".lora_", false, A_LORA},
    {".hada_", false, A_LORA},
    {".lokr_", false, A_LORA},
    {"emb_params", true, "a textual-inversion embedding, not a model"},
    {"string_to_param.", true, "a textual-inversion embedding, not a model"},
    {"down_blocks.", true, "one part of a model; give the folder that holds its model_index.json"},
    {"decoder.", true, "one part of a model; give the folder that holds its model_index.json"},
    {"text_model.", true, "one part of a model; give the folder that holds its model_index.json"},
};
enum { SIGNS = sizeof signs / sizeof *signs };

static size_t sign_of(const char *name)
{
    size_t i = 0;
    while (i < SIGNS && !(signs[i].leads ? strncmp(name, signs[i].part, strlen(signs[i].part)) == 0
                                         : strstr(name, signs[i].part) != NULL))
        i++;
    return i;
}

static leco_status refuse_tensors(const char *path, const safetensors *file, leco_error *err)
{
    size_t best = SIGNS;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        size_t sign = sign_of(safetensors_at(file, i)->name);
        if (sign < best) best = sign;
    }
    for (size_t i = 0; i < safetensors_skipped_count(file); i++) {
        const char *name, *type;
        safetensors_skipped_at(file, i, &name, &type);
        size_t sign = sign_of(name);
        if (sign < best) best = sign;
    }
    const char *family = other_family_of_file(file);
    const bool lora = best < SIGNS && strcmp(signs[best].is, A_LORA) == 0;
    if (family)
        return error_set(err, LECO_UNSUPPORTED,
                         "%s: this is %s%s, which leco doesn't support: it does Stable Diffusion 1, 2 and XL", path,
                         lora ? "a LoRA of " : "", family);
    return error_set(err, LECO_UNSUPPORTED, "%s: is no model (" EXPECTED "): this is %s", path,
                     best < SIGNS ? signs[best].is : "a file of tensors without the names of a model");
}

leco_status model_refuse_file(const char *path, leco_error *err)
{
    safetensors *file;
    file_map map;
    if (file_is_dangling(path)) return file_refuse_open(path, ENOENT, err);
    if (!file_exists(path))
        return error_set(err, LECO_IO, "%s: there is no such file%s (" EXPECTED ")", path, hub_hint(path));
    const leco_status status = tensors_open(path, &file, err);
    if (status == LECO_OK) {
        const leco_status refused = refuse_tensors(path, file, err);
        safetensors_close(file);
        return refused;
    }
    if (status == LECO_MEMORY) return status;
    LECO_TRY(file_map_open(path, &map, err));
    const file_kind kind = file_kind_of(map.data, map.size);
    file_map_close(&map);
    if (kind.pickle) return tensors_open(path, &file, err); /* with what is wrong in it */
    if (!kind.is) return error_set(err, LECO_IO, "%s: is no model (" EXPECTED ")", path);
    return error_set(err, LECO_UNSUPPORTED, "%s: is no model (" EXPECTED "): this is %s", path, kind.is);
}
