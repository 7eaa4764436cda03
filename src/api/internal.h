/* What the parts of the public library share. */
#ifndef LECO_API_INTERNAL_H
#define LECO_API_INTERNAL_H

#include "base/arena.h"
#include "diffusion/painter.h"
#include "leco/leco.h"
#include "model/model.h"
#include "model/trainable.h"
#include "picture/png.h"

#define LECO_VERSION "0.1.0"

typedef struct loaded_lora {
    trainable *trainable;
    float weight;
    char *name; /* the file's name without folder and suffix, as A1111 calls it */
    char *hash; /* the first 12 digits of its sshs_model_hash, or NULL */
} loaded_lora;

typedef struct loaded_embedding {
    trainable *trainable;
    char *name; /* as with LoRAs */
    char *hash; /* the first 12 digits of the file's SHA-256 */
} loaded_embedding;

struct leco_model {
    device device;
    model *model;
    noise_schedule *schedule;
    loaded_lora *lora;
    size_t lora_count;
    loaded_embedding *embedding;
    size_t embedding_count;
    painter *painter;     /* made when something is drawn, and again after a LoRA or an embedding was added */
    int threads;          /* for which it was made */
    bool told_of_sampler; /* what of the folder's scheduler is not followed was logged */
};

/* The adapters in use as graphs take them; `use` has room for lora_count + embedding_count. */
adapter_set model_adapters(const leco_model *model, adapter_use *use);

/* The picture size that 0 stands for, checked: sizes are multiples of the VAE's factor, at most LARGEST_SIDE. */
leco_status model_picture_size(const leco_model *model, int *width, int *height, leco_error *err);

/* Draws with checked options into images->image[0..]; *done counts the finished ones, also on failure. */
typedef struct draw_request {
    const leco_generate_options *options;
    sampling sampling;
    int64_t model_runs; /* of a picture */
    int width, height;
    int64_t seed;           /* not -1 */
    arena *memory;          /* of texts that were made of wildcards */
    picture_text *texts;    /* one a picture */
    const float *latents;   /* [total,h,w,C], or NULL: from the seeds */
    const char *what;       /* for the progress callback */
    size_t before, overall; /* pictures drawn before this request, and in all: for the progress */
    double start;           /* cpu_seconds() when it all began */
} draw_request;

leco_status draw_pictures(leco_model *model, const draw_request *request, leco_images *images, size_t *done,
                          leco_error *err);

/* Checks what leco_generate and leco_grid are asked for, and fills sizes, seed and texts. draw_request_free, also on
 * failure. */
leco_status draw_check(const leco_model *model, const leco_generate_options *options, draw_request *request,
                       leco_error *err);
leco_status draw_choose_texts(draw_request *request, leco_error *err);
void draw_request_free(draw_request *request);

/* A zeroed list of `count` images. */
leco_status images_create(size_t count, leco_images *out, leco_error *err);

/* A1111's text for one picture; mem_free it; NULL: out of memory. */
char *generation_parameters(const leco_model *model, const draw_request *request, const picture_text *text,
                            int64_t seed);

#endif
