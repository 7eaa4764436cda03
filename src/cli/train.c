/* leco train: trains what a config says and writes the LoRA. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/common.h"

static int print_keys(const char *format)
{
    leco_error err = {0};
    char *text = NULL;
    const bool markdown = format && strcmp(format, "markdown") == 0;
    if (format && !markdown)
        return options_mistake("leco train", "--help-config takes nothing, or =markdown, not '%s'", format);
    leco_status status = leco_train_keys(markdown, &text, &err);
    if (status != LECO_OK) return report_failure(status, &err);
    printf("%s%s", markdown ? "" : "What CONFIG.yaml may hold. docs/config.md tells more.\n\n", text);
    leco_free(text);
    return EXIT_DONE;
}

typedef struct train_args {
    text_list set, embedding;
    bool dry_run, resume;
    const char *device;
    uint64_t memory;
} train_args;

#define ARG(field) .offset = offsetof(train_args, field)
static const option_spec train_options[] = {
    {"set", 0, OPTION_TEXTS, "KEY=VALUE", ARG(set),
     .help = "change a key of the config, for instance train.iterations=100. May be given several times"},
    {"embedding", 0, OPTION_TEXTS, "FILE", ARG(embedding), .help = EMBEDDING_HELP},
    {"dry-run", 0, OPTION_FLAG, ARG(dry_run),
     .help = "check everything but the weights' values, also that the LoRA could be written, and plan the memory, but "
             "train nothing"},
    {"resume", 0, OPTION_FLAG, ARG(resume),
     .help =
         "go on with a training that was stopped or killed, from NAME.state.safetensors beside its output, with the "
         "same config: the result is the same, to the bit, as if it had never been stopped"},
    {"device", 0, OPTION_CHOICE, "DEVICE", ARG(device), .choice_at = leco_device_name, .later = "cuda",
     .help = DEVICE_HELP},
    {"memory", 0, OPTION_BYTES, "SIZE", ARG(memory),
     .help =
         "allocate no more than this, for instance 4G: activations are computed again in the backward pass instead of "
         "kept, as many as it takes, or the training is refused. Mapped model files, and what the program and its "
         "libraries take (some 50M, more with a large model), aren't counted"},
    {"help-config", 0, OPTION_ANSWER, .answer = print_keys,
     .help = "print every key that a config may hold, with its default and what it means (=markdown: as tables)"},
    {0},
};

static void print_report(const leco_train_report *report, bool dry_run, bool json)
{
    const double mib = 1024.0 * 1024.0;
    if (json) {
        print_json(json_pack("{s:o, s:o, s:o, s:I, s:f, s:o, s:o, s:I, s:I, s:I, s:o}", "file", json_text(report->path),
                             "writes", json_text(report->writes), "state", json_text(report->state), "iterations",
                             (json_int_t)report->iterations, "seconds", report->seconds, "first_loss",
                             number_or_null(report->first_loss), "last_loss", number_or_null(report->last_loss),
                             "planned_bytes", (json_int_t)report->planned_bytes, "measured_bytes",
                             (json_int_t)report->measured_bytes, "resident_bytes", (json_int_t)report->resident_bytes,
                             "summary", json_text(report->summary)));
        return;
    }
    if (dry_run) {
        if (report->summary) {
            size_t length = strlen(report->summary);
            printf("%s%s", report->summary, length && report->summary[length - 1] == '\n' ? "" : "\n");
        }
        printf("peak memory: %.1f MiB planned\n", (double)report->planned_bytes / mib);
    } else if (report->path) {
        printf("%s\n", path_plain(report->path));
    }
}

/* "120 steps in 3.1 s; loss 0.034 at first, 0.012 at last (...); ...": each loss where there is one. */
static void print_summary(const leco_train_report *report)
{
    const double mib = 1024.0 * 1024.0;
    const bool began = !isnan(report->first_loss), ended = !isnan(report->last_loss);
    fprintf(stderr, "%lld step%s in %.1f s", (long long)report->iterations, report->iterations == 1 ? "" : "s",
            report->seconds);
    if (began) fprintf(stderr, "; loss %.4g at first", report->first_loss);
    if (began && ended) fprintf(stderr, ", %.4g at last", report->last_loss);
    if (began)
        fprintf(stderr, " (mean%s of the first%s tenth of the steps)", ended ? "s" : "", ended ? " and the last" : "");
    fprintf(stderr, "; %.1f MiB of memory as planned", (double)report->measured_bytes / mib);
    if (report->resident_bytes > 0)
        fprintf(stderr, ", %.1f MiB with the program, its libraries and mapped files",
                (double)report->resident_bytes / mib);
    fputc('\n', stderr);
}

/* As a shell takes it for one word. */
static void print_word(const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+=./:,@%";
    if (*word && word[strspn(word, plain)] == '\0') {
        fprintf(stderr, " %s", word);
        return;
    }
    fputs(" '", stderr);
    for (; *word; word++) {
        if (*word == '\'')
            fputs("'\\''", stderr);
        else
            fputc(*word, stderr);
    }
    fputc('\'', stderr);
}

/* The same command once more, with --resume. */
static void print_how_to_resume(int argc, char **argv)
{
    bool said = false;
    fputs("To go on from there: leco", stderr);
    for (int i = 0; i < argc; i++) {
        if (!said && strcmp(argv[i], "--") == 0) print_word("--resume");
        said = said || strcmp(argv[i], "--resume") == 0 || strcmp(argv[i], "--") == 0;
        print_word(argv[i]);
    }
    fputs(said ? "\n" : " --resume\n", stderr);
}

static int train(const char *config, const leco_train_options *options, const general_args *general, progress *bar,
                 bool *resumable)
{
    leco_error err = {0};
    leco_train_report report = {0};
    leco_status status = leco_train(config, options, &report, &err);
    progress_end(bar, status == LECO_OK && !options->dry_run);
    bool stopped = status == LECO_INTERRUPTED;
    if (status == LECO_OK || stopped) {
        if (report.iterations > 0 && !general->quiet) print_summary(&report);
        print_report(&report, options->dry_run, general->json);
    }
    *resumable = stopped && report.state;
    leco_train_report_free(&report);
    return status == LECO_OK ? EXIT_DONE : report_failure(status, &err);
}

static int run(int argc, char **argv)
{
    train_args args;
    general_args general;
    const char *config = NULL;
    const option_group groups[] = {{"Options", train_options, &args}, {"Besides", general_options, &general}, {0}};
    const command_line line = {
        .program = "leco train",
        .summary = "changes what a model draws: trains a LoRA from prompts alone",
        .usage = "CONFIG.yaml [options]",
        .details =
            "The config says which model, which prompts and where to; --help-config explains every key, examples/ has "
            "some to start from. Prints the name of the file it has written. Ctrl-C finishes the step and saves; so do "
            "SIGTERM, a connection that is lost, and CPU time that is spent. --resume goes on from there, and from the "
            "last save.per_steps after a crash.",
        .examples = "  leco train examples/erase_red.yaml\n"
                    "  leco train examples/erase_red.yaml --set train.iterations=50 --set save.name=short\n"
                    "  leco train examples/erase_red.yaml --dry-run --memory 4G\n",
        .groups = groups,
        .operand = "CONFIG.yaml",
    };
    int status = options_read(&line, argc, argv, &config);
    if (status != OPTIONS_READY) return status;
    for (size_t i = 0; i < args.set.count; i++) {
        const char *equals = strchr(args.set.item[i], '=');
        if (!equals || equals == args.set.item[i])
            return options_mistake(line.program, "--set takes KEY=VALUE, for instance train.iterations=100, not '%s'",
                                   args.set.item[i]);
    }
    progress bar;
    general_begin(&general, &bar, WORK_TRAINING);
    const leco_train_options options = {
        .overrides = args.set.item,
        .override_count = args.set.count,
        .embeddings = args.embedding.item,
        .embedding_count = args.embedding.count,
        .dry_run = args.dry_run,
        .resume = args.resume,
        .device = args.device,
        .memory = args.memory,
        .progress = progress_show,
        .user = &bar,
    };
    bool resumable;
    status = train(config, &options, &general, &bar, &resumable);
    if (resumable) print_how_to_resume(argc, argv);
    return status;
}

const command command_train = {"train", "change what a model draws: train a LoRA from prompts alone", run};
