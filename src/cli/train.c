/* leco train: trains what a config says and writes the LoRA. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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
    const char *prompts_file, *attributes, *name, *rank, *alpha;
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
    {"name", 0, OPTION_TEXT, "NAME", ARG(name), .help = "short for --set save.name=NAME"},
    {"rank", 0, OPTION_TEXT, "N", ARG(rank), .help = "short for --set network.rank=N"},
    {"alpha", 0, OPTION_TEXT, "N", ARG(alpha), .help = "short for --set network.alpha=N"},
    {"prompts_file", 0, OPTION_TEXT, "FILE", ARG(prompts_file), .help = "short for --set prompts_file=FILE"},
    {"attributes", 0, OPTION_TEXT, "WORDS", ARG(attributes),
     .help = "'male, female': words of which one is put before all texts of an entry, as Concept Sliders has it"},
    {"help-config", 0, OPTION_ANSWER, .answer = print_keys,
     .help = "print every key that a config may hold, with its default and what it means (=markdown: as tables)"},
    {0},
};

/* "mid_block.attentions.0.proj_in    lora rank 4 alpha 1    320 x 320    2560", and their sum. Two text encoders'
 * layers have the same names: those of other parts than the U-Net say which. */
static void print_modules(const char *modules)
{
    json_t *all = modules ? json_loads(modules, 0, NULL) : NULL, *one, *side;
    json_int_t sum = 0;
    size_t i, k;
    json_array_foreach(all, i, one) {
        char shape[96] = "";
        json_array_foreach(json_object_get(one, "shape"), k, side)
            snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%lld", k ? "x" : "",
                     json_integer_value(side));
        const json_t *alpha = json_object_get(one, "alpha");
        const char *part = json_string_value(json_object_get(one, "part"));
        const bool named = strcmp(part, "unet") != 0;
        printf("%-72s %-9s rank %-4lld alpha %-6g %-14s %lld%s%s\n", json_string_value(json_object_get(one, "layer")),
               json_string_value(json_object_get(one, "kind")), json_integer_value(json_object_get(one, "rank")),
               alpha ? json_number_value(alpha) : 1, shape, json_integer_value(json_object_get(one, "parameters")),
               named ? " of " : "", named ? part : "");
        sum += json_integer_value(json_object_get(one, "parameters"));
    }
    if (all) printf("%zu layers, %lld values in all\n", json_array_size(all), sum);
    json_decref(all);
}

/* null where it wasn't measured. */
static json_t *effect_json(const leco_train_report *report)
{
    const leco_effect *e = &report->effect;
    if (isnan(e->moved)) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}", "effect", number_or_null(e->effect), "moved",
                     number_or_null(e->moved), "kept", number_or_null(e->kept), "neighbours",
                     number_or_null(e->neighbours), "unrelated", number_or_null(e->unrelated), "step",
                     (json_int_t)report->effect_step);
}

static void print_report(const leco_train_report *report, bool dry_run, bool json)
{
    const double mib = 1024.0 * 1024.0;
    if (json) {
        print_json(json_pack(
            "{s:o, s:o, s:o, s:I, s:f, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o}", "file", json_text(report->path),
            "writes", json_text(report->writes), "state", json_text(report->state), "iterations",
            (json_int_t)report->iterations, "seconds", report->seconds, "first_loss",
            number_or_null(report->first_loss), "last_loss", number_or_null(report->last_loss), "planned_bytes",
            (json_int_t)report->planned_bytes, "measured_bytes", (json_int_t)report->measured_bytes, "resident_bytes",
            (json_int_t)report->resident_bytes, "summary", json_text(report->summary), "modules",
            report->modules ? json_loads(report->modules, 0, NULL) : json_null(), "effect", effect_json(report)));
        return;
    }
    if (dry_run) {
        print_modules(report->modules);
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

static void print_moved(const char *name, double moved, const char **join)
{
    if (isnan(moved)) return;
    fprintf(stderr, "%s%s by %.2f", *join, name, moved);
    *join = ", ";
}

/* "effect 0.93 of what is asked for; what is preserved moved by 0.11, near words by 0.14 of that". */
static void print_effect(const leco_effect *e)
{
    const char *join = "; moved: ";
    if (isnan(e->moved)) return;
    if (isnan(e->effect))
        fprintf(stderr, "moved by %.2f of the way to no prompt", e->moved);
    else
        fprintf(stderr, "effect %.2f of what is asked for", e->effect);
    print_moved("what is preserved", e->kept, &join);
    print_moved("near words", e->neighbours, &join);
    print_moved("unrelated prompts", e->unrelated, &join);
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
    const bool stopped = status == LECO_INTERRUPTED || status == LECO_DEVICE;
    if (status == LECO_OK || stopped) {
        if (report.iterations > 0 && !general->quiet) print_summary(&report), print_effect(&report.effect);
        print_report(&report, options->dry_run, general->json);
    }
    *resumable = stopped && report.state;
    leco_train_report_free(&report);
    return status == LECO_OK ? EXIT_DONE : report_failure(status, &err);
}

/* ---- as other trainers' commands have it ---- */

/* The config may stand behind --config_file, as in the commands of p1atdev's LECO and Concept Sliders. */
static int drop_config_file(int argc, char **argv)
{
    static const char name[] = "--config_file";
    const size_t length = strlen(name);
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) { /* operands from here on */
            while (i < argc) argv[kept++] = argv[i++];
            break;
        }
        if (strcmp(argv[i], name) == 0) continue;
        argv[kept++] = strncmp(argv[i], name, length) == 0 && argv[i][length] == '=' ? argv[i] + length + 1 : argv[i];
    }
    argv[kept] = NULL;
    return kept;
}

/* A key's value as YAML's quoted text has it. */
static char *put_quoted(char *out, const char *text, size_t length)
{
    *out++ = '"';
    for (; length > 0; length--, text++) {
        if (*text == '"' || *text == '\\') *out++ = '\\';
        *out++ = *text;
    }
    *out++ = '"';
    return out;
}

/* "male, female" -> attributes=["male","female"]. NULL: no memory. */
static char *attributes_set(const char *words)
{
    static const char start[] = "attributes=[";
    char *all = malloc(4 * strlen(words) + sizeof start + 8), *out = all;
    if (!all) return NULL;
    out += sprintf(out, "%s", start);
    for (const char *at = words, *end; *at; at = *end ? end + 1 : end) {
        end = at + strcspn(at, ",");
        at += strspn(at, " ");
        size_t length = at < end ? (size_t)(end - at) : 0;
        while (length > 0 && at[length - 1] == ' ') length--;
        if (length == 0) continue;
        if (out[-1] == '"') *out++ = ',';
        out = put_quoted(out, at, length);
    }
    strcpy(out, "]");
    return all;
}

enum { SHORT_OPTIONS = 5 };

/* Adds the short options to those of --set; made [SHORT_OPTIONS] are the caller's to free. Returns OPTIONS_READY, or
 * the exit status. */
static int spell_out(train_args *args, char *made[])
{
    const struct {
        const char *key, *value;
    } options[] = {{"save.name", args->name},
                   {"network.rank", args->rank},
                   {"network.alpha", args->alpha},
                   {"prompts_file", args->prompts_file}};
    size_t count = 0;
    bool good = true;
    for (size_t i = 0; i < sizeof options / sizeof *options && good; i++) {
        if (!options[i].value) continue;
        const size_t size = strlen(options[i].key) + 2 * strlen(options[i].value) + 8;
        char *text = made[count] = malloc(size);
        good = text != NULL;
        if (!good) break;
        text += sprintf(text, "%s=", options[i].key);
        *put_quoted(text, options[i].value, strlen(options[i].value)) = '\0';
        count++;
    }
    if (good && args->attributes) good = (made[count++] = attributes_set(args->attributes)) != NULL;
    if (!good) {
        fputs("leco train: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    if (args->set.count + count > LIST_MAX)
        return options_mistake("leco train", "--set may be given %d times at most", LIST_MAX - SHORT_OPTIONS);
    for (size_t i = 0; i < count; i++) args->set.item[args->set.count++] = made[i];
    return OPTIONS_READY;
}

static int train_as_asked(const char *config, const train_args *args, general_args *general, int argc, char **argv)
{
    progress bar;
    general_begin(general, &bar, WORK_TRAINING);
    bar.answers = general->json;
    const leco_train_options options = {
        .overrides = args->set.item,
        .override_count = args->set.count,
        .embeddings = args->embedding.item,
        .embedding_count = args->embedding.count,
        .dry_run = args->dry_run,
        .resume = args->resume,
        .device = args->device,
        .memory = args->memory,
        .progress = progress_show,
        .user = &bar,
    };
    bool resumable;
    const int status = train(config, &options, general, &bar, &resumable);
    if (resumable) print_how_to_resume(argc, argv);
    return status;
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
            "SIGTERM, a connection that is lost, and CPU time that is spent, and, with status 1, a card that fails. "
            "--resume goes on from there, and from the last save.per_steps after a crash.",
        .examples = "  leco train examples/erase_red.yaml\n"
                    "  leco train examples/erase_red.yaml --set train.iterations=50 --set save.name=short\n"
                    "  leco train examples/erase_red.yaml --dry-run --memory 4G\n",
        .unknown = ", and what other trainers' options are here says docs/coming-from.md: most are keys of the config",
        .groups = groups,
        .operand = "CONFIG.yaml",
    };
    argc = drop_config_file(argc, argv);
    int status = options_read(&line, argc, argv, &config);
    if (status != OPTIONS_READY) return status;
    for (size_t i = 0; i < args.set.count; i++) {
        const char *equals = strchr(args.set.item[i], '=');
        if (!equals || equals == args.set.item[i])
            return options_mistake(line.program, "--set takes KEY=VALUE, for instance train.iterations=100, not '%s'",
                                   args.set.item[i]);
    }
    char *made[SHORT_OPTIONS] = {0};
    status = spell_out(&args, made);
    if (status == OPTIONS_READY) status = train_as_asked(config, &args, &general, argc, argv);
    for (size_t i = 0; i < SHORT_OPTIONS; i++) free(made[i]);
    return status;
}

const command command_train = {"train", "change what a model draws: train a LoRA from prompts alone", run};
