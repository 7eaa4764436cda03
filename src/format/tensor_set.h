/* What an open file of tensors is, for src/format/ only: safetensors.c and torch.c fill it in, the functions of
 * safetensors.h that look at files take it from there. */
#ifndef LECO_FORMAT_TENSOR_SET_H
#define LECO_FORMAT_TENSOR_SET_H

#include "base/arena.h"
#include "base/file.h"
#include "format/safetensors.h"

/* What a file says of one tensor. */
typedef struct tensor {
    safetensors_entry entry; /* comes first: safetensors_type finds the rest by it */
    const char *type_name;
    size_t begin, end; /* offsets into the data part, of a safetensors file */
} tensor;

struct safetensors {
    char *path;
    file_map map;
    arena *arena; /* everything below, and all strings */
    tensor *tensors;
    size_t tensor_count, tensor_room;
    const tensor **known; /* those of types that leco computes with, in the order of `tensors` */
    size_t known_count;
    const tensor **skipped; /* the others */
    size_t skipped_count;
    const tensor **by_name; /* all tensors, sorted by name */
    const char *(*metadata)[2];
    size_t metadata_count;
    void **copies; /* [copy_count] data that aren't in the map as they should be; mem_aligned */
    size_t copy_count;
    safetensors **parts; /* [part_count] files that the tensors are in, of a set of several; owned */
    size_t part_count;
};

/* A mapped file without tensors yet. On failure *out is NULL. */
leco_status tensor_set_open(const char *path, safetensors **out, leco_error *err);

/* Room for so many tensors, where it is known how many will come: what is outgrown stays in the arena. */
leco_status tensor_set_reserve(safetensors *file, size_t room, leco_error *err);
/* A zeroed tensor at the end of the list; NULL with the error set where memory runs out. Moves those before it. */
tensor *tensor_set_add(safetensors *file, leco_error *err);

/* The type called so, as safetensors spells it, of a tensor whose count is known; *size is the bytes of an element, or
 * 0 where the type isn't known. */
void tensor_set_type(tensor *t, const char *name, size_t *size);

/* Makes memory from mem_aligned the file's, to go when it is closed; freed here where there is no room to note it. NULL
 * is LECO_MEMORY. */
leco_status tensor_set_keep(safetensors *file, void *data, leco_error *err);

const tensor *tensor_set_find(const safetensors *file, const char *name); /* of any type; NULL: not there */

/* Sets up the ways to reach the tensors, which are complete and in order. A name given twice is LECO_FORMAT. */
leco_status tensor_set_index(safetensors *file, leco_error *err);

#endif
