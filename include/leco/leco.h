/* leco: change what a Stable Diffusion model draws, from prompts alone.
 *
 * Example: load a model, draw a picture with a LoRA at half weight, write it. (Inside main, after #include <stdio.h>
 * and <leco/leco.h>.)
 *
 *     leco_error err;
 *     leco_model *model = NULL;
 *     leco_images images = {0};
 *     leco_generate_options o = leco_generate_defaults();
 *     o.prompts = (const char *[]){"a small red star on a navy background"};
 *     o.prompt_count = 1;
 *     if (leco_model_open("models/shapes", NULL, &model, &err) != LECO_OK ||
 *         leco_model_add_lora(model, "erase_red.safetensors", 0.5f, &err) != LECO_OK ||
 *         leco_generate(model, &o, &images, &err) != LECO_OK ||
 *         leco_image_write("star.png", &images.image[0], images.parameters[0], &err) != LECO_OK)
 *         fprintf(stderr, "%s\n", err.message);
 *     leco_images_free(&images);
 *     leco_model_close(model);
 *
 * Compile it with `cc demo.c $(pkg-config --cflags --libs leco)`. Where leco was installed below another prefix than
 * /usr or /usr/local, set PKG_CONFIG_PATH=PREFIX/lib/pkgconfig for that, and LD_LIBRARY_PATH=PREFIX/lib to run it. For
 * the static library, which needs no LD_LIBRARY_PATH, say --static, and -l:libleco.a in place of -lleco.
 *
 * Handles are opaque, made by open and freed by close (NULL is fine). A handle is used by one thread at a time; several
 * handles may be used, and trainings run, in as many threads at once.
 * Out-parameters are untouched on failure unless said otherwise. Strings are UTF-8. The library never prints nor exits.
 * Numbers in files and messages have a decimal point in every locale; the host's locale is left as it is.
 */
#ifndef LECO_LECO_H
#define LECO_LECO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "leco/status.h"

#ifdef __cplusplus
extern "C" {
#endif

LECO_API const char *leco_version(void);

typedef enum leco_log_level { LECO_LOG_DEBUG, LECO_LOG_INFO, LECO_LOG_WARNING } leco_log_level;
/* Where the library's log messages go; NULL: nowhere. Process-wide: called in whichever thread has something to say. */
LECO_API void leco_set_log(void (*callback)(void *user, leco_log_level level, const char *message), void *user);
/* Threads for computing, process-wide, from the next call on; 0: what OMP_NUM_THREADS says, or else one per physical
 * core this process may use. Where OpenMP or the system gives fewer, those are used and a warning is logged; a call
 * from within an OpenMP parallel region computes on its own thread alone. Every call of this library that computes sets
 * the calling thread's omp_set_num_threads and turns its omp_set_dynamic off. */
LECO_API void leco_set_threads(int count);

/* ---- progress ---- */

/* How far a training has come (docs/config.md, "The effect"), in units of how far the targets are asked to move; NaN
 * where there is nothing to measure. */
typedef struct leco_effect {
    double effect;     /* of the way that is asked for: 0 nothing, 1 all of it */
    double moved;      /* the targets, in whatever direction */
    double kept;       /* what is preserved */
    double neighbours; /* texts of near words */
    double unrelated;  /* and of others */
} leco_effect;

typedef struct leco_progress {
    const char *what;              /* "training", "drawing", ... */
    int64_t done, total;           /* steps, pictures */
    double seconds;                /* since the start */
    double seconds_left;           /* an estimate; negative: not known yet */
    double loss;                   /* training: this step's, NaN elsewhere */
    const char *saved;             /* a file that was just written, or NULL */
    const char *part;              /* what a step or a picture begins with, "denoising", or NULL; */
    int64_t part_done, part_total; /* and how far that has come */
    const leco_effect *effect;     /* training: as measured last; NULL: not yet, or never */
} leco_progress;

/* Called between steps, of denoising too. Return false to stop: the call then ends with LECO_INTERRUPTED after saving
 * what it has. */
typedef bool (*leco_progress_callback)(void *user, const leco_progress *progress);

/* ---- models ---- */

typedef struct leco_model leco_model;

typedef struct leco_model_options {
    const char *device;     /* one of leco_device_name's; NULL: "cuda" where there is a card, else "cpu" */
    const char *precision;  /* "float32", "bfloat16", "float16" (cards), or NULL: what the device likes best */
    const char *prediction; /* "epsilon", "v_prediction", or NULL: as the model's files say, or else its family */
    const char *vae; /* a VAE's file or folder, or a model's, to be used instead of the model's own; NULL: that */
    int clip_skip;   /* as A1111 counts: 2 leaves out the text encoder's last layer; 0 or 1: none */
    bool int8;       /* keep the matrices of U-Net and text encoders as int8 with a scale a row (CPU only) */
} leco_model_options;

LECO_API const char *leco_device_name(size_t index); /* "cuda" (in builds that have it), "cpu", "ref"; NULL: no more */

/* Opens a diffusers folder, or a checkpoint in one file. options may be NULL. Weights are mapped, not read, until
 * something runs. */
LECO_API leco_status leco_model_open(const char *path, const leco_model_options *options, leco_model **out,
                                     leco_error *err);
LECO_API void leco_model_close(leco_model *model);

/* Loads a LoRA on top of those there are. weight is its multiplier, any finite number: at 1 it does what it was trained
 * for, between 0 and 1 less of that, above 1 more; a negative weight subtracts what it adds to the layers' outputs, so
 * that pictures go the other way (towards a concept that it erases), how far is not said. */
LECO_API leco_status leco_model_add_lora(leco_model *model, const char *path, float weight, leco_error *err);
/* Changes the multiplier of the index-th LoRA (in the order they were added). */
LECO_API leco_status leco_model_set_lora_weight(leco_model *model, size_t index, float weight, leco_error *err);

/* Loads a textual-inversion embedding (safetensors: emb_params, one tensor named as its token, or clip_l and clip_g of
 * Stable Diffusion XL; PyTorch's .pt and .bin): prompts may hold its word from then on, which is the file's name, as in
 * A1111, or the token that the file tells. One that is a token of the model already is LECO_INVALID. */
LECO_API leco_status leco_model_add_embedding(leco_model *model, const char *path, leco_error *err);

/* ---- pictures ---- */

#define LECO_SMALLEST_SIDE 8   /* pixels: no picture is narrower or lower, */
#define LECO_LARGEST_SIDE 8192 /* or wider or higher */

typedef struct leco_image {
    int width, height;
    uint8_t *rgb; /* [height, width, 3], rows from the top */
} leco_image;

typedef struct leco_images {
    size_t count;
    leco_image *image;
    char **parameters; /* one text a picture, as A1111 writes it into a PNG; NULL where there is none */
    char **prompts;    /* what each was drawn from: its prompt, with its alternatives chosen; NULL of a sheet */
} leco_images;

LECO_API void leco_images_free(leco_images *images); /* safe on a zeroed one */
/* PNG, replaced atomically. parameters may be NULL. */
LECO_API leco_status leco_image_write(const char *path, const leco_image *image, const char *parameters,
                                      leco_error *err);
LECO_API leco_status leco_image_read(const char *path, leco_image *out, leco_error *err);
LECO_API void leco_image_free(leco_image *image);

/* What leco_generate_defaults gives; `leco generate` takes the same where nothing is said. */
#define LECO_DEFAULT_BATCH 4
#define LECO_DEFAULT_STEPS 25
#define LECO_DEFAULT_GUIDANCE_SCALE 7.5
#define LECO_DEFAULT_SCHEDULER "ddim"
#define LECO_DEFAULT_SEED 0
#define LECO_DEFAULT_RNG "cpu"

typedef struct leco_generate_options {
    const char *const *prompts;
    size_t prompt_count;   /* each prompt is drawn `images_per_prompt` times */
    const char *negative;  /* default NULL: none, which SDXL takes for another thing than "" (docs/files.md) */
    int images_per_prompt; /* default 1 */
    int batch;             /* pictures computed together at most */
    int steps;
    double guidance_scale; /* u + s (c - u) */
    const char *scheduler; /* one of leco_scheduler_name's */
    const char *spacing;   /* of the timesteps: "leading", "linspace" or "trailing"; NULL: as the model's files say, or
                            * else as diffusers has it for the scheduler */
    bool karras;           /* space sigmas as Karras et al.; not of "ddim" and "ddpm", which know none */
    int64_t seed;          /* of the first picture; the others follow by 1. -1: from the clock */
    const char *rng;       /* "cpu" (torch, ComfyUI) or "cuda" (A1111) */
    int width, height;     /* pixels; 0: the model's own size */
    const char *latents;   /* a .safetensors whose tensor "latents" [n,4,h,w] replaces the noise, or NULL */
    uint64_t memory;       /* budget in bytes for what drawing allocates, mapped model files not counted: within it
                            * pictures are decoded in tiles that are blended, or LECO_MEMORY says what is missing. 0: none */
    leco_progress_callback progress;
    void *user;
} leco_generate_options;

LECO_API leco_generate_options leco_generate_defaults(void);
LECO_API const char *leco_scheduler_name(size_t index); /* "ddim", ...; NULL: no more */

/* Draws prompt_count * images_per_prompt pictures. *images is filled on success; on LECO_INTERRUPTED it holds those
 * that were finished. Release with leco_images_free either way. */
LECO_API leco_status leco_generate(leco_model *model, const leco_generate_options *options, leco_images *images,
                                   leco_error *err);

/* Refuses what leco_generate and leco_grid would refuse of these options, and draws nothing. */
LECO_API leco_status leco_generate_check(const leco_model *model, const leco_generate_options *options,
                                         leco_error *err);

/* A contact sheet: prompts down, LoRA weights across, with their texts. Every row starts from the same noise. The
 * weights are given to the last LoRA added. */
LECO_API leco_status leco_grid(leco_model *model, const leco_generate_options *options, const float *weights,
                               size_t weight_count, leco_images *sheet, leco_error *err);

/* ---- training ---- */

typedef struct leco_train_options {
    const char *const *overrides; /* "train.iterations=100", ... */
    size_t override_count;
    const char *const *embeddings; /* files as leco_model_add_embedding takes them, for the config's prompts */
    size_t embedding_count;
    bool dry_run; /* check everything but the weights' values, which it doesn't read, also that the LoRA could be
                   * written; plan and report, train nothing */
    bool resume;  /* go on with a training that was stopped, from the state beside its output; everything that decides
                   * what  comes out must be as it was, and the result is the same, to the bit, as without the stop */
    const char *device;
    uint64_t memory; /* budget for planned_bytes: within it, fewer activations are kept, and more computed again, or
                      * LECO_MEMORY says by how much it is too small; 0: none */
    leco_progress_callback progress;
    void *user;
} leco_train_options;

typedef struct leco_train_report {
    char *path;         /* the LoRA that was written last; NULL in a dry run */
    char *writes;       /* the LoRA that a whole run writes last, in a dry run, too */
    char *state;        /* of one that was stopped, or lost its device: what `resume` goes on from; NULL: nothing */
    int64_t iterations; /* optimizer steps done, and the time they took: with those before it was resumed */
    double seconds;
    double first_loss, last_loss; /* means over the first and the last tenth; NaN where no step of these was done */
    uint64_t planned_bytes;       /* the most memory that leco will allocate, as planned: weights, activations, texts,
                                   * latents, graphs, adapter, optimizer */
    uint64_t measured_bytes;      /* what was allocated for these in the end; equal to the plan. 0 after a dry
                                   * run, which allocates none of it */
    uint64_t resident_bytes; /* the most of the whole process so far, with the program, libraries and mapped files; 0
                              * where the system doesn't tell */
    char *summary;           /* a few lines for people: model, adapter, modules, parameters, memory */
    char *modules;       /* of a dry run: what is trained, as a JSON list of {"part", "layer", "kind", "rank", "alpha",
                          * "shape", "parameters"}; else NULL */
    leco_effect effect;  /* as measured last, all NaN where it wasn't, ... */
    int64_t effect_step; /* ... after so many iterations */
} leco_train_report;

LECO_API void leco_train_report_free(leco_train_report *report);

/* Trains what the YAML file at `config` says (docs/config.md) and writes the LoRA. On LECO_INTERRUPTED and LECO_DEVICE
 * the report holds the files that were saved; none where no step was done yet. While it runs, another training that
 * would write the same files is LECO_IO. */
LECO_API leco_status leco_train(const char *config, const leco_train_options *options, leco_train_report *report,
                                leco_error *err);

/* What a config may hold: every key with its default and meaning, section by section. *text is for people, or the
 * tables of docs/config.md where markdown; release with leco_free. */
LECO_API leco_status leco_train_keys(bool markdown, char **text, leco_error *err);

/* ---- erasing without training ---- */

typedef struct leco_erase_options {
    const char *const *concepts; /* what is to go: words */
    size_t concept_count;
    const char *const *to; /* TEXT or TEXT:SHARE: what comes in their place; none: for each the word that is nearest to
                            * it. "" is nothing */
    size_t to_count;
    const char *const *contexts; /* texts with {} for the concept, perhaps with wildcards: where it is to go; none:
                                  * texts of leco's own */
    size_t context_count;
    const char *const *keep; /* words and prompts that are to stay, besides words of the same kind; those with wildcards
                              * are all that they mean (of more than 256 texts 256 drawn ones) */
    size_t keep_count;
    const char *context_file; /* more contexts, one a line, and */
    const char *keep_file;    /* more to keep; lines that are empty or begin with # don't count. Or NULL */
    bool enhance;             /* the other way: the concepts come to mean more of what they are */
    const char *method;       /* "uce" or "speed" */
    int rounds;               /* of RECE, after the first: 0 to 3 */
    double strength;          /* 1; more goes further */
    double lambda;            /* how much it costs to change anything, relative to what states are like */
    int rank;                 /* 0: as low as serves, max_rank at most */
    int max_rank;             /* 32 */
    const char *precision;    /* of the file: "float16" (NULL, too), "float32" or "bfloat16" */
    leco_progress_callback progress;
    void *user;
} leco_erase_options;

LECO_API leco_erase_options leco_erase_defaults(void);

typedef struct leco_erase_report {
    int rank;
    double lost;    /* the part of the change, 0 to 1, that this rank leaves out */
    double left;    /* how far the concepts still are from what comes in their place, in parts of how far they were */
    double moved;   /* how far the kept texts moved, in parts of the same */
    double seconds; /* from the opened model to the file */
    char *summary;  /* lines for people */
    char *json;     /* all of it */
} leco_erase_report;

LECO_API void leco_erase_report_free(leco_erase_report *report); /* safe on a zeroed one */

/* Erases concepts from a model, or strengthens them, without training: solves for a change of the matrices by which its
 * U-Net reads the prompt (cross-attention's to_k and to_v), and writes it as a LoRA to `path`, replaced atomically.
 * Takes the model as it is on disk, without LoRAs that were added. On LECO_INTERRUPTED nothing is written. */
LECO_API leco_status leco_erase(leco_model *model, const leco_erase_options *options, const char *path,
                                leco_erase_report *report, leco_error *err);

/* ---- joining and extracting ---- */

typedef struct leco_lora {
    const char *path;
    double weight; /* any finite number, as of leco_model_add_lora */
} leco_lora;

/* What was made of how much. Shares are of Frobenius norms. */
typedef struct leco_merge_report {
    size_t layers_unet, layers_text_encoder; /* that are changed */
    int64_t rank;                            /* the largest of any layer */
    /* What the rank could not hold of the change (leco_merge_into: what the rounding of the model's types made of it):
     * its share of the part's, NaN where the part has none; and of the one layer that lost most, whose path is NULL
     * where nothing was lost. 0 where leco_merge was given no rank. */
    double lost_unet, lost_text_encoder, most_lost;
    char *most_lost_layer;
    size_t others; /* leco_extract: tensors that differ, too, and that no LoRA can hold: norms, biases, token tables */
    double seconds;
} leco_merge_report;

LECO_API void leco_merge_report_free(leco_merge_report *report); /* safe on a zeroed one */

typedef struct leco_merge_options {
    const char *model;     /* the folder of a model that the LoRAs are for: they are then checked against it; LoHas need
                            * that. NULL: they only have to fit each other */
    int64_t rank;          /* 0: exactly all of them, their ranks added up; else the best that this rank can do */
    const char *precision; /* of the saved tensors: "float16" (NULL), "float32", "bfloat16" */
    leco_progress_callback progress;
    void *user;
} leco_merge_options;

/* Writes one LoRA, to the file `out`, which does what these do together at their weights. options and report may be
 * NULL. `out` must be none of the inputs. */
LECO_API leco_status leco_merge(const leco_lora *loras, size_t count, const char *out,
                                const leco_merge_options *options, leco_merge_report *report, leco_error *err);

/* Writes a copy of the model, to the new folder `out`, which draws as the model does with these LoRAs at their weights:
 * each changed weight in its own type, everything else byte for byte. Weights that are pickles, or lie in pieces with
 * an index, become one .safetensors file of a part, or of the model. `out` must not be there, or be an empty folder. Of
 * the options, progress counts alone. */
LECO_API leco_status leco_merge_into(const char *model, const leco_lora *loras, size_t count, const char *out,
                                     const leco_merge_options *options, leco_merge_report *report, leco_error *err);

typedef struct leco_extract_options {
    int64_t rank;          /* at least 1 */
    const char *part;      /* "unet", "text-encoder", or "both" (NULL) */
    const char *precision; /* as of leco_merge_options */
    leco_progress_callback progress;
    void *user;
} leco_extract_options;

/* Writes the difference of two models of the same shape, tuned - base, as a LoRA: the best that this rank can do. */
LECO_API leco_status leco_extract(const char *base, const char *tuned, const char *out,
                                  const leco_extract_options *options, leco_merge_report *report, leco_error *err);

/* ---- converting ---- */

typedef struct leco_convert_options {
    const char *precision; /* of all tensors: "float16", "float32", "bfloat16"; NULL: each keeps its own */
    const char *vae;       /* as of leco_model_options */
    leco_progress_callback progress;
    void *user;
} leco_convert_options;

/* Writes a model in the other layout, or again in its own: to a folder, as diffusers has it, or where `out` ends with
 * .safetensors to a checkpoint in one file, under the original names. What was written is read back and compared before
 * it takes its place. One file holds no tokenizer (it must be CLIP's), nor other noise schedules than Stable
 * Diffusion's: such models are refused. */
LECO_API leco_status leco_convert(const char *model, const char *out, const leco_convert_options *options,
                                  leco_error *err);

/* ---- looking ---- */

/* Runs one module on tensors read from and written to safetensors files, with diffusers' names and shapes:
 * module is one of leco_module_name's. prompt (may be NULL) stands for input_ids. */
LECO_API leco_status leco_run(leco_model *model, const char *module, const char *in, const char *prompt,
                              const char *out, leco_error *err);
/* "text-encoder", "text-encoder-2" (of SDXL), "unet", "vae-encoder", "vae-decoder"; NULL: no more. */
LECO_API const char *leco_module_name(size_t index);

/* Describes a model folder, a .safetensors file or a PNG with parameters. *text is for people, or JSON where json;
 * release with leco_free. */
LECO_API leco_status leco_inspect(const char *path, bool json, char **text, leco_error *err);

typedef struct leco_bench_options {
    const char *model;     /* a folder, or NULL with preset */
    const char *preset;    /* "sd15", "sd21", "sdxl": full-size, random weights, no file needed */
    const char *precision; /* NULL: float32, and what the device likes best */
    const char *device;    /* as of leco_model_options */
    int width, height;     /* 0: the preset's own */
    bool json;
    leco_progress_callback progress;
    void *user;
    bool int8; /* as of leco_model_options */
} leco_bench_options;

/* Times the U-Net's forward (batch 2) and a training step's student forward + backward (batch 1) against the machine's
 * matrix rate measured in the same run. *text as in leco_inspect. */
LECO_API leco_status leco_bench(const leco_bench_options *options, char **text, leco_error *err);

/* For programs with options or keys of their own: which of `known` [count] somebody who wrote `word` may have meant, by
 * its spelling or because another program calls it so; NULL: none is near. */
LECO_API const char *leco_suggest(const char *word, const char *const *known, size_t count);

LECO_API void leco_free(void *memory);

/* For a program's own handler of SIGBUS, which reading a mapped file raises where the file has become shorter meanwhile
 * or its disk fails: the path of the file that leco has mapped at this address (siginfo_t's si_addr), or NULL. May be
 * called from a signal handler; the text stays valid. The library itself handles no signals. */
LECO_API const char *leco_mapped_file(const void *address);

#ifdef __cplusplus
}
#endif
#endif
