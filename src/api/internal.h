/* What the parts of the public library share. */
#ifndef LECO_API_INTERNAL_H
#define LECO_API_INTERNAL_H

#include "diffusion/decoder.h"
#include "diffusion/sampler.h"
#include "diffusion/text_bank.h"
#include "format/png.h"
#include "leco/leco.h"
#include "model/adapter.h"
#include "model/model.h"

#define LECO_VERSION "0.1.0"

typedef struct loaded_lora {
    lora *lora;
    float weight;
    char *name; /* the file's name without folder and suffix, as A1111 calls it */
    char *hash; /* the first 12 digits of its sshs_model_hash, or NULL */
} loaded_lora;

/* Sessions that draw `size.batch` pictures of one size. */
typedef struct drawing {
    latent_size size;
    bool guided_pair; /* unconditional and conditional, or (scale 1) conditional only */
    denoiser *denoiser;
    decoder *decoder;
} drawing;

enum { DRAWINGS = 2 }; /* a full batch and the rest of the pictures */

struct leco_model {
    device device;
    model *model;
    noise_schedule *schedule;
    loaded_lora *lora;
    size_t lora_count;
    text_bank *bank;           /* these are made when something is drawn, */
    drawing drawing[DRAWINGS]; /* and again after a LoRA was added */
    int next_drawing;
    int threads;          /* for which these were made */
    bool told_of_sampler; /* what of the folder's scheduler is not followed was logged */
};

/* Frees all sessions, for when the LoRAs changed or another module needs the workspace. */
void model_forget_sessions(leco_model *model);

/* The adapters in use as graphs take them; `use` has room for model->lora_count. */
adapter_set model_adapters(const leco_model *model, adapter_use *use);

/* The picture size that 0 stands for, checked: sizes are multiples of the VAE's factor, at most 8192. */
leco_status model_picture_size(const leco_model *model, int *width, int *height, leco_error *err);

/* Draws with checked options into images->image[0..]; *done counts the finished ones, also on failure. */
typedef struct draw_request {
    const leco_generate_options *options;
    int width, height;
    int64_t seed;           /* not -1 */
    const float *latents;   /* [total,h,w,C], or NULL: from the seeds */
    const char *what;       /* for the progress callback */
    size_t before, overall; /* pictures drawn before this request, and in all: for the progress */
    double start;           /* cpu_seconds() when it all began */
} draw_request;

leco_status draw_pictures(leco_model *model, const draw_request *request, leco_images *images, size_t *done,
                          leco_error *err);

/* Checks what leco_generate and leco_grid are asked for, and fills sizes and seed. */
leco_status draw_check(const leco_model *model, const leco_generate_options *options, draw_request *request,
                       leco_error *err);

/* A zeroed list of `count` images. */
leco_status images_create(size_t count, leco_images *out, leco_error *err);

/* A1111's text for one picture; mem_free it; NULL: out of memory. */
char *generation_parameters(const leco_model *model, const draw_request *request, const char *prompt, int64_t seed);

#endif
