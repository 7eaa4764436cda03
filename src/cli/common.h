/* What several commands share: their options, opening a model with its LoRAs, naming and writing pictures, reporting.
 */
#ifndef LECO_CLI_COMMON_H
#define LECO_CLI_COMMON_H

#include <jansson.h>

#include "cli/options.h"
#include "cli/progress.h"
#include "leco/leco.h"

typedef struct command {
    const char *name;
    const char *summary;               /* for `leco --help` */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
} command;

extern const command command_erase, command_enhance, command_train, command_generate, command_grid, command_merge,
    command_extract, command_convert, command_run, command_inspect, command_bench;

/* A line of --help, before examples with this LoRA. */
#define EXAMPLE_LORA "  # out/erase_red.safetensors is what 'leco train examples/erase_red.yaml' writes\n"

/* ---- options ---- */

typedef struct general_args {
    int64_t threads;
    bool quiet, verbose, json;
} general_args;
extern const option_spec general_options[];

typedef struct model_args {
    const char *model, *device, *precision, *prediction, *vae;
    int64_t clip_skip;
    bool int8;
    text_list lora; /* FILE[:WEIGHT] */
    text_list embedding;
} model_args;
extern const option_spec model_options[];

typedef struct drawing_args {
    const char *negative, *scheduler, *rng, *latents;
    const char *spacing;
    bool karras;
    int64_t steps, seed, width, height, batch;
    uint64_t memory;
    double guidance_scale;
} drawing_args;
extern const option_spec drawing_options[];

#define DEVICE_HELP                                                                                                    \
    "where to compute: cuda is an NVIDIA card, where leco was built with it; cpu; or ref: slow, plain loops to "       \
    "compare with (default: cuda where a card is found, else cpu)"
#define PREDICTIONS "epsilon|v_prediction"
#define PREDICTION_HELP                                                                                                \
    "what the model predicts: $names (default: what its files say, or else what most of its family do)"
#define INT8_HELP                                                                                                      \
    "keep the matrices of U-Net and text encoders as int8, with a scale a row: half of bfloat16's memory, about as "   \
    "exact (CPU only)"
#define CLIP_SKIP_HELP                                                                                                 \
    "leave out last layers of the text encoder, as A1111 counts: 2 the last one, which many anime models want"
#define VAE_HELP                                                                                                       \
    "use this VAE, not the model's own: a file (.safetensors, .pt, .ckpt), or the folder of a VAE or of a model"
#define EMBEDDING_HELP                                                                                                 \
    "let prompts hold the word of a textual-inversion embedding: the file's name, or the token that it tells. May be " \
    "given several times"

/* Applies --threads, and starts showing progress and the log. */
void general_begin(const general_args *args, progress *p, progress_work work);

/* Fills leco's options from the arguments (prompts are the caller's to set). */
leco_generate_options drawing_apply(const drawing_args *args, progress *p);

/* ---- models ---- */

/* A file and a weight out of FILE[:WEIGHT]: only a number after the last colon counts as a weight, since names may hold
 * colons. False, with a message on stderr, where the weight is out of range. */
typedef struct lora_choice {
    char file[4096];
    float weight;
    bool weighted; /* the text says the weight */
} lora_choice;
bool lora_parse(const char *program, const char *text, lora_choice *out);

/* The name of a result that must be a .safetensors file. Returns as output_check does. */
int lora_output_check(const char *program, const char *path);

/* Says what leco_merge and the like did: `path` and figures on stdout, as text or as JSON, and frees the report. how:
 * why something is lost, where the rank isn't the reason (" to rounding"). */
void print_merge_report(const char *path, leco_merge_report *report, const char *how, bool json);

/* Of computing. */
#define PRECISIONS "float32|bfloat16|float16"
#define PRECISION_HELP                                                                                                 \
    "$names (default: bfloat16 where the device has it; float16, which only NVIDIA cards have, on those before "       \
    "Ampere; "                                                                                                         \
    "else float32)"

#define SAVED_PRECISION_HELP                                                                                           \
    "type of the saved numbers: what is exact is so up to their rounding, some 0.05 % of each with float16, 0.4 % "    \
    "with bfloat16"

/* Checks what can be checked before a file is opened: that there is a model, the LoRAs' weights. Returns
 * OPTIONS_READY or EXIT_USAGE. */
int model_args_check(const char *program, const model_args *args);

/* Opens the model and adds its LoRAs and embeddings. */
leco_status model_args_open(const model_args *args, leco_model **out, leco_error *err);

/* Call first in main, for two things that are the process's, not a library's to say. Large blocks of memory go back to
 * the system when they are freed: else glibc keeps them between those that stay, of Stable Diffusion 1.5 700 MB
 * (measured). And idle OpenMP threads spin for milliseconds before they sleep, which on a machine that does
 * anything else besides makes leco ten times slower (measured). libgomp reads how long from the environment before main
 * is reached: so this sets it and starts the program anew, once. Whoever sets OMP_WAIT_POLICY or GOMP_SPINCOUNT
 * decides. */
void settle_process(char **argv);

/* ---- results ---- */

/* "leco: sentence" on stderr; the exit status that belongs to it. */
int report_failure(leco_status status, const leco_error *err);

/* Refuses, before any work is done, an output that isn't named *.png (where png), whose folder can't be written to, or
 * that is something else than a file; a folder that isn't there is made. Returns OPTIONS_READY or EXIT_FAILED or
 * EXIT_USAGE. */
int output_check(const char *program, const char *path, bool png);

/* `path`, or for several pictures "name-<number>.png". number counts from 1. */
void output_name(char *out, size_t size, const char *path, size_t number, size_t count);

/* Prints a JSON document and a new line to stdout, and releases it. */
void print_json(json_t *document);
/* A number of a document; null where it isn't known (NaN) or no number (infinity), which JSON can't say. */
json_t *number_or_null(double value);
/* A string of a document; bytes that aren't UTF-8 (a file's name may hold any) become '?'. */
json_t *json_text(const char *text);

#endif
