/* The weights of one module of a model (U-Net, text encoder, VAE), found by module path.
 *
 * A set is opened over the safetensors file of a diffusers component folder. Tensors stay in the memory map; a backend
 * copies what its kernels want in another form (backend/weight_form.h). Or the set is random, for benchmarks without
 * files, or blank, for listing a module's layers. */
#ifndef LECO_MODEL_WEIGHTS_H
#define LECO_MODEL_WEIGHTS_H

#include "base/error.h"
#include "graph/weight.h"

typedef struct weights weights;

/* Opens a component's folder, under the names that diffusers and transformers give: diffusion_pytorch_model or model
 * (pytorch_model), .safetensors before .bin, plain before .fp16., and of each the pieces with their index before the
 * single file. LECO_IO where there are no weights; LECO_UNSUPPORTED, saying what is there, for those of other formats.
 * On failure *out is NULL. */
leco_status weights_open(const char *folder, weights **out, leco_error *err);

/* Opens one file (format/tensors.h) whose tensors are named by module path, or, as that says, those of an index. */
leco_status weights_open_file(const char *path, weights **out, leco_error *err);

/* None yet, of an open file, which is borrowed; and one more of them: a tensor of the file under another name. third:
 * of a tensor that holds three products above each other, the one of 0 to 2, or -1: all of it. transposed: the file has
 * [in,out] where layers want [out,in]. Two of one name are LECO_FORMAT. */
struct safetensors;
struct safetensors_entry;
leco_status weights_of(const struct safetensors *file, weights **out, leco_error *err);
leco_status weights_add(weights *w, const struct safetensors_entry *from, const char *name, int64_t third,
                        bool transposed, leco_error *err);

/* Weights of any name and shape, made up from `seed`: matrices and kernels normal with standard deviation 0.02, norm
 * scales 1, biases 0, so that activations of a normalised network stay finite. All share one buffer. NULL: out of
 * memory. */
weights *weights_random(uint64_t seed);

/* Weights of any name and shape without data: graphs over them can be built and read, not run. */
weights *weights_blank(void);

void weights_close(weights *w); /* frees also what backends packed; NULL is fine */

/* The tensor `name`, whose shape must be `s` (a linear [O,I] may be stored as a 1x1 conv [O,I,1,1]). Absence or another
 * shape is LECO_FORMAT naming file, tensor, expected and found shape; a dtype that leco can't read (F8_E4M3, U8, ...)
 * is LECO_UNSUPPORTED naming it. The weight is owned by the set; asking twice gives the same one. */
leco_status weights_get(weights *w, const char *name, shape s, weight **out, leco_error *err);
/* Matrices that were and will be asked for are marked as weight.narrow, for kernels that can keep them as int8. To be
 * called before any session over them is planned. */
void weights_narrow(weights *w);
bool weights_has(const weights *w, const char *name); /* true for random and blank sets */

/* [count] of this value, 0 or 1: no tensor of the file, but the set's own. */
leco_status weights_constant(weights *w, int value, int64_t count, weight **out, leco_error *err);

/* Both after the modules have asked for all they use. NaN or infinite values of those tensors are LECO_FORMAT naming
 * file, tensor and position (checked in parallel: this reads the whole file). Tensors nobody asked for give one warning
 * in the log. */
leco_status weights_check_values(const weights *w, leco_error *err);
void weights_warn_of_unused(const weights *w);
leco_status weights_check(const weights *w, leco_error *err); /* both of them */
/* LECO_IO where their file became shorter in the meantime: what was computed is wrong then. */
leco_status weights_unchanged(const weights *w, leco_error *err);

/* The name of tensor number `index` of weights_count, and whether another set has one of that name and the same values,
 * whatever their types. false for random and blank sets. */
const char *weights_name(const weights *w, size_t index);
bool weights_same(const weights *w, size_t index, const weights *other);

/* Those that modules have asked for, by name: number `index` of weights_count, or NULL where nobody did. */
size_t weights_count(const weights *w);
const weight *weights_used(const weights *w, size_t index);

int64_t weights_parameters(const weights *w);    /* elements of all tensors; 0 of random and blank sets */
const char *weights_main_type(const weights *w); /* the dtype of the largest of them, or NULL */
const char *weights_path(const weights *w);      /* the file, or "(random)" or "(blank)" */
size_t weights_mapped_bytes(const weights *w);   /* of the tensors in the file */
size_t weights_planned_bytes(const weights *w);  /* of the copies that backends want or have */
size_t weights_packed_bytes(const weights *w);   /* of those that they have */

/* What tells these weights from others, after the modules have asked for all they use: of each tensor name, type,
 * shape, and its first and last bytes. It doesn't read the whole file. */
struct digest;
void weights_digest(const weights *w, struct digest *d);

#endif
