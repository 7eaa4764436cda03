/* leco inspect: what is in a file or a model. */
#include <stdio.h>
#include <string.h>

#include "cli/common.h"

static int run(int argc, char **argv)
{
    general_args general;
    const char *path = NULL;
    const option_group groups[] = {{"Options", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco inspect",
        .summary = "tells what is in a model, a LoRA or a picture",
        .usage = "FILE-OR-MODEL [--json]",
        .details = "A model's folder: its parts and their sizes. A .safetensors file: its tensors and metadata; of a "
                   "LoRA also its "
                   "rank and what it changes. A PNG: the settings it was drawn with.",
        .examples = "  leco inspect models/shapes\n" EXAMPLE_LORA "  leco inspect out/erase_red.safetensors\n"
                    "  leco inspect star.png\n",
        .groups = groups,
        .operand = "FILE-OR-MODEL",
    };
    int status = options_read(&line, argc, argv, &path);
    if (status != OPTIONS_READY) return status;
    progress bar;
    general_begin(&general, &bar, WORK_UNSEEN);
    leco_error err = {0};
    char *text = NULL;
    leco_status result = leco_inspect(path, general.json, &text, &err);
    progress_end(&bar, false);
    if (result != LECO_OK) return report_failure(result, &err);
    size_t length = strlen(text);
    printf("%s%s", text, length && text[length - 1] == '\n' ? "" : "\n");
    leco_free(text);
    return EXIT_DONE;
}

const command command_inspect = {"inspect", "tell what is in a model, a LoRA or a picture", run};
