/* Models written in either layout: a diffusers folder, or a checkpoint in one file under the original names. */
#ifndef LECO_MODEL_MODEL_WRITE_H
#define LECO_MODEL_MODEL_WRITE_H

#include <jansson.h>

#include "format/safetensors.h"
#include "model/model.h"

typedef struct model_writing {
    dtype type; /* of all tensors; DTYPE_COUNT: each keeps its own (those of eight bits become bfloat16) */
    bool (*report)(void *user, int64_t done, int64_t total); /* after each tensor; false stops. NULL: nobody asks */
    void *user;
} model_writing;

/* Both write a model that is mapped whole (model_map), and read it back: its configs and all values must be those of m,
 * or nothing is left at `path`, and LECO_INVALID says what one file can't say. A file that is there is replaced at the
 * end; a folder must not be there. What isn't finite in the new type is LECO_INVALID.
 *
 * One file has no place for a tokenizer (it must be CLIP's), for other betas than Stable Diffusion's, nor for widths of
 * heads and the like that its family doesn't have. */
leco_status model_write_file(model *m, const char *path, const model_writing *how, leco_error *err);
leco_status model_write_folder(model *m, const char *path, const model_writing *how, leco_error *err);

/* ---- parts of that ---- */

/* A part's config.json, scheduler_config.json and model_index.json as diffusers and transformers have them; NULL: out
 * of memory. The scheduler is the one that diffusers' from_single_file takes for the family, out of the folder that was
 * released: PNDM, of Stable Diffusion 2 DDIM, of Stable Diffusion XL Euler. */
json_t *model_config_json(const model *m, model_part part);
const char *model_scheduler_class(const model *m);
json_t *model_schedule_json(const model *m);
json_t *model_index_json(const model *m, const char *scheduler);

/* What a tensor of a file is made of: one of the model's, three of them above each other, or one turned round. */
typedef struct written_tensor {
    const weight *from[3];
    int count;
    bool transposed;
} written_tensor;

/* `entries` [count] have no data: they are made as they are written; *done is how many tensors were, of total. */
typedef struct tensor_writer {
    const model_writing *how;
    const model *check; /* the file is to be a checkpoint of this model: it is read back; NULL: it isn't one */
    int64_t done, total;
    void *buffer; /* mem_free it */
    size_t room;
} tensor_writer;
leco_status tensors_write(tensor_writer *w, const char *path, const safetensors_entry *entries,
                          const written_tensor *from, size_t count, const char *const (*metadata)[2],
                          size_t metadata_count, leco_error *err);

/* The model at `path` is the one that was written: LECO_INVALID where it isn't. */
leco_status model_check_written(const model *m, const char *path, leco_error *err);

#endif
