/* leco grid: a contact sheet, prompts down and LoRA weights across. */
#include <stdio.h>

#include "cli/common.h"

typedef struct grid_args {
    text_list prompts;
    number_list weights;
    const char *output;
} grid_args;

#define ARG(field) .offset = offsetof(grid_args, field)
static const option_spec grid_options[] = {
    {"prompt", 'p', OPTION_TEXTS, "PROMPT", ARG(prompts), .help = "one row a prompt: give it several times"},
    {"weights", 0, OPTION_NUMBERS, "W,W,...", ARG(weights), .min = -1000, .max = 1000, .fallback = "-1,0,0.5,1",
     .help = "one column a weight, given to the last --lora"},
    {"output", 'o', OPTION_TEXT, "FILE.png", ARG(output), .fallback = "grid.png", .help = "where to"},
    {0},
};

static int draw(const model_args *from, const leco_generate_options *options, const grid_args *args, bool json,
                progress *bar)
{
    float weights[LIST_MAX];
    for (size_t i = 0; i < args->weights.count; i++) weights[i] = (float)args->weights.item[i];
    leco_error err = {0};
    leco_model *model = NULL;
    leco_images sheet = {0};
    leco_status status = model_args_open(from, &model, &err);
    if (status == LECO_OK) status = leco_grid(model, options, weights, args->weights.count, &sheet, &err);
    progress_end(bar, status == LECO_OK);
    if (status == LECO_OK)
        status = leco_image_write(args->output, &sheet.image[0], sheet.parameters ? sheet.parameters[0] : NULL, &err);
    leco_images_free(&sheet);
    leco_model_close(model);
    if (status != LECO_OK) return report_failure(status, &err);
    if (json)
        print_json(json_pack("{s:o}", "file", json_text(args->output)));
    else
        printf("%s\n", args->output);
    return EXIT_DONE;
}

static int run(int argc, char **argv)
{
    model_args model;
    grid_args args;
    drawing_args drawing;
    general_args general;
    const option_group groups[] = {{"What to draw", grid_options, &args},
                                   {"With which model", model_options, &model},
                                   {"How", drawing_options, &drawing},
                                   {"Besides", general_options, &general},
                                   {0}};
    const command_line line = {
        .program = "leco grid",
        .summary = "draws a contact sheet: prompts down, weights of a LoRA across",
        .usage = "-m MODEL -p PROMPT... --lora FILE --weights -1,0,0.5,1 [options] -o FILE.png",
        .details = "Every row starts from the same noise, so that what changes along it is the LoRA's doing.",
        .examples = EXAMPLE_LORA
        "  leco grid -m models/shapes --lora out/erase_red.safetensors -p \"a red star\" -p \"a blue star\" \\\n"
        "            --guidance-scale 4 -o sheet.png\n",
        .groups = groups,
    };
    int status = options_read(&line, argc, argv, NULL);
    if (status != OPTIONS_READY) return status;
    if (args.prompts.count == 0) return options_mistake(line.program, "what shall it draw? Give prompts with -p");
    if ((status = model_args_check(line.program, &model)) != OPTIONS_READY) return status;
    if (model.lora.count == 0) return options_mistake(line.program, "whose weight shall vary? Give a LoRA with --lora");
    lora_choice varied;
    if (!lora_parse(line.program, model.lora.item[model.lora.count - 1], &varied)) return EXIT_USAGE;
    if (varied.weighted)
        return options_mistake(line.program, "%s: the weight of the last LoRA is what varies: say with --weights how",
                               varied.file);
    if ((status = output_check(line.program, args.output, true)) != OPTIONS_READY) return status;
    progress bar;
    general_begin(&general, &bar, WORK_SHEET);
    leco_generate_options options = drawing_apply(&drawing, &bar);
    options.prompts = args.prompts.item;
    options.prompt_count = args.prompts.count;
    return draw(&model, &options, &args, general.json, &bar);
}

const command command_grid = {"grid", "draw a contact sheet: prompts down, LoRA weights across", run};
