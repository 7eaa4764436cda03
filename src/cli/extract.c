/* leco extract: what one model learnt beyond another, as a LoRA. */
#include <stdio.h>

#include "cli/common.h"

typedef struct extract_args {
    const char *output, *part, *precision;
    int64_t rank;
} extract_args;

#define ARG(field) .offset = offsetof(extract_args, field)
static const option_spec extract_options[] = {
    {"output", 'o', OPTION_TEXT, "FILE", ARG(output), .help = "where to: a .safetensors file"},
    {"rank", 0, OPTION_WHOLE, "N", ARG(rank), .min = 1, .max = 65536,
     .help = "how much the LoRA can hold: with a higher rank it loses less, and its file is larger. What a LoRA was "
             "merged into needs that LoRA's rank; whole models that were trained further, 32 to 128"},
    {"part", 0, OPTION_CHOICE, "PART", ARG(part), .choices = "unet|text-encoder|both", .fallback = "both",
     .help = "of the models: $names"},
    {"precision", 0, OPTION_CHOICE, "TYPE", ARG(precision), .choices = "float16|float32|bfloat16",
     .fallback = "float16", .help = SAVED_PRECISION_HELP},
    {0},
};

static int extract(const text_list *models, const extract_args *args, bool json, progress *bar)
{
    leco_error err = {0};
    leco_merge_report report = {0};
    const leco_extract_options options = {
        .rank = args->rank, .part = args->part, .precision = args->precision, .progress = progress_show, .user = bar};
    leco_status status = leco_extract(models->item[0], models->item[1], args->output, &options, &report, &err);
    progress_end(bar, status == LECO_OK);
    if (status != LECO_OK) return report_failure(status, &err);
    print_merge_report(args->output, &report, "", json);
    return EXIT_DONE;
}

static int run(int argc, char **argv)
{
    extract_args args;
    general_args general;
    text_list models;
    const option_group groups[] = {{"Options", extract_options, &args}, {"Besides", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco extract",
        .summary = "makes a LoRA of the difference of two models",
        .usage = "BASE TUNED --rank N -o FILE.safetensors [options]",
        .details =
            "BASE and TUNED are models of one shape, folders or files. The LoRA, put on BASE, comes as near to TUNED "
            "as its "
            "rank allows: in each layer the change keeps its largest singular values, 3x3 convolutions included. "
            "Layers that are the same in both are left out. Prints the name of the file, and which share of the change "
            "was lost, in each part and at worst in one layer.",
        .examples = "  # out/shapes-without-red is what the last example of 'leco merge --help' writes\n"
                    "  leco extract models/shapes out/shapes-without-red --rank 8 -o out/extracted.safetensors\n"
                    "  leco extract models/shapes out/shapes-without-red --rank 1 --part unet -o out/rough.safetensors "
                    "--json\n",
        .groups = groups,
        .operand = "MODEL",
        .fewest = 2,
        .most = 2,
    };
    int status = options_read_several(&line, argc, argv, &models);
    if (status != OPTIONS_READY) return status;
    if (!args.rank) return options_mistake(line.program, "how much shall the LoRA hold? Give --rank N, such as 32");
    if (!args.output) return options_mistake(line.program, "where to? Give -o FILE.safetensors");
    if ((status = lora_output_check(line.program, args.output)) != OPTIONS_READY) return status;
    progress bar;
    general_begin(&general, &bar, WORK_LAYERS);
    return extract(&models, &args, general.json, &bar);
}

const command command_extract = {"extract", "make a LoRA of the difference of two models", run};
