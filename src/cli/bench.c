/* leco bench: how fast this machine is at it. */
#include <stdio.h>
#include <string.h>

#include "cli/common.h"

typedef struct bench_args {
    const char *model, *preset, *precision, *device;
    int64_t width, height;
    bool int8;
} bench_args;

#define ARG(field) .offset = offsetof(bench_args, field)
static const option_spec bench_options[] = {
    {"model", 'm', OPTION_TEXT, "MODEL", ARG(model), .help = "a model's folder"},
    {"preset", 0, OPTION_CHOICE, "NAME", ARG(preset), .choices = "sd15|sd21|sdxl",
     .help = "or the shape of a full-size one, with random weights, no file needed: sd15 (the default), sd21 or sdxl"},
    {"precision", 0, OPTION_CHOICE, "TYPE", ARG(precision), .choices = PRECISIONS,
     .help = "one only: $names (default: float32, and what the device likes best)"},
    {"device", 0, OPTION_CHOICE, "DEVICE", ARG(device), .choice_at = leco_device_name, .later = "cuda",
     .help = "cuda, cpu or ref (default: cuda where a card is found, else cpu)"},
    {"int8", 0, OPTION_FLAG, .offset = offsetof(bench_args, int8), .help = INT8_HELP},
    {"width", 0, OPTION_WHOLE, "PIXELS", ARG(width), .min = 8, .max = 4096, .help = "(default: the model's own)"},
    {"height", 0, OPTION_WHOLE, "PIXELS", ARG(height), .min = 8, .max = 4096, .help = "(default: the model's own)"},
    {0},
};

static int run(int argc, char **argv)
{
    bench_args args;
    general_args general;
    const option_group groups[] = {{"Options", bench_options, &args}, {"Besides", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco bench",
        .summary = "times a U-Net on this machine",
        .usage = "[--preset sd15|sd21|sdxl | -m MODEL] [options]",
        .details = "Times one forward (batch 2) and a training step's forward and backward (batch 1), against the rate "
                   "that this "
                   "machine reaches in plain matrix products in the same run; memory planned and measured; and where "
                   "the time goes, by operator.",
        .examples = "  leco bench --preset sd15\n"
                    "  leco bench -m models/shapes --precision float32 --json\n",
        .groups = groups,
    };
    int status = options_read(&line, argc, argv, NULL);
    if (status != OPTIONS_READY) return status;
    if (args.model && args.preset) return options_mistake(line.program, "--model or --preset, not both");
    progress bar;
    general_begin(&general, &bar, WORK_TIMING);
    const leco_bench_options options = {
        .model = args.model,
        .preset = args.model    ? NULL
                  : args.preset ? args.preset
                                : "sd15",
        .precision = args.precision,
        .device = args.device,
        .width = (int)args.width,
        .height = (int)args.height,
        .json = general.json,
        .progress = progress_show,
        .user = &bar,
        .int8 = args.int8,
    };
    leco_error err = {0};
    char *text = NULL;
    leco_status result = leco_bench(&options, &text, &err);
    progress_end(&bar, false);
    if (result != LECO_OK) return report_failure(result, &err);
    size_t length = strlen(text);
    printf("%s%s", text, length && text[length - 1] == '\n' ? "" : "\n");
    leco_free(text);
    return EXIT_DONE;
}

const command command_bench = {"bench", "time a U-Net on this machine", run};
