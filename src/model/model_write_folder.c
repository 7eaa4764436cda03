#include <string.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "model/clip_merges.h"
#include "model/config_json.h"
#include "model/model_write.h"
#include "model/part.h"

/* ---- small files ---- */

static leco_status write_text(const char *folder, const char *name, const char *text, leco_error *err)
{
    file_writer *w;
    char *path = file_join(folder, name);
    if (!path) return error_memory(err, strlen(folder), "a path");
    leco_status status = file_writer_open(path, &w, err);
    mem_free(path);
    LECO_TRY(status);
    status = file_writer_write(w, text, strlen(text), err);
    if (status == LECO_OK) return file_writer_commit(w, err);
    file_writer_abort(w);
    return status;
}

/* The document is released. */
static leco_status write_json(const char *folder, const char *name, json_t *document, leco_error *err)
{
    char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    if (!text) return error_memory(err, 0, name);
    leco_status status = write_text(folder, name, text, err);
    free(text);
    return status;
}

static leco_status make_folder(const char *in, const char *name, char **out, leco_error *err)
{
    *out = file_join(in, name);
    if (!*out) return error_memory(err, strlen(in), "a path");
    return file_make_folders(*out, err);
}

/* ---- the scheduler ---- */

#define SCHEDULER "scheduler/scheduler_config.json"

static leco_status read_class(const json_t *root, const char *path, void *class, leco_error *err)
{
    const char *name;
    LECO_TRY(json_get_string(root, path, "_class_name", "DDIMScheduler", &name, err));
    *(char **)class = mem_strdup(name);
    return *(char **)class ? LECO_OK : error_memory(err, strlen(name), "a scheduler's name");
}

/* A folder's own is kept, with all that it says. *class: mem_free it. */
static leco_status copy_scheduler(const char *folder, const char *place, char **class, leco_error *err)
{
    char *from = file_join(folder, SCHEDULER), *to = file_join(place, SCHEDULER);
    leco_status status = from && to ? LECO_OK : error_memory(err, strlen(folder), "a path");
    if (status == LECO_OK) status = config_read(folder, SCHEDULER, read_class, class, err);
    if (status == LECO_OK) status = folder_copy_file(from, to, err);
    mem_free(from);
    mem_free(to);
    return status;
}

/* It, and model_index.json, which names it. */
static leco_status write_scheduler(const model *m, const char *place, leco_error *err)
{
    char *folder = NULL, *own = NULL;
    leco_status status = make_folder(place, "scheduler", &folder, err);
    if (status == LECO_OK)
        status = m->file ? write_json(folder, "scheduler_config.json", model_schedule_json(m), err)
                         : copy_scheduler(m->folder, place, &own, err);
    if (status == LECO_OK)
        status = write_json(place, "model_index.json", model_index_json(m, own ? own : model_scheduler_class(m)), err);
    mem_free(folder);
    mem_free(own);
    return status;
}

/* ---- tokenizers ---- */

typedef struct copying {
    const char *from, *to;
} copying;

static leco_status copy_entry(void *user, const char *relative, bool is_folder, leco_error *err)
{
    const copying *c = user;
    char *from = file_join(c->from, relative), *to = file_join(c->to, relative);
    leco_status status = from && to ? LECO_OK : error_memory(err, strlen(relative), "a path");
    if (status == LECO_OK) status = is_folder ? file_make_folders(to, err) : folder_copy_file(from, to, err);
    mem_free(from);
    mem_free(to);
    return status;
}

/* CLIP's, which is built in. */
static leco_status write_clip(const tokenizer *t, const char *folder, leco_error *err)
{
    json_t *vocabulary = json_object();
    for (size_t id = 0; id < tokenizer_vocabulary(t); id++)
        json_object_set_new(vocabulary, tokenizer_token(t, (int32_t)id), json_integer((json_int_t)id));
    const char *start = tokenizer_token(t, tokenizer_start(t)), *end = tokenizer_token(t, tokenizer_end(t));
    const char *pad = tokenizer_token(t, tokenizer_pad(t));
    leco_status status = write_json(folder, "vocab.json", vocabulary, err);
    if (status == LECO_OK) status = write_text(folder, "merges.txt", clip_merges, err);
    if (status == LECO_OK)
        status = write_json(
            folder, "special_tokens_map.json",
            json_pack("{s:s, s:s, s:s, s:s}", "bos_token", start, "eos_token", end, "pad_token", pad, "unk_token", end),
            err);
    if (status == LECO_OK)
        status = write_json(folder, "tokenizer_config.json",
                            json_pack("{s:b, s:s, s:b, s:s, s:s, s:I, s:s, s:s, s:s}", "add_prefix_space", 0,
                                      "bos_token", start, "do_lower_case", 1, "eos_token", end, "errors", "replace",
                                      "model_max_length", (json_int_t)tokenizer_length(t), "pad_token", pad,
                                      "tokenizer_class", "CLIPTokenizer", "unk_token", end),
                            err);
    return status;
}

static leco_status write_tokenizer(const model *m, const tokenizer *t, const char *name, const char *place,
                                   leco_error *err)
{
    char *folder = NULL, *from = file_join(m->folder, name);
    leco_status status = from ? make_folder(place, name, &folder, err) : error_memory(err, strlen(name), "a path");
    copying c = {from, folder};
    if (status == LECO_OK) status = m->file ? write_clip(t, folder, err) : folder_walk(from, copy_entry, &c, err);
    mem_free(folder);
    mem_free(from);
    return status;
}

/* ---- parts ---- */

/* A matrix that a checkpoint has as a 1x1 convolution. */
static bool is_pixel(model_part part, const weight *w)
{
    return part == PART_VAE && w->shape.rank == 4 && strstr(w->name, ".attentions.") != NULL;
}

static leco_status write_tensors(tensor_writer *w, const model *m, model_part part, const char *path, leco_error *err)
{
    static const char *const metadata[][2] = {{"format", "pt"}}; /* transformers asks for it */
    const weights *all = m->weights[part];
    const size_t count = weights_count(all);
    arena *memory = arena_create();
    safetensors_entry *entries = memory ? arena_alloc(memory, count, sizeof *entries) : NULL;
    written_tensor *from = entries ? arena_alloc(memory, count, sizeof *from) : NULL;
    size_t used = 0;
    for (size_t i = 0; from && i < count; i++) {
        const weight *of = weights_used(all, i);
        if (!of) continue;
        safetensors_entry *e = &entries[used];
        *e = (safetensors_entry){.name = of->name,
                                 .type = w->how->type == DTYPE_COUNT ? of->type : w->how->type,
                                 .rank = is_pixel(part, of) ? 2 : of->shape.rank,
                                 .count = (size_t)shape_count(&of->shape)};
        for (int k = 0; k < e->rank; k++) e->shape[k] = of->shape.dim[k];
        from[used++] = (written_tensor){.from = {of}, .count = 1};
    }
    leco_status status = from ? tensors_write(w, path, entries, from, used, metadata, 1, err)
                              : error_memory(err, count * sizeof *entries, "the names of tensors");
    arena_destroy(memory);
    return status;
}

static leco_status write_part(tensor_writer *w, const model *m, model_part part, const char *place, leco_error *err)
{
    const bool diffusers = part == PART_UNET || part == PART_VAE;
    char *folder = NULL, *path = NULL;
    leco_status status = make_folder(place, part_rows[part].name, &folder, err);
    if (status == LECO_OK) status = write_json(folder, "config.json", model_config_json(m, part), err);
    if (status == LECO_OK) {
        path = file_join(folder, diffusers ? "diffusion_pytorch_model.safetensors" : "model.safetensors");
        status = path ? write_tensors(w, m, part, path, err) : error_memory(err, strlen(folder), "a path");
    }
    mem_free(path);
    mem_free(folder);
    return status;
}

static leco_status write_all(model *m, const char *place, const model_writing *how, leco_error *err)
{
    tensor_writer w = {.how = how};
    for (int part = 0; part < PART_COUNT; part++)
        for (size_t i = 0; model_has(m, (model_part)part) && i < weights_count(m->weights[part]); i++)
            w.total += weights_used(m->weights[part], i) != NULL;
    leco_status status = write_scheduler(m, place, err);
    if (status == LECO_OK) status = write_tokenizer(m, m->tokenizer, "tokenizer", place, err);
    if (status == LECO_OK && m->tokenizer_2) status = write_tokenizer(m, m->tokenizer_2, "tokenizer_2", place, err);
    for (int part = 0; part < PART_COUNT && status == LECO_OK; part++)
        if (model_has(m, (model_part)part)) status = write_part(&w, m, (model_part)part, place, err);
    mem_free(w.buffer);
    return status;
}

leco_status model_write_folder(model *m, const char *path, const model_writing *how, leco_error *err)
{
    folder_writer *w;
    LECO_TRY(folder_writer_open(path, &w, err));
    leco_status status = write_all(m, folder_writer_place(w), how, err);
    if (status == LECO_OK) status = model_check_written(m, folder_writer_place(w), err);
    if (status == LECO_OK) return folder_writer_commit(w, err);
    folder_writer_abort(w);
    return status;
}
