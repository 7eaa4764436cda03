/* leco convert: a model in the other layout. */
#include <stdio.h>

#include "cli/common.h"

typedef struct convert_args {
    const char *output, *precision, *vae;
} convert_args;

#define ARG(field) .offset = offsetof(convert_args, field)
static const option_spec convert_options[] = {
    {"output", 'o', OPTION_TEXT, "FOLDER-OR-FILE", ARG(output),
     .help =
         "where to: something.safetensors is a checkpoint in one file, as A1111 and ComfyUI have them; anything else "
         "a folder as diffusers has it, which isn't there yet"},
    {"precision", 0, OPTION_CHOICE, "TYPE", ARG(precision), .choices = "float16|float32|bfloat16",
     .help = SAVED_PRECISION_HELP " (default: each tensor keeps its own)"},
    {"vae", 0, OPTION_TEXT, "PATH", ARG(vae), .help = VAE_HELP},
    {0},
};

static int run(int argc, char **argv)
{
    convert_args args;
    general_args general;
    text_list models;
    const option_group groups[] = {{"Options", convert_options, &args}, {"Besides", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco convert",
        .summary = "writes a model as a folder, or as one file",
        .usage = "MODEL -o FOLDER-OR-FILE [options]",
        .details =
            "MODEL is a folder, a checkpoint in one file (.safetensors, .ckpt), or the name of a model in the cache of "
            "Hugging Face's programs. What was written is read back and compared, number by number, before it takes "
            "its place. One file has no room for a tokenizer, so that the model's must be CLIP's: that of the small "
            "models in models/ isn't. Prints the name of what it has written.",
        .examples = "  leco convert something_v5.safetensors -o something_v5\n"
                    "  leco convert something_v5 --precision float16 -o smaller.safetensors\n"
                    "  leco convert models/shapes --precision float16 -o out/shapes16\n",
        .groups = groups,
        .operand = "MODEL",
        .fewest = 1,
        .most = 1,
    };
    int status = options_read_several(&line, argc, argv, &models);
    if (status != OPTIONS_READY) return status;
    if (!args.output) return options_mistake(line.program, "where to? Give -o FOLDER or -o FILE.safetensors");
    progress bar;
    leco_error err = {0};
    general_begin(&general, &bar, WORK_LAYERS);
    const leco_convert_options options = {
        .precision = args.precision, .vae = args.vae, .progress = progress_show, .user = &bar};
    leco_status result = leco_convert(models.item[0], args.output, &options, &err);
    progress_end(&bar, result == LECO_OK);
    if (result != LECO_OK) return report_failure(result, &err);
    if (general.json)
        print_json(json_pack("{s:o}", "file", json_text(args.output)));
    else
        printf("%s\n", args.output);
    return EXIT_DONE;
}

const command command_convert = {"convert", "write a model as a folder, or as one file", run};
