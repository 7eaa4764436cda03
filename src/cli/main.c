/* leco: the command line. Each subcommand is a file of its own; this one finds it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/common.h"
#include "cli/fault.h"

static const command *const commands[] = {&command_erase, &command_enhance, &command_train,   &command_generate,
                                          &command_grid,  &command_merge,   &command_extract, &command_convert,
                                          &command_run,   &command_inspect, &command_bench};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

static void print_help(FILE *to)
{
    fputs(
        "leco changes what a Stable Diffusion model draws - erases something, or strengthens it - from prompts alone,\n"
        "and writes the change as a LoRA that other programs load: in seconds (erase), or trained (train).\n\n"
        "Usage: leco COMMAND [options]\n\nCommands\n",
        to);
    for (size_t i = 0; i < COMMAND_COUNT; i++) fprintf(to, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n  leco COMMAND --help   tells about one of them\n"
          "  leco --version        prints the version\n"
          "  leco-probe --help     tells about counting what the models in models/ draw, with and without a LoRA\n",
          to);
    options_print_examples(
        to, "  leco erase -m models/shapes red --grid \"a red star\" --guidance-scale 4\n"
            "  leco train examples/erase_red.yaml\n"
            "  leco generate -m models/shapes --lora out/erase_red.safetensors -p \"a red star\" --guidance-scale 4 -o "
            "star.png\n");
    fputs("\nExit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n", to);
}

static const command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown(const char *name)
{
    const char *known[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) known[i] = commands[i]->name;
    const char *nearest = leco_suggest(name, known, COMMAND_COUNT);
    if (nearest) return options_mistake("leco", "there is no command '%s'; did you mean '%s'?", name, nearest);
    return options_mistake("leco", "there is no command '%s'", name);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
    if (help && argc < 3) {
        print_help(stdout);
        return EXIT_DONE;
    }
    if (help) { /* leco help train */
        const command *about = find(argv[2]);
        char *asked[] = {argv[2], "--help", NULL};
        return about ? about->run(2, asked) : unknown(argv[2]);
    }
    if (strcmp(name, "--version") == 0) {
        printf("leco %s\n", leco_version());
        return EXIT_DONE;
    }
    if (name[0] == '-')
        return options_mistake("leco", "a command comes first, such as train or generate, not %s", name);
    const command *chosen = find(name);
    return chosen ? chosen->run(argc - 1, argv + 1) : unknown(name);
}

int main(int argc, char **argv)
{
    settle_process(argv);
    fault_catch();
    signal(SIGXFSZ, SIG_IGN); /* a write beyond `ulimit -f` fails then, and says so */
    int status = dispatch(argc, argv);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) { /* results that got lost are no results */
        fprintf(stderr, "leco: cannot write to standard output: %s\n",
                errno ? strerror(errno) : "an earlier write failed");
        return status == EXIT_DONE ? EXIT_FAILED : status;
    }
    return status;
}
