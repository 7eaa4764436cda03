#include "train/save.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/date.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "train/metadata.h"
#include "train/modes.h"

static char *describe(const train_config *c)
{
    if (c->prompt_count == 0)
        return mem_printf("leco: photographs, \"%s\"", c->images.prompt ? c->images.prompt : "as their captions say");
    const train_prompt *p = &c->prompt[0];
    return mem_printf(
        "leco: %s target \"%s\", positive \"%s\", neutral \"%s\", unconditional \"%s\", guidance_scale %g%s",
        p->action->name, p->target, p->positive, p->neutral, p->unconditional, p->guidance_scale,
        c->prompt_count > 1 ? ", and more" : "");
}

static leco_status write_file(const train_config *c, const model *m, const trainable *t, const setting_list *extra,
                              const char *path, leco_error *err)
{
    char date[DATE_ROOM], resolution[48];
    LECO_TRY(date_now(date, err));
    const int64_t factor = vae_factor(&m->vae);
    snprintf(resolution, sizeof resolution, "%lldx%lld", (long long)(m->unet.sample_width * factor),
             (long long)(m->unet.sample_height * factor));
    char *comment = describe(c);
    if (!comment) return error_memory(err, 0, "the metadata");
    const trainable_metadata metadata = {.output_name = c->save_name,
                                         .comment = comment,
                                         .family = m->family,
                                         .v_prediction = m->schedule.prediction == PREDICT_V,
                                         .resolution = resolution,
                                         .date = date,
                                         .extra = (const char *const(*)[2])extra->pair,
                                         .extra_count = extra->count};
    leco_status status = trainable_save(t, path, c->save_precision, &metadata, err);
    mem_free(comment);
    return status;
}

/* SAVE_PATH/NAME.safetensors, or with the steps in it; mem_free it; NULL: out of memory. */
static char *file_name(const train_config *c, int64_t steps, bool last)
{
    char *name = last ? mem_printf("%s.safetensors", c->save_name)
                      : mem_printf("%s_%06lld.safetensors", c->save_name, (long long)steps);
    char *full = name ? file_join(c->save_path, name) : NULL;
    mem_free(name);
    return full;
}

char *save_name(const train_config *config)
{
    return file_name(config, config->iterations, true);
}

char *save_state_name(const train_config *config)
{
    char *name = mem_printf("%s.state.safetensors", config->save_name);
    char *full = name ? file_join(config->save_path, name) : NULL;
    mem_free(name);
    return full;
}

leco_status save_remove(const train_config *config, int64_t steps, leco_error *err)
{
    char *path = file_name(config, steps, false);
    if (!path) return error_memory(err, 0, "a file's name");
    leco_status status = LECO_OK;
    if (unlink(path) != 0 && errno != ENOENT) status = error_errno(err, path, "cannot remove", errno);
    mem_free(path);
    return status;
}

leco_status save_adapter(const train_config *config, const model *m, dtype computed, trainable *t, int64_t steps,
                         bool last, char **path, leco_error *err)
{
    setting_list extra = {0};
    LECO_TRY(file_make_folders(config->save_path, err));
    char *full = file_name(config, steps, last);
    if (!full) return error_memory(err, 0, "a file's name");
    leco_status status = metadata_of_run(config, m, computed, steps, &extra, err);
    if (status == LECO_OK) status = write_file(config, m, t, &extra, full, err);
    settings_free(&extra);
    if (status == LECO_OK)
        *path = full;
    else
        mem_free(full);
    return status;
}

/* How much of a path is there already: the length of the longest part that exists, up to a slash. */
static size_t existing_length(char *path)
{
    size_t length = strlen(path);
    while (length > 0) {
        char kept = path[length];
        path[length] = '\0';
        bool there = file_exists(path);
        path[length] = kept;
        if (there) break;
        while (length > 0 && path[length - 1] == '/') length--;
        while (length > 0 && path[length - 1] != '/') length--;
    }
    return length;
}

/* Removes folders that were made, deepest first, down to the part of the path that was there before. */
static void remove_folders(char *path, size_t kept)
{
    for (size_t length = strlen(path); length > kept;) {
        path[length] = '\0';
        rmdir(path); /* one that isn't empty is somebody else's by now, and stays */
        while (length > kept && path[length - 1] != '/') length--;
        while (length > kept && path[length - 1] == '/') length--;
    }
}

/* Begins a file and gives it up. */
static leco_status try_file(char *path, leco_error *err)
{
    if (!path) return error_memory(err, 0, "a file's name");
    file_writer *w;
    leco_status status = file_writer_open(path, &w, err);
    if (status == LECO_OK) file_writer_abort(w);
    mem_free(path);
    return status;
}

leco_status save_check(const train_config *config, leco_error *err)
{
    char date[DATE_ROOM];
    LECO_TRY(date_now(date, err));
    LECO_TRY(folder_refuse_inside(config->model, config->save_path, err));
    for (size_t i = 0; i < config->teacher_count; i++)
        LECO_TRY(folder_refuse_inside(config->teacher[i].path, config->save_path, err));
    char *folder = mem_strdup(config->save_path);
    if (!folder) return error_memory(err, strlen(config->save_path), "a path");
    const size_t kept = existing_length(folder);
    leco_status status = file_make_folders(folder, err);
    if (status == LECO_OK) status = try_file(file_name(config, config->iterations, true), err);
    if (status == LECO_OK) status = try_file(file_name(config, config->iterations, false), err);
    if (status == LECO_OK && config->save_every > 0 && config->save_every < config->iterations)
        status = try_file(file_name(config, config->save_every, false), err);
    remove_folders(folder, kept);
    mem_free(folder);
    return status;
}

leco_status save_check_room(const train_config *config, size_t values, leco_error *err)
{
    char *folder = mem_strdup(config->save_path);
    if (!folder) return error_memory(err, strlen(config->save_path), "a path");
    folder[existing_length(folder)] = '\0';
    struct statvfs disk;
    const double needed = (double)values * (double)dtype_size(config->save_precision), mib = 1024 * 1024;
    leco_status status = LECO_OK;
    if (statvfs(*folder ? folder : ".", &disk) == 0 && (double)disk.f_bavail * (double)disk.f_frsize < needed)
        status = error_set(err, LECO_IO, "%s: cannot write: the LoRA takes %.1f MiB, and the disk has %.1f MiB left",
                           config->save_path, needed / mib, (double)disk.f_bavail * (double)disk.f_frsize / mib);
    mem_free(folder);
    return status;
}

/* ---- one training at a time ---- */

static leco_status take_lock(const train_config *config, save_claim *c, leco_error *err)
{
    long holder;
    char *name = mem_printf(".leco-%s.lock", config->save_name), *path = name ? file_join(c->folder, name) : NULL;
    leco_status status = path ? LECO_OK : error_memory(err, 0, "a file's name");
    if (status == LECO_OK) status = lock_take(path, &c->lock, &holder, err);
    mem_free(name);
    mem_free(path);
    if (status != LECO_OK || c->lock) return status;
    char process[48] = "";
    if (holder > 0) snprintf(process, sizeof process, " (process %ld)", holder);
    return error_set(err, LECO_IO,
                     "%s/%s: another training%s is writing files of this name; wait for its end, or give this one "
                     "another save.name",
                     c->folder, config->save_name, process);
}

leco_status save_claim_take(const train_config *config, save_claim *out, leco_error *err)
{
    save_claim c = {.folder = mem_strdup(config->save_path)};
    if (!c.folder) return error_memory(err, strlen(config->save_path), "a path");
    c.kept = existing_length(c.folder);
    leco_status status = file_make_folders(c.folder, err);
    if (status == LECO_OK) status = take_lock(config, &c, err);
    if (status == LECO_OK)
        *out = c;
    else
        save_claim_give_back(&c);
    return status;
}

void save_claim_give_back(save_claim *c)
{
    lock_give_back(c->lock);
    if (c->folder) remove_folders(c->folder, c->kept);
    mem_free(c->folder);
    *c = (save_claim){0};
}
