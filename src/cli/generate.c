/* leco generate: draws pictures. */
#include <stdio.h>

#include "cli/common.h"

typedef struct generate_args {
    text_list prompts;
    int64_t count;
    const char *output;
} generate_args;

#define ARG(field) .offset = offsetof(generate_args, field)
static const option_spec generate_options[] = {
    {"prompt", 'p', OPTION_TEXTS, "PROMPT", ARG(prompts), .help = "what to draw. May be given several times"},
    {"count", 0, OPTION_WHOLE, "N", ARG(count), .min = 1, .max = 10000, .fallback = "1",
     .help = "pictures of each prompt"},
    {"output", 'o', OPTION_TEXT, "FILE.png", ARG(output), .fallback = "leco.png",
     .help = "where to; several pictures become FILE-1.png, FILE-2.png, ..."},
    {0},
};

/* Writes the pictures and prints their names. */
static leco_status write_pictures(const leco_images *images, size_t wanted, const generate_args *args, bool json,
                                  leco_error *err)
{
    leco_status status = LECO_OK;
    json_t *files = json_array();
    for (size_t i = 0; i < images->count && status == LECO_OK; i++) {
        char path[4200];
        const char *parameters = images->parameters ? images->parameters[i] : NULL;
        output_name(path, sizeof path, args->output, i + 1, wanted);
        status = leco_image_write(path, &images->image[i], parameters, err);
        if (status == LECO_OK && json)
            json_array_append_new(
                files, json_pack("{s:o, s:o}", "file", json_text(path), "parameters", json_text(parameters)));
        else if (status == LECO_OK)
            printf("%s\n", path);
    }
    if (json)
        print_json(json_pack("{s:o}", "pictures", files));
    else
        json_decref(files);
    return status;
}

static int draw(const model_args *from, const leco_generate_options *options, const generate_args *args, bool json,
                progress *bar)
{
    leco_error err = {0};
    leco_model *model = NULL;
    leco_images images = {0};
    leco_status status = model_args_open(from, &model, &err);
    if (status == LECO_OK) status = leco_generate(model, options, &images, &err);
    progress_end(bar, status == LECO_OK);
    if (status == LECO_OK || status == LECO_INTERRUPTED) {
        leco_error write_err = {0};
        size_t wanted = options->prompt_count * (size_t)options->images_per_prompt;
        leco_status written = write_pictures(&images, wanted, args, json, &write_err);
        if (written != LECO_OK) {
            status = written;
            err = write_err;
        }
    }
    leco_images_free(&images);
    leco_model_close(model);
    return status == LECO_OK ? EXIT_DONE : report_failure(status, &err);
}

static int run(int argc, char **argv)
{
    model_args model;
    generate_args args;
    drawing_args drawing;
    general_args general;
    const option_group groups[] = {{"What to draw", generate_options, &args},
                                   {"With which model", model_options, &model},
                                   {"How", drawing_options, &drawing},
                                   {"Besides", general_options, &general},
                                   {0}};
    const command_line line = {
        .program = "leco generate",
        .summary = "draws pictures",
        .usage = "-m MODEL -p PROMPT [options]",
        .details = "Prints the names of the files it has written. Each PNG carries its settings, as A1111 writes them.",
        .examples =
            "  leco generate -m models/shapes -p \"a small red star\" --guidance-scale 4 -o star.png\n" EXAMPLE_LORA
            "  leco generate -m models/shapes --lora out/erase_red.safetensors:0.5 -p \"a red star\" \\\n"
            "                --guidance-scale 4 -o faded.png\n"
            "  leco generate -m models/shapes -p \"a heart\" -p \"a moon\" --count 4 --seed 7 --guidance-scale 4 \\\n"
            "                -o many.png\n",
        .groups = groups,
    };
    int status = options_read(&line, argc, argv, NULL);
    if (status != OPTIONS_READY) return status;
    if (args.prompts.count == 0) return options_mistake(line.program, "what shall it draw? Give a prompt with -p");
    if ((status = model_args_check(line.program, &model)) != OPTIONS_READY) return status;
    if ((status = output_check(line.program, args.output, true)) != OPTIONS_READY) return status;
    progress bar;
    general_begin(&general, &bar, WORK_DRAWING);
    leco_generate_options options = drawing_apply(&drawing, &bar);
    options.prompts = args.prompts.item;
    options.prompt_count = args.prompts.count;
    options.images_per_prompt = (int)args.count;
    return draw(&model, &options, &args, general.json, &bar);
}

const command command_generate = {"generate", "draw pictures", run};
