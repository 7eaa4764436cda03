/* leco merge: several LoRAs become one, or part of a model. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"

typedef struct merge_args {
    const char *output, *into, *model, *precision;
    int64_t rank;
} merge_args;

#define ARG(field) .offset = offsetof(merge_args, field)
static const option_spec merge_options[] = {
    {"output", 'o', OPTION_TEXT, "FILE-OR-FOLDER", ARG(output),
     .help = "where to: a .safetensors file, or with --into a folder that isn't there yet, unless the model is a file"},
    {"rank", 0, OPTION_WHOLE, "N", ARG(rank), .min = 1, .max = 65536,
     .help = "keep no more than this rank in each layer: a smaller file, and what it loses is printed (default, and "
             "above the rank that there is: keep everything; the ranks add up)"},
    {"precision", 0, OPTION_CHOICE, "TYPE", ARG(precision), .choices = "float16|float32|bfloat16",
     .help = SAVED_PRECISION_HELP " (default float16)"},
    {"model", 'm', OPTION_TEXT, "MODEL", ARG(model),
     .help = "the model that the LoRAs are for: checks that they fit it. LoHas and LoKrs can't be joined without it "
             "and --rank"},
    {"into", 0, OPTION_TEXT, "MODEL", ARG(into),
     .help = "write a copy of this model with the LoRAs in its weights, in place of a LoRA"},
    {0},
};

/* What can't be together, or is missing. */
static int check(const char *program, const merge_args *args)
{
    if (!args->output)
        return options_mistake(program, "where to? Give -o %s", args->into ? "FOLDER" : "FILE.safetensors");
    if (!args->into) return lora_output_check(program, args->output);
    if (args->rank)
        return options_mistake(program, "--rank is for a LoRA: a model's weights hold all of the change anyway");
    if (args->precision)
        return options_mistake(program, "--precision is for a LoRA: a model's weights keep their own types");
    if (args->model) return options_mistake(program, "--into names the model already: leave --model out");
    return OPTIONS_READY;
}

static int merge(const leco_lora *loras, size_t count, const merge_args *args, const general_args *general,
                 progress *bar)
{
    leco_error err = {0};
    leco_merge_report report = {0};
    const leco_merge_options options = {
        .model = args->model, .rank = args->rank, .precision = args->precision, .progress = progress_show, .user = bar};
    leco_status status = args->into ? leco_merge_into(args->into, loras, count, args->output, &options, &report, &err)
                                    : leco_merge(loras, count, args->output, &options, &report, &err);
    progress_end(bar, status == LECO_OK);
    if (status != LECO_OK) return report_failure(status, &err);
    print_merge_report(args->output, &report, args->into ? " to rounding" : "", general->json);
    return EXIT_DONE;
}

static int parse_and_merge(const char *program, const text_list *files, const merge_args *args,
                           const general_args *general)
{
    lora_choice *choices = calloc(files->count, sizeof *choices);
    leco_lora *loras = calloc(files->count, sizeof *loras);
    int status = choices && loras ? OPTIONS_READY : EXIT_FAILED;
    if (status == EXIT_FAILED) fputs("leco: out of memory\n", stderr);
    for (size_t i = 0; status == OPTIONS_READY && i < files->count; i++) {
        if (!lora_parse(program, files->item[i], &choices[i])) status = EXIT_USAGE;
        loras[i] = (leco_lora){choices[i].file, choices[i].weight};
    }
    if (status == OPTIONS_READY) {
        progress bar;
        general_begin(general, &bar, WORK_LAYERS);
        status = merge(loras, files->count, args, general, &bar);
    }
    free(choices);
    free(loras);
    return status;
}

static int run(int argc, char **argv)
{
    merge_args args;
    general_args general;
    text_list files;
    const option_group groups[] = {{"Options", merge_options, &args}, {"Besides", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco merge",
        .summary = "joins LoRAs into one, or into a model",
        .usage = "FILE[:WEIGHT]... [--rank N | --into MODEL] -o FILE-OR-FOLDER [options]",
        .details =
            "The result does what the LoRAs do when they are used together at these weights (1 where none is given; 0 "
            "and below work, too). One file with --rank makes that file smaller. LoRAs must be for the same model; an "
            "embedding can't be joined, it is no change to a model's layers. Prints the name of what it has written, "
            "and what was lost.",
        .examples = EXAMPLE_LORA
        "  # and out/enhance_blue.safetensors what 'leco train examples/enhance_blue.yaml' writes\n"
        "  leco merge out/erase_red.safetensors out/enhance_blue.safetensors:0.7 -o out/both.safetensors\n"
        "  leco merge out/both.safetensors --rank 4 -o out/small.safetensors\n"
        "  leco merge out/erase_red.safetensors --into models/shapes -o out/shapes-without-red\n",
        .groups = groups,
        .operand = "FILE",
        .most = LIST_MAX,
    };
    int status = options_read_several(&line, argc, argv, &files);
    if (status == OPTIONS_READY) status = check(line.program, &args);
    return status == OPTIONS_READY ? parse_and_merge(line.program, &files, &args, &general) : status;
}

const command command_merge = {"merge", "join LoRAs into one, or into a model", run};
