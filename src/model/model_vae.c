#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "model/checkpoint.h"
#include "model/hub.h"
#include "model/model.h"

/* A file with original names needs no config. *is: it has them. */
static leco_status take_original(model *m, const char *path, bool *is, leco_error *err)
{
    safetensors *file;
    LECO_TRY(tensors_open(path, &file, err));
    *is = safetensors_find_any(file, "encoder.down_blocks.0.resnets.0.conv1.weight") == NULL;
    leco_status status = *is ? checkpoint_read_vae(file, m, err) : LECO_OK;
    if (status == LECO_OK && *is)
        m->vae_file = file;
    else
        safetensors_close(file);
    return status;
}

/* A folder of one. *found: its config.json is there. */
static leco_status take_config(model *m, const char *folder, bool *found, leco_error *err)
{
    char *config = file_join(folder, "config.json");
    if (!config) return error_memory(err, strlen(folder), "a path");
    *found = file_exists(config);
    mem_free(config);
    return *found ? vae_config_read(folder, &m->vae, err) : LECO_OK;
}

/* Under diffusers' names: a folder of a VAE, or of a model, or a file with its config beside it. */
static leco_status take_diffusers(model *m, const char *path, leco_error *err)
{
    const bool folder = file_is_folder(path);
    char *inner = file_join(path, "vae"), *around = file_folder_of(path);
    bool found = false, in_model = false;
    leco_status status = inner && around ? LECO_OK : error_memory(err, strlen(path), "a path");
    if (status == LECO_OK && folder) status = take_config(m, inner, &in_model, err);
    if (status == LECO_OK && !in_model) status = take_config(m, folder ? path : around, &found, err);
    if (status == LECO_OK && !in_model && !found)
        status = error_set(err, LECO_IO, "%s: %s", path,
                           folder ? "is no VAE's folder, nor a model's: there is no config.json"
                                  : "is a VAE with diffusers' names, which wants its config.json beside it");
    if (status == LECO_OK && !(m->vae_path = mem_strdup(in_model ? inner : path)))
        status = error_memory(err, strlen(path), "a path");
    mem_free(inner);
    mem_free(around);
    return status;
}

static leco_status take(model *m, const char *path, leco_error *err)
{
    bool original = false;
    if (!file_is_folder(path)) LECO_TRY(take_original(m, path, &original, err));
    if (!original) LECO_TRY(take_diffusers(m, path, err));
    m->lacks_vae = false;
    if (m->vae.latent_channels == m->unet.in_channels) return LECO_OK;
    return error_set(err, LECO_INVALID, "%s: this VAE's latents have %lld channels, the U-Net takes %lld", path,
                     (long long)m->vae.latent_channels, (long long)m->unet.in_channels);
}

leco_status model_take_vae(model *m, const char *path, leco_error *err)
{
    char *cached;
    LECO_TRY(hub_find(path, &cached, err));
    leco_status status =
        cached || file_exists(path)
            ? take(m, cached ? cached : path, err)
            : error_set(err, LECO_IO, "%s: there is no such file%s: expected a VAE", path, hub_hint(path));
    mem_free(cached);
    return status;
}
