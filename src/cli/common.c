#define _GNU_SOURCE /* sched_setaffinity */
#include "cli/common.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGE_BLOCK = 1 << 20 };

/* ---- options ---- */

#define GENERAL(field) .offset = offsetof(general_args, field)
const option_spec general_options[] = {
    {"threads", 0, OPTION_WHOLE, "N", GENERAL(threads), .max = 1024,
     .help = "threads to compute with (default: OMP_NUM_THREADS, or one a core)"},
    {"json", 0, OPTION_FLAG, GENERAL(json), .help = "print the result as JSON"},
    {"quiet", 'q', OPTION_FLAG, GENERAL(quiet), .help = "no progress, warnings only"},
    {"verbose", 'v', OPTION_FLAG, GENERAL(verbose), .help = "also say what is done inside"},
    {0},
};

#define MODEL(field) .offset = offsetof(model_args, field)
const option_spec model_options[] = {
    {"model", 'm', OPTION_TEXT, "MODEL", MODEL(model),
     .help = "the model: a folder as diffusers writes it, or a checkpoint in one file (.safetensors, .ckpt), or "
             "'org/name' of "
             "a model that Hugging Face's programs have in their cache"},
    {"lora", 0, OPTION_TEXTS, "FILE[:WEIGHT]", MODEL(lora),
     .help = "put a LoRA on the model, at this weight (default 1; below 0 roughly the opposite). May be given "
             "several times"},
    {"embedding", 0, OPTION_TEXTS, "FILE", MODEL(embedding), .help = EMBEDDING_HELP},
    {"device", 0, OPTION_CHOICE, "DEVICE", MODEL(device), .choice_at = leco_device_name, .later = "cuda",
     .help = DEVICE_HELP},
    {"precision", 0, OPTION_CHOICE, "TYPE", MODEL(precision), .choices = PRECISIONS, .help = PRECISION_HELP},
    {"prediction", 0, OPTION_CHOICE, "KIND", MODEL(prediction), .choices = PREDICTIONS, .help = PREDICTION_HELP},
    {"clip-skip", 0, OPTION_WHOLE, "N", MODEL(clip_skip), .min = 1, .max = 24, .fallback = "1", .help = CLIP_SKIP_HELP},
    {"vae", 0, OPTION_TEXT, "PATH", MODEL(vae), .help = VAE_HELP},
    {"int8", 0, OPTION_FLAG, MODEL(int8), .help = INT8_HELP},
    {0},
};

#define TEXT_OF(number) TEXT_OF_EXPANDED(number)
#define TEXT_OF_EXPANDED(number) #number
#define DRAWING(field) .offset = offsetof(drawing_args, field)
const option_spec drawing_options[] = {
    {"negative", 'n', OPTION_PROMPT, "PROMPT", DRAWING(negative), .help = "what to steer away from (default: nothing)"},
    {"steps", 0, OPTION_WHOLE, "N", DRAWING(steps), .min = 1, .max = 1000, .fallback = TEXT_OF(LECO_DEFAULT_STEPS),
     .help = "denoising steps"},
    {"guidance-scale", 0, OPTION_NUMBER, "S", DRAWING(guidance_scale), .min = -1000, .max = 1000,
     .fallback = TEXT_OF(LECO_DEFAULT_GUIDANCE_SCALE),
     .help = "how closely to follow the prompt; 1 is without guidance, the small models in models/ want 4"},
    {"scheduler", 0, OPTION_CHOICE, "NAME", DRAWING(scheduler), .choice_at = leco_scheduler_name,
     .fallback = LECO_DEFAULT_SCHEDULER,
     .help = "how to denoise: $names. heun runs the model twice a step; ddpm, euler_a and dpmpp_2m_sde add noise on "
             "the way"},
    {"spacing", 0, OPTION_CHOICE, "KIND", DRAWING(spacing), .choices = "leading|linspace|trailing",
     .help =
         "how the steps lie on the timesteps: $names (default: as the model's files say, or else as diffusers has it "
         "for the scheduler)"},
    {"karras", 0, OPTION_FLAG, DRAWING(karras),
     .help = "space the noise levels as Karras et al. (2022) do; for all schedulers but ddim and ddpm"},
    {"seed", 0, OPTION_WHOLE, "N", DRAWING(seed), .min = -1, .max = INT64_MAX, .fallback = TEXT_OF(LECO_DEFAULT_SEED),
     .help = "of the first picture, the next ones count up; -1 takes one from the clock"},
    {"rng", 0, OPTION_CHOICE, "KIND", DRAWING(rng), .choices = "cpu|cuda", .fallback = LECO_DEFAULT_RNG,
     .help = "whose noise a seed gives: cpu (PyTorch's, as in ComfyUI) or cuda (as in A1111)"},
    {"width", 0, OPTION_WHOLE, "PIXELS", DRAWING(width), .min = LECO_SMALLEST_SIDE, .max = LECO_LARGEST_SIDE,
     .help = "(default: the model's own)"},
    {"height", 0, OPTION_WHOLE, "PIXELS", DRAWING(height), .min = LECO_SMALLEST_SIDE, .max = LECO_LARGEST_SIDE,
     .help = "(default: the model's own)"},
    {"batch", 0, OPTION_WHOLE, "N", DRAWING(batch), .min = 1, .max = 256, .fallback = TEXT_OF(LECO_DEFAULT_BATCH),
     .help = "pictures computed together: more is faster and takes more memory"},
    {"memory", 0, OPTION_BYTES, "SIZE", DRAWING(memory),
     .help = "allocate no more than this, for instance 6G: pictures are decoded in tiles, as small as it takes, or the "
             "drawing is refused. Mapped model files, and what the program takes for itself, aren't counted"},
    {"latents", 0, OPTION_TEXT, "FILE.safetensors", DRAWING(latents),
     .help = "start from the tensor \"latents\" [n,4,h,w] in this file, not from a seed's noise"},
    {0},
};

void general_begin(const general_args *args, progress *p, progress_work work)
{
    progress_begin(p, work, args->quiet, args->verbose);
    if (args->threads > 0) leco_set_threads((int)args->threads);
}

leco_generate_options drawing_apply(const drawing_args *args, progress *p)
{
    leco_generate_options o = leco_generate_defaults();
    if (args->negative) o.negative = args->negative;
    o.batch = (int)args->batch;
    o.steps = (int)args->steps;
    o.guidance_scale = args->guidance_scale;
    o.scheduler = args->scheduler;
    o.spacing = args->spacing;
    o.karras = args->karras;
    o.seed = args->seed;
    o.rng = args->rng;
    o.width = (int)args->width;
    o.height = (int)args->height;
    o.latents = args->latents;
    o.memory = args->memory;
    o.progress = progress_show;
    o.user = p;
    return o;
}

/* ---- models ---- */

bool lora_parse(const char *program, const char *text, lora_choice *out)
{
    const char *colon = strrchr(text, ':');
    char before[sizeof out->file];
    double weight = 1;
    size_t length = strlen(text);
    if (colon && colon > text) {
        bool odd = strcmp(colon + 1, "nan") == 0 || strcmp(colon + 1, "inf") == 0 || strcmp(colon + 1, "-inf") == 0;
        if (odd || (number_read(colon + 1, &weight) && fabs(weight) > 1000)) {
            options_mistake(program, "%s: the weight must be a number from -1000 to 1000", text);
            return false;
        }
        if (number_read(colon + 1, &weight)) length = (size_t)(colon - text);
        snprintf(before, sizeof before, "%.*s", (int)(colon - text), text);
        if (length == strlen(text) && access(text, F_OK) != 0 && access(before, F_OK) == 0) {
            options_mistake(program, "%s: '%s' is no weight: expected a number from -1000 to 1000", before, colon + 1);
            return false;
        }
    }
    if (length == 0 || length >= sizeof out->file) {
        options_mistake(program, "a LoRA needs the name of a file, not '%.80s'", text);
        return false;
    }
    memcpy(out->file, text, length);
    out->file[length] = '\0';
    out->weight = (float)weight;
    out->weighted = text[length] != '\0';
    return true;
}

int model_args_check(const char *program, const model_args *args)
{
    lora_choice lora;
    if (!args->model)
        return options_mistake(program, "which model? Give its folder with -m, for instance -m models/shapes");
    for (size_t i = 0; i < args->lora.count; i++)
        if (!lora_parse(program, args->lora.item[i], &lora)) return EXIT_USAGE;
    return OPTIONS_READY;
}

leco_status model_args_open(const model_args *args, leco_model **out, leco_error *err)
{
    const leco_model_options options = {.device = args->device,
                                        .precision = args->precision,
                                        .prediction = args->prediction,
                                        .vae = args->vae,
                                        .clip_skip = (int)args->clip_skip,
                                        .int8 = args->int8};
    leco_model *model = NULL;
    leco_status status = leco_model_open(args->model, &options, &model, err);
    for (size_t i = 0; status == LECO_OK && i < args->lora.count; i++) {
        lora_choice lora;
        if (lora_parse("leco", args->lora.item[i], &lora)) /* model_args_check has let it pass before */
            status = leco_model_add_lora(model, lora.file, lora.weight, err);
    }
    for (size_t i = 0; status == LECO_OK && i < args->embedding.count; i++)
        status = leco_model_add_embedding(model, args->embedding.item[i], err);
    if (status != LECO_OK) {
        leco_model_close(model);
        return status;
    }
    *out = model;
    return LECO_OK;
}

/* Where OMP_PROC_BIND or OMP_PLACES is set, libgomp has bound this thread to the first place by now, and a program that
 * is started anew would take that one for all there are. */
static void unbind(void)
{
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int p = 0; p < omp_get_num_places(); p++) {
        int count = omp_get_place_num_procs(p), *cpu = calloc((size_t)count + 1, sizeof *cpu);
        if (!cpu) return;
        omp_get_place_proc_ids(p, cpu);
        for (int i = 0; i < count; i++)
            if (cpu[i] >= 0 && cpu[i] < CPU_SETSIZE) CPU_SET((size_t)cpu[i], &all);
        free(cpu);
    }
    if (CPU_COUNT(&all) > 0) sched_setaffinity(0, sizeof all, &all);
}

void settle_process(char **argv)
{
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
#endif
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    unbind();
    if (setenv("GOMP_SPINCOUNT", "1000", 1) == 0) execv("/proc/self/exe", argv); /* returns only where it can't */
}

/* ---- results ---- */

int report_failure(leco_status status, const leco_error *err)
{
    const char *message = err->message[0] ? err->message : leco_status_name(status);
    fprintf(stderr, "leco: %s\n", message);
    return status == LECO_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_FAILED;
}

static bool ends_in_png(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".png") == 0;
}

/* mkdir -p; what there is already is left as it is. Returns 0 or errno. */
static int make_folders(const char *folder)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", folder);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES) return errno;
        *slash = '/';
    }
    return mkdir(part, 0777) == 0 || errno == EEXIST ? 0 : errno;
}

int output_check(const char *program, const char *path, bool png)
{
    struct stat info;
    if (png && !ends_in_png(path))
        return options_mistake(program, "--output %s: pictures are written as PNG; call it something.png", path);
    const bool there = stat(path, &info) == 0;
    if (there && !S_ISREG(info.st_mode)) {
        fprintf(stderr, "leco: %s: cannot write: is not a file\n", path);
        return EXIT_FAILED;
    }
    if (there ? faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0 : errno != ENOENT && errno != ENOTDIR) {
        fprintf(stderr, "leco: %s: cannot write: %s\n", path, strerror(errno));
        return EXIT_FAILED;
    }
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (length >= sizeof folder) return options_mistake(program, "--output: the path is too long");
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)length : 1, slash ? path : ".");
    if (slash == path) strcpy(folder, "/");
    int why = stat(folder, &info) != 0 && errno == ENOENT          ? make_folders(folder)
              : stat(folder, &info) != 0                           ? errno
              : !S_ISDIR(info.st_mode)                             ? ENOTDIR
              : faccessat(AT_FDCWD, folder, W_OK, AT_EACCESS) != 0 ? errno
                                                                   : 0;
    if (why != 0) {
        fprintf(stderr, "leco: %s: cannot write: folder %s: %s\n", path, folder, strerror(why));
        return EXIT_FAILED;
    }
    return OPTIONS_READY;
}

void output_name(char *out, size_t size, const char *path, size_t number, size_t count)
{
    if (count == 1) {
        snprintf(out, size, "%s", path);
    } else {
        size_t stem = strlen(path) - strlen(".png");
        snprintf(out, size, "%.*s-%zu.png", (int)stem, path, number);
    }
}

json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_text(const char *text)
{
    if (!text) return json_null();
    json_t *whole = json_string(text);
    if (whole) return whole;
    char *copy = strdup(text);
    if (!copy) return NULL;
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80) *c = '?';
    json_t *cleaned = json_string(copy);
    free(copy);
    return cleaned;
}

void print_json(json_t *document)
{
    json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(document);
}

/* ---- LoRAs that are computed ---- */

int lora_output_check(const char *program, const char *path)
{
    static const char end[] = ".safetensors";
    const size_t length = strlen(path);
    if (length <= strlen(end) || strcmp(path + length - strlen(end), end) != 0)
        return options_mistake(program, "--output %s: a LoRA is a .safetensors file; call it something.safetensors",
                               path);
    return output_check(program, path, false);
}

#define WORTH_TELLING 1e-5 /* a share: less is the rounding of float32 */

static void print_part(const char *name, size_t layers, double lost, const char *how)
{
    if (layers == 0) return;
    printf("%s: %zu layer%s changed", name, layers, layers == 1 ? "" : "s");
    if (lost >= WORTH_TELLING) printf(", %.3g %% of the change lost%s", 100 * lost, how);
    putchar('\n');
}

void print_merge_report(const char *path, leco_merge_report *r, const char *how, bool json)
{
    if (json) {
        print_json(json_pack("{s:o, s:I, s:I, s:I, s:o, s:o, s:f, s:o, s:I, s:f}", "file", json_text(path),
                             "layers_unet", (json_int_t)r->layers_unet, "layers_text_encoder",
                             (json_int_t)r->layers_text_encoder, "rank", (json_int_t)r->rank, "lost_unet",
                             number_or_null(r->lost_unet), "lost_text_encoder", number_or_null(r->lost_text_encoder),
                             "most_lost", r->most_lost, "most_lost_layer", json_text(r->most_lost_layer), "others",
                             (json_int_t)r->others, "seconds", r->seconds));
    } else {
        printf("%s\n", path);
        print_part("U-Net", r->layers_unet, r->lost_unet, how);
        print_part("text encoder", r->layers_text_encoder, r->lost_text_encoder, how);
        if (r->most_lost_layer && r->most_lost >= WORTH_TELLING)
            printf("most lost in one layer: %.3g %%, in %s\n", 100 * r->most_lost, r->most_lost_layer);
        if (r->others)
            printf("not in the LoRA: %zu other tensor%s that differ%s (norms, biases, ...)\n", r->others,
                   r->others == 1 ? "" : "s", r->others == 1 ? "s" : "");
    }
    leco_merge_report_free(r);
}
