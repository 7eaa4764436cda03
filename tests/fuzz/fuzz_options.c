/* The command line: one argument a line. */
#define _GNU_SOURCE
#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"

const char *const fuzz_words[] = {"--steps\n",
                                  "--steps=",
                                  "--seed\n",
                                  "--width\n",
                                  "--guidance-scale\n",
                                  "--lora\n",
                                  "--lora=a.safetensors:0.5",
                                  "--memory\n",
                                  "4G",
                                  "512MiB",
                                  "1.5T",
                                  "1e3K",
                                  "--weights\n",
                                  "-1,0,0.5",
                                  "--rng=cuda",
                                  "--device\n",
                                  "--precision\n",
                                  "bfloat16",
                                  "--json\n",
                                  "-n",
                                  "-q",
                                  "--",
                                  "-",
                                  "--help",
                                  "inf",
                                  "0x10",
                                  "+5",
                                  "1e999",
                                  ":",
                                  ",",
                                  NULL};

#define MAX_ARGUMENTS 40

typedef struct more_args {
    uint64_t memory;
    number_list weights;
    bool flag;
    const char *prompt;
} more_args;

#define MORE(field) .offset = offsetof(more_args, field)
static const option_spec more_options[] = {
    {"memory", 0, OPTION_BYTES, "SIZE", MORE(memory), .help = "bytes"},
    {"weights", 'w', OPTION_NUMBERS, "LIST", MORE(weights), .min = -10, .max = 10, .help = "numbers"},
    {"flag", 'f', OPTION_FLAG, MORE(flag), .help = "a flag"},
    {"prompt", 'p', OPTION_PROMPT, "PROMPT", MORE(prompt), .help = "a prompt"},
    {"old", 0, OPTION_REFUSED, .help = "is not in this version of leco"},
    {0},
};

static general_args general;
static model_args models;
static drawing_args drawing;
static more_args more;

static const option_group groups[] = {{"General", general_options, &general},
                                      {"Model", model_options, &models},
                                      {"Drawing", drawing_options, &drawing},
                                      {"More", more_options, &more},
                                      {0}};
static const command_line line = {.program = "leco fuzz",
                                  .summary = "Nothing.",
                                  .usage = "FILE",
                                  .examples = "",
                                  .groups = groups,
                                  .operand = "FILE"};

/* ---- what the program prints, kept ---- */

static char *printed;
static size_t printed_size;

/* glibc's stdout and stderr are variables; the reports of sanitizers don't go through them. */
static int with_output_kept(int (*call)(int argc, char **argv), int argc, char **argv)
{
    static FILE *sink;
    FILE *out = stdout, *err = stderr;
    if (!sink) sink = open_memstream(&printed, &printed_size);
    FUZZ_CHECK(sink && fseeko(sink, 0, SEEK_SET) == 0);
    stdout = stderr = sink;
    int status = call(argc, argv);
    stdout = out;
    stderr = err;
    FUZZ_CHECK(fputc('\0', sink) == 0 && fflush(sink) == 0);
    return status;
}

/* ---- checks ---- */

static void check_between(double value, double low, double high)
{
    FUZZ_CHECK(value >= low && value <= high);
}

static bool is_one_of(const char *text, const char *a, const char *b)
{
    return text && (strcmp(text, a) == 0 || strcmp(text, b) == 0);
}

static void check_values(void)
{
    check_between((double)general.threads, 0, 1024);
    check_between((double)drawing.steps, 1, 1000);
    check_between((double)drawing.seed, -1, (double)INT64_MAX);
    check_between(drawing.guidance_scale, -1000, 1000);
    check_between((double)drawing.batch, 1, 256);
    if (drawing.width) check_between((double)drawing.width, 8, 8192);
    if (drawing.height) check_between((double)drawing.height, 8, 8192);
    if (more.memory) check_between((double)more.memory, 1, 0x1p62);
    const char *device = models.device; /* NULL: whatever there is */
    FUZZ_CHECK(!device || is_one_of(device, "cpu", "ref") || is_one_of(device, "cuda", "cuda"));
    FUZZ_CHECK(is_one_of(drawing.rng, "cpu", "cuda"));
    const char *precision = models.precision; /* NULL: what the device likes best */
    FUZZ_CHECK(!precision || is_one_of(precision, "float32", "bfloat16") || is_one_of(precision, "float16", "float16"));
    FUZZ_CHECK(!models.model || models.model[0]);
    FUZZ_CHECK(models.lora.count <= LIST_MAX && more.weights.count <= LIST_MAX);
    for (size_t i = 0; i < more.weights.count; i++) check_between(more.weights.item[i], -10, 10);
}

/* FILE, or FILE:WEIGHT. */
static int check_loras(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < models.lora.count; i++) {
        lora_choice choice;
        const char *given = models.lora.item[i];
        if (!lora_parse("leco fuzz", given, &choice)) return EXIT_USAGE;
        size_t length = strlen(choice.file);
        FUZZ_CHECK(length > 0 && strncmp(given, choice.file, length) == 0);
        FUZZ_CHECK(given[length] == '\0' || given[length] == ':');
        check_between((double)choice.weight, -1000, 1000);
        FUZZ_CHECK(given[length] == ':' || choice.weight == 1);
    }
    return OPTIONS_READY;
}

static const char *operand;

static int read_options(int argc, char **argv)
{
    return options_read(&line, argc, argv, &operand);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(&(fuzz_part){data, size}), *argv[MAX_ARGUMENTS + 1] = {"fuzz"};
    int argc = 1;
    for (char *at = text; at && argc < MAX_ARGUMENTS; argc++) {
        argv[argc] = at;
        at = strchr(at, '\n');
        if (at) *at++ = '\0';
    }
    operand = NULL;
    int status = with_output_kept(read_options, argc, argv);
    fuzz_accepted = status == OPTIONS_READY;
    if (fuzz_accepted) {
        FUZZ_CHECK(printed[0] == '\0' && operand && operand[0]);
        check_values();
        status = with_output_kept(check_loras, 0, NULL);
        FUZZ_CHECK(status == OPTIONS_READY || (status == EXIT_USAGE && printed[0]));
    } else {
        FUZZ_CHECK((status == EXIT_USAGE || status == EXIT_DONE) && printed[0]);
    }
    free(text);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "file", "-m\nmodels/shapes\n--lora\na.safetensors:-0.5\n--lora=b:c\nfile\n--steps=5\n-q",
        "--memory\n4G\nfile\n-w\n-1,0,0.5,1e1\n--guidance-scale\n7.5\n--seed=-1\n--rng\ncuda\n--width=64\n--height\n96",
        "--json\n-n\n\n-pa prompt\n--precision\nbfloat16\n--memory=512MiB\n--batch\n256\n--\n-file",
        "-f\nfile\n--memory=1.5kB\n--device=ref\n--threads\n2\n--latents\nx.safetensors\n--lora\nx:1e3"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
