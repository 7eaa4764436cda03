#include "cli/options.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/option_value.h"
#include "leco/leco.h"

#define HELP_INDENT 30
#define HELP_WIDTH 100

/* ---- messages ---- */

int options_mistake(const char *program, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (unsigned char *c = (unsigned char *)text; *c; c++) /* whatever was typed must not steer the terminal */
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)) *c = '?';
    fprintf(stderr, "%s: %s\n'%s --help' tells more.\n", program, text, program);
    return EXIT_USAGE;
}

static int unknown_option(const command_line *line, const char *name, size_t length)
{
    const char *known[128] = {"help"};
    size_t count = 1;
    for (const option_group *g = line->groups; g->title; g++)
        for (const option_spec *s = g->options; s->name && count < 128; s++)
            if (s->kind != OPTION_REFUSED) known[count++] = s->name;
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word - 1), name);
    const char *nearest = leco_suggest(word, known, count);
    if (nearest) return options_mistake(line->program, "there is no option --%s; did you mean --%s?", word, nearest);
    return options_mistake(line->program, "there is no option --%s%s", word, line->unknown ? line->unknown : "");
}

/* ---- help ---- */

/* Prints words from `column` on, wrapped and indented; "\n" in the text starts a line. */
static void print_wrapped(const char *text, int column, int indent)
{
    for (bool first = true; *text; first = false) {
        bool line_ends = *text == '\n';
        text += strspn(text, " \n");
        int word = (int)strcspn(text, " \n");
        if (line_ends || column + 1 + word > HELP_WIDTH) {
            printf("\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            putchar(' ');
            column++;
        }
        printf("%.*s", word, text);
        column += word;
        text += word;
    }
    putchar('\n');
}

static void print_option(const option_spec *s)
{
    char letter[8] = "    ", head[96], body[1024], names[256] = "";
    const char *choices = s->kind == OPTION_CHOICE ? strstr(s->help, "$names") : NULL;
    if (choices) option_choices_text(s, names, sizeof names);
    if (s->letter) snprintf(letter, sizeof letter, "-%c, ", s->letter);
    snprintf(head, sizeof head, "  %s--%s%s%s", letter, s->name, s->argument ? " " : "",
             s->argument ? s->argument : "");
    const int before = choices ? (int)(choices - s->help) : (int)strlen(s->help);
    snprintf(body, sizeof body, "%.*s%s%s%s%s%s", before, s->help, names, choices ? choices + strlen("$names") : "",
             s->fallback ? " (default " : "", s->fallback ? s->fallback : "", s->fallback ? ")" : "");
    int used = printf("%s", head);
    if (used + 2 > HELP_INDENT) {
        putchar('\n');
        used = 0;
    }
    printf("%*s", HELP_INDENT - used, "");
    print_wrapped(body, HELP_INDENT, HELP_INDENT);
}

char *options_find_file(const char *path)
{
    static const char *const places[] = {LECO_DOC_FROM_PROGRAM, "../.."};
    char self[PATH_MAX], full[3 * PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) return NULL;
    self[length] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(full, sizeof full, "%s/%s/docs/config.md", self, places[i]);
        if (access(full, R_OK) != 0) continue;
        snprintf(full, sizeof full, "%s/%s/%s", self, places[i], path);
        return realpath(full, NULL); /* NULL where this isn't there */
    }
    return NULL;
}

/* The examples' paths are those of the source tree, which an installation keeps in one folder: elsewhere a copy of it
 * is what they need, since results go beside it. */
static void print_copying(FILE *to, const char *root)
{
    if (access("examples/erase_red.yaml", R_OK) == 0 && access("models/shapes/model_index.json", R_OK) == 0) return;
    fprintf(to, "  cp -r %s/examples %s/models .   # what the commands below name\n", root, root);
}

void options_print_examples(FILE *to, const char *examples)
{
    char *root = options_find_file(".");
    fputs("\nExamples\n", to);
    if (root) print_copying(to, root);
    fputs(examples, to);
    if (root) fprintf(to, "\nFiles\n  docs/, examples/ and models/ are in %s\n", root);
    free(root);
}

static void print_help(const command_line *line)
{
    printf("%s: %s\n\nUsage: %s %s\n", line->program, line->summary, line->program, line->usage);
    if (line->details) {
        putchar('\n');
        print_wrapped(line->details, 0, 0);
    }
    for (const option_group *g = line->groups; g->title; g++) {
        printf("\n%s\n", g->title);
        for (const option_spec *s = g->options; s->name; s++)
            if (s->kind != OPTION_REFUSED) print_option(s);
    }
    options_print_examples(stdout, line->examples);
}

/* ---- reading ---- */

static void *value_of(const option_group *group, const option_spec *spec)
{
    return (char *)group->values + spec->offset;
}

static int store(const command_line *line, const option_group *group, const option_spec *spec, const char *text)
{
    char why[512];
    if (option_value_read(spec, text, value_of(group, spec), why, sizeof why)) return OPTIONS_READY;
    return options_mistake(line->program, "--%s %s", spec->name, why);
}

/* Finds an option by its name (length bytes of it) or, where name is NULL, by its letter. */
static const option_spec *find(const command_line *line, const char *name, size_t length, char letter,
                               const option_group **group)
{
    for (const option_group *g = line->groups; g->title; g++) {
        for (const option_spec *s = g->options; s->name; s++) {
            bool same = name ? strlen(s->name) == length && memcmp(s->name, name, length) == 0 : s->letter == letter;
            if (same) {
                *group = g;
                return s;
            }
        }
    }
    return NULL;
}

/* A forgotten value: what stands in its place is another option. */
static bool looks_like_option(const command_line *line, const char *text)
{
    const option_group *group;
    return text[0] == '-' && text[1] == '-' && find(line, text + 2, strcspn(text + 2, "="), 0, &group);
}

/* What follows the value of an option that takes several. */
static int read_more(const command_line *line, const option_group *group, const option_spec *spec, int argc,
                     char **argv, int *at)
{
    int status = OPTIONS_READY;
    while (status == OPTIONS_READY && *at + 1 < argc && (argv[*at + 1][0] != '-' || !argv[*at + 1][1]))
        status = store(line, group, spec, argv[++*at]);
    return status;
}

/* Reads the option at argv[*at]; moves *at to the last argument that it used. */
static int read_option(const command_line *line, int argc, char **argv, int *at)
{
    const char *word = argv[*at], *value = NULL;
    const option_group *group = NULL;
    const option_spec *spec;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        spec = find(line, word + 2, length, 0, &group);
        if (!spec) return unknown_option(line, word + 2, length);
        if (word[2 + length] == '=') value = word + 3 + length;
    } else {
        spec = find(line, NULL, 0, word[1], &group);
        if (!spec) return options_mistake(line->program, "there is no option -%c", word[1]);
        if (word[2]) value = word + 2;
    }
    if (spec->kind == OPTION_ANSWER) return spec->answer(value);
    const bool takes_value = spec->kind != OPTION_FLAG && spec->kind != OPTION_REFUSED;
    const bool more = spec->several && !value;
    if (!takes_value) {
        if (value && spec->kind == OPTION_FLAG)
            return options_mistake(line->program, "--%s takes no value, but got '%s'", spec->name, value);
    } else if (!value) {
        if (*at + 1 >= argc)
            return options_mistake(line->program, "--%s needs a value: --%s %s", spec->name, spec->name,
                                   spec->argument);
        value = argv[++*at];
        if (looks_like_option(line, value))
            return options_mistake(line->program,
                                   "--%s needs a value, and %s is an option (write --%s=%s if it is meant)", spec->name,
                                   value, spec->name, value);
    }
    if (line->watched && group->options == line->watched) *line->given = spec->name;
    const int status = store(line, group, spec, value);
    return more && status == OPTIONS_READY ? read_more(line, group, spec, argc, argv, at) : status;
}

static int set_defaults(const command_line *line)
{
    if (line->watched) *line->given = NULL;
    for (const option_group *g = line->groups; g->title; g++) {
        for (const option_spec *s = g->options; s->name; s++) {
            memset(value_of(g, s), 0, option_value_size(s->kind));
            if (s->fallback && option_value_size(s->kind) > 0) {
                int status = store(line, g, s, s->fallback);
                if (status != OPTIONS_READY) return status;
            }
        }
    }
    return OPTIONS_READY;
}

static int add_operand(const command_line *line, const char *word, text_list *operands)
{
    const size_t most = line->most ? line->most : 1;
    if (!line->operand)
        return options_mistake(line->program, "what is '%s' for? Nothing may stand without an option", word);
    if (operands->count < most) {
        operands->item[operands->count++] = word;
        return OPTIONS_READY;
    }
    if (most == 1)
        return options_mistake(line->program, "one %s is enough, but there are '%s' and '%s'", line->operand,
                               operands->item[0], word);
    if (most == LIST_MAX)
        return options_mistake(line->program, "%s may be given %zu times at most", line->operand, most);
    return options_mistake(line->program, "it takes %zu: %s; what is '%s' for?", most, line->operand, word);
}

/* An option that was given and takes several words, or NULL. */
static const char *name_of_taker(const command_line *line)
{
    for (const option_group *g = line->groups; g->title; g++)
        for (const option_spec *s = g->options; s->name; s++)
            if (s->several && ((const text_list *)value_of(g, s))->count > 0) return s->name;
    return NULL;
}

static int check_operands(const command_line *line, const text_list *operands)
{
    const size_t fewest = line->fewest ? line->fewest : 1;
    if (!line->operand) return OPTIONS_READY;
    bool empty = false;
    for (size_t i = 0; i < operands->count; i++) empty = empty || operands->item[i][0] == '\0';
    if (operands->count >= fewest && !empty) return OPTIONS_READY;
    const char *taker = name_of_taker(line);
    if (operands->count == 0 && taker)
        return options_mistake(line->program, "a %s is missing: %s %s (words behind --%s are its own)", line->operand,
                               line->program, line->usage, taker);
    if (fewest == 1 || empty)
        return options_mistake(line->program, "a %s is missing: %s %s", line->operand, line->program, line->usage);
    return options_mistake(line->program, "it takes %s%zu: %s; only %zu %s given: %s %s",
                           line->most > fewest ? "at least " : "", fewest, line->operand, operands->count,
                           operands->count == 1 ? "is" : "are", line->program, line->usage);
}

int options_read_several(const command_line *line, int argc, char **argv, text_list *operands)
{
    bool only_operands = false;
    int status = set_defaults(line);
    operands->count = 0;
    for (int i = 1; i < argc && status == OPTIONS_READY; i++) {
        const char *word = argv[i];
        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(line);
            status = EXIT_DONE;
        } else if (!only_operands && word[0] == '-' && word[1]) {
            status = read_option(line, argc, argv, &i);
        } else {
            status = add_operand(line, word, operands);
        }
    }
    return status == OPTIONS_READY ? check_operands(line, operands) : status;
}

int options_read(const command_line *line, int argc, char **argv, const char **operand)
{
    text_list operands;
    assert(line->most <= 1);
    const int status = options_read_several(line, argc, argv, &operands);
    if (status == OPTIONS_READY && operand) *operand = operands.count ? operands.item[0] : NULL;
    return status;
}
