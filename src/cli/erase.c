/* leco erase and leco enhance: a concept taken out of a model, or made to mean more, in seconds. */
#include <stdio.h>
#include <string.h>

#include "cli/common.h"

typedef struct erase_args {
    text_list to, contexts, keep, grid;
    const char *context_file, *keep_file, *method, *output, *saved_as;
    int64_t rank, max_rank, rounds;
    double strength, lambda;
} erase_args;

#define ARG(field) .offset = offsetof(erase_args, field)
#define OPTIONS(TO_HELP, STRENGTH, STRENGTH_HELP)                                                                      \
    {"to", 0, OPTION_TEXTS, "TEXT[:SHARE]", ARG(to), .help = TO_HELP},                                                 \
        {"in",                                                                                                         \
         0,                                                                                                            \
         OPTION_TEXTS,                                                                                                 \
         "TEXT",                                                                                                       \
         ARG(contexts),                                                                                                \
         .help =                                                                                                       \
             "a text with {} where the concept stands, perhaps with wildcards: \"a {small|large} {} vase\". May be "   \
             "given several times (default: texts of leco's own, for colors, objects, styles, sizes, artists and "     \
             "persons)"},                                                                                              \
        {"in-file",         0,                                                                                         \
         OPTION_TEXT,       "FILE",                                                                                    \
         ARG(context_file), .help = "such texts, one a line; prompts that say the concept have the {} there"},         \
        {"keep",                                                                                                       \
         0,                                                                                                            \
         OPTION_TEXTS,                                                                                                 \
         "TEXT",                                                                                                       \
         ARG(keep),                                                                                                    \
         .help = "a word or a prompt that is to stay; one with wildcards is all that it means. May be given several "  \
                 "times (always kept: the empty prompt, and the contexts with other words of the concept's kind)"},    \
        {"keep-file",    0,                                                                                            \
         OPTION_TEXT,    "FILE",                                                                                       \
         ARG(keep_file), .help = "such texts, one a line; as with --in-file. Of more than 1000, 1000 are drawn"},      \
        {"method",                                                                                                     \
         0,                                                                                                            \
         OPTION_CHOICE,                                                                                                \
         "NAME",                                                                                                       \
         ARG(method),                                                                                                  \
         .choices = "uce|speed",                                                                                       \
         .fallback = "uce",                                                                                            \
         .help = "uce weighs what is to change against what is to stay; speed changes only how directions are read "   \
                 "that what is kept hardly has, and values only"},                                                     \
        {"rounds",                                                                                                     \
         0,                                                                                                            \
         OPTION_WHOLE,                                                                                                 \
         "N",                                                                                                          \
         ARG(rounds),                                                                                                  \
         .max = 3,                                                                                                     \
         .help = "after that, also what still reads as the concept, so many times, 3 at most (RECE)"},                 \
        {"rank",                                                                                                       \
         0,                                                                                                            \
         OPTION_WHOLE,                                                                                                 \
         "N",                                                                                                          \
         ARG(rank),                                                                                                    \
         .max = 1024,                                                                                                  \
         .help = "of the LoRA (default: as low as keeps 80% of the change)"},                                          \
        {"max-rank",                                                                                                   \
         0,                                                                                                            \
         OPTION_WHOLE,                                                                                                 \
         "N",                                                                                                          \
         ARG(max_rank),                                                                                                \
         .min = 1,                                                                                                     \
         .max = 1024,                                                                                                  \
         .fallback = "32",                                                                                             \
         .help = "the highest that this may come to"},                                                                 \
        {"save-precision",      0,                                                                                     \
         OPTION_CHOICE,         "TYPE",                                                                                \
         ARG(saved_as),         .choices = "float16|float32|bfloat16",                                                 \
         .fallback = "float16", .help = "of the file's tensors"},                                                      \
        {"strength",           0, OPTION_NUMBER, "S", ARG(strength), .max = 100, .above = true, .fallback = STRENGTH,  \
         .help = STRENGTH_HELP},                                                                                       \
        {"lambda",                                                                                                     \
         0,                                                                                                            \
         OPTION_NUMBER,                                                                                                \
         "L",                                                                                                          \
         ARG(lambda),                                                                                                  \
         .max = 1000000,                                                                                               \
         .fallback = "0.0001",                                                                                         \
         .help = "what it costs to change anything: more is more careful"},                                            \
        {"output",           'o',         OPTION_TEXT,                                                                 \
         "FILE.safetensors", ARG(output), .help = "where to (default: the first concept's name)"},                     \
        {"grid",                                                                                                       \
         0,                                                                                                            \
         OPTION_TEXTS,                                                                                                 \
         "PROMPT...",                                                                                                  \
         ARG(grid),                                                                                                    \
         .several = true,                                                                                              \
         .help = "draw these without and with the LoRA, into a picture beside it: all that follows up to the next "    \
                 "option, so "                                                                                         \
                 "that concepts stand before it, or behind --. May be given several times"},                           \
    {                                                                                                                  \
        0                                                                                                              \
    }

static const option_spec erase_option_list[] = {OPTIONS(
    "what comes in its place, \"\" for nothing; of several, each by its share, \"a man:0.5\" (default: of the words of "
    "its kind the nearest that the model knows; words of the tokenizer's vocabulary that are nearer still are said at "
    "the end, and taken where no list of leco's has the concept)",
    "1", "how far to go: at 1 all the way")};
static const option_spec enhance_option_list[] = {OPTIONS(
    "what it is to be told from more, \"\" for nothing (default: the word nearest to it that the model knows)", "0.3",
    "how much more, in parts of what lies between the two: much more than this, and the model has never seen such a "
    "word")};

/* Of model_options those that make sense: the model is taken as it is, without LoRAs. */
#define MODEL(field) .offset = offsetof(model_args, field)
static const option_spec of_model[] = {
    {"model", 'm', OPTION_TEXT, "MODEL", MODEL(model),
     .help = "the model: a folder as diffusers writes it, or a checkpoint in one file"},
    {"embedding", 0, OPTION_TEXTS, "FILE", MODEL(embedding), .help = EMBEDDING_HELP},
    {"device", 0, OPTION_CHOICE, "DEVICE", MODEL(device), .choice_at = leco_device_name, .later = "cuda",
     .help = DEVICE_HELP},
    {"precision", 0, OPTION_CHOICE, "TYPE", MODEL(precision), .choices = PRECISIONS, .help = PRECISION_HELP},
    {"prediction", 0, OPTION_CHOICE, "KIND", MODEL(prediction), .choices = PREDICTIONS, .help = PREDICTION_HELP},
    {"lora", 0, OPTION_REFUSED, .help = "has no place here: the model is taken as it is"},
    {"clip-skip", 0, OPTION_WHOLE, "N", MODEL(clip_skip), .min = 1, .max = 24, .fallback = "1", .help = CLIP_SKIP_HELP},
    {"vae", 0, OPTION_TEXT, "PATH", MODEL(vae), .help = VAE_HELP " (with --grid)"},
    {0},
};

/* ---- after the solve ---- */

static leco_generate_options sheet_options(const drawing_args *drawing, const erase_args *args, progress *bar)
{
    leco_generate_options o = drawing_apply(drawing, bar);
    o.prompts = args->grid.item;
    o.prompt_count = args->grid.count;
    return o;
}

static leco_status draw_sheet(const model_args *from, const drawing_args *drawing, const erase_args *args,
                              const char *lora, const char *sheet, progress *bar, leco_error *err)
{
    const float weights[] = {0, 1};
    model_args with = *from;
    with.lora.item[0] = lora;
    with.lora.count = 1;
    leco_model *model = NULL;
    leco_images images = {0};
    const leco_generate_options o = sheet_options(drawing, args, bar);
    leco_status status = model_args_open(&with, &model, err);
    if (status == LECO_OK) status = leco_grid(model, &o, weights, 2, &images, err);
    progress_end(bar, status == LECO_OK);
    if (status == LECO_OK)
        status = leco_image_write(sheet, &images.image[0], images.parameters ? images.parameters[0] : NULL, err);
    leco_images_free(&images);
    leco_model_close(model);
    return status;
}

static void print_report(const leco_erase_report *report, const general_args *general, const char *file,
                         const char *sheet)
{
    if (general->json) {
        json_t *all = json_loads(report->json, 0, NULL);
        if (all && sheet) json_object_set_new(all, "grid", json_text(sheet));
        if (all) print_json(all);
        return;
    }
    if (!general->quiet) fprintf(stderr, "%sin %.2f s\n", report->summary, report->seconds);
    printf("%s\n", file);
    if (sheet) printf("%s\n", sheet);
}

/* ---- the names of files ---- */

/* "van gogh" -> "van_gogh.safetensors" */
static void name_after(const char *concept, char *out, size_t size)
{
    size_t length = 0;
    for (const char *c = concept; *c && length + sizeof ".safetensors" < size; c++)
        out[length++] = strchr(" /\\:*?\"<>|", *c) || (unsigned char)*c < 0x20 ? '_' : *c;
    strcpy(out + length, ".safetensors");
}

/* "x.safetensors" -> "x.png" */
static void sheet_name(const char *file, char *out, size_t size)
{
    const char *dot = strrchr(file, '.');
    const int length = (int)(dot && !strchr(dot, '/') ? (size_t)(dot - file) : strlen(file));
    snprintf(out, size, "%.*s.png", length, file);
}

/* ---- the command ---- */

typedef struct erase_line {
    const char *program, *file, *sheet;
    const char *how_to_draw; /* an option of these that was given, or NULL */
    const model_args *model;
    const drawing_args *drawing;
    const erase_args *args;
    const text_list *concepts;
    const general_args *general;
    bool enhance;
} erase_line;

static int do_it(const erase_line *line)
{
    const erase_args *args = line->args;
    leco_error err = {0};
    leco_model *model = NULL;
    leco_erase_report report = {0};
    progress bar;
    general_begin(line->general, &bar, WORK_SOLVING);
    leco_erase_options o = leco_erase_defaults();
    o.concepts = line->concepts->item, o.concept_count = line->concepts->count;
    o.to = args->to.item, o.to_count = args->to.count;
    o.contexts = args->contexts.item, o.context_count = args->contexts.count;
    o.keep = args->keep.item, o.keep_count = args->keep.count;
    o.context_file = args->context_file, o.keep_file = args->keep_file;
    o.enhance = line->enhance;
    o.method = args->method;
    o.rounds = (int)args->rounds;
    o.strength = args->strength, o.lambda = args->lambda;
    o.rank = (int)args->rank, o.max_rank = (int)args->max_rank;
    o.precision = args->saved_as;
    o.progress = progress_show, o.user = &bar;
    leco_status status = model_args_open(line->model, &model, &err);
    if (status == LECO_OK && args->grid.count > 0) {
        const leco_generate_options drawn = sheet_options(line->drawing, args, &bar);
        status = leco_generate_check(model, &drawn, &err);
    }
    if (status == LECO_OK) status = leco_erase(model, &o, line->file, &report, &err);
    progress_end(&bar, status == LECO_OK);
    leco_model_close(model);
    const bool draw = status == LECO_OK && args->grid.count > 0;
    if (draw) {
        general_begin(line->general, &bar, WORK_SHEET);
        status = draw_sheet(line->model, line->drawing, args, line->file, line->sheet, &bar, &err);
    }
    if (report.json) print_report(&report, line->general, line->file, draw && status == LECO_OK ? line->sheet : NULL);
    leco_erase_report_free(&report);
    return status == LECO_OK ? EXIT_DONE : report_failure(status, &err);
}

static int check_and_do(erase_line *line)
{
    char file[4096], sheet[4096 + 8];
    if (line->model->lora.count > 0) return options_mistake(line->program, "takes the model as it is, without --lora");
    if (line->how_to_draw && line->args->grid.count == 0)
        return options_mistake(line->program, "--%s is for a sheet: say with --grid what to draw", line->how_to_draw);
    if (line->drawing->latents)
        return options_mistake(line->program, "--latents: a grid draws its own noise; give a --seed instead");
    int status = model_args_check(line->program, line->model);
    if (status != OPTIONS_READY) return status;
    if (line->args->output)
        snprintf(file, sizeof file, "%s", line->args->output);
    else
        name_after(line->concepts->item[0], file, sizeof file);
    sheet_name(file, sheet, sizeof sheet);
    line->file = file;
    line->sheet = sheet;
    if ((status = lora_output_check(line->program, file)) != OPTIONS_READY) return status;
    if (line->args->grid.count > 0 && (status = output_check(line->program, sheet, true)) != OPTIONS_READY)
        return status;
    return do_it(line);
}

static int run(int argc, char **argv, bool enhance, const option_spec *options, command_line *line)
{
    model_args model = {0}; /* with no LoRAs */
    erase_args args;
    drawing_args drawing;
    general_args general;
    text_list concepts;
    const char *how_to_draw;
    const option_group groups[] = {{"What", options, &args},
                                   {"Of which model", of_model, &model},
                                   {"How to draw the --grid", drawing_options, &drawing},
                                   {"Besides", general_options, &general},
                                   {0}};
    line->groups = groups;
    line->operand = "CONCEPT";
    line->fewest = 1;
    line->most = LIST_MAX;
    line->watched = drawing_options;
    line->given = &how_to_draw;
    int status = options_read_several(line, argc, argv, &concepts);
    if (status != OPTIONS_READY) return status;
    erase_line all = {.program = line->program,
                      .how_to_draw = how_to_draw,
                      .model = &model,
                      .drawing = &drawing,
                      .args = &args,
                      .concepts = &concepts,
                      .general = &general,
                      .enhance = enhance};
    return check_and_do(&all);
}

static int run_erase(int argc, char **argv)
{
    command_line line = {
        .program = "leco erase",
        .summary = "takes concepts out of a model in seconds, without training",
        .usage = "-m MODEL CONCEPT... [options]",
        .details =
            "Solves for the smallest change by which the model reads a concept, in contexts, like another word, and "
            "writes it as a LoRA. Only the text encoder runs. What it chose, how far the concept and what is kept have "
            "moved: all of that is said at the end. 'leco train' goes on from there where that is not enough.",
        .examples = "  leco erase -m models/shapes red\n"
                    "  leco erase -m models/shapes red --to blue --grid \"a red star\" --guidance-scale 4\n"
                    "  leco erase -m models/shapes star heart -o no_stars.safetensors\n",
    };
    return run(argc, argv, false, erase_option_list, &line);
}

static int run_enhance(int argc, char **argv)
{
    command_line line = {
        .program = "leco enhance",
        .summary = "makes words mean more to a model, in seconds, without training",
        .usage = "-m MODEL CONCEPT... [options]",
        .details = "The same solve as that of 'leco erase', the other way: in contexts, a concept is read as more of "
                   "what tells it from another word, or from none.",
        .examples = "  leco enhance -m models/shapes striped --grid \"a red star, striped style\" --guidance-scale 4\n",
    };
    return run(argc, argv, true, enhance_option_list, &line);
}

const command command_erase = {"erase", "take a concept out of a model in seconds, without training", run_erase};
const command command_enhance = {"enhance", "make a word mean more to a model, in seconds, without training",
                                 run_enhance};
