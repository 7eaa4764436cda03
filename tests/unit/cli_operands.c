/* How many operands a command takes, and what is said where there are more or fewer. */
#include "test_support.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define LECO_DOC_FROM_PROGRAM "../share/doc/leco"
#include "base/file.h"
#include "cli/option_value.c"
#include "cli/options.c"

typedef struct flags {
    bool quick;
    const char *output;
    text_list prompts;
} flags;

static const option_spec specs[] = {
    {"quick", 'q', OPTION_FLAG, .offset = offsetof(flags, quick), .help = "quickly"},
    {"output", 'o', OPTION_TEXT, "FILE", .offset = offsetof(flags, output), .help = "where to"},
    {"grid", 0, OPTION_TEXTS, "PROMPT...", .offset = offsetof(flags, prompts), .several = true, .help = "draw these"},
    {0},
};
static flags given;
static const option_group groups[] = {{"Options", specs, &given}, {0}};
static text_list operands;
static char said[4096]; /* on stderr, by the last call of read_words */

/* Reads words [count] by a command that takes from fewest to most operands. */
static int read_words(size_t fewest, size_t most, size_t count, const char *const *words)
{
    const command_line line = {.program = "leco join",
                               .summary = "joins",
                               .usage = "FILE... -o FILE",
                               .examples = "",
                               .groups = groups,
                               .operand = "FILE",
                               .fewest = fewest,
                               .most = most};
    char *argv[LIST_MAX + 8] = {(char *)(uintptr_t) "join"}, *text;
    leco_error err = {0};
    assert_true(count < LIST_MAX + 7);
    for (size_t i = 0; i < count; i++) argv[i + 1] = (char *)(uintptr_t)words[i];
    fflush(stderr);
    int kept = dup(STDERR_FILENO), file = open(test_path("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(kept >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    int status = options_read_several(&line, (int)count + 1, argv, &operands);
    fflush(stderr);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    close(kept);
    close(file);
    assert_works(file_read_text(test_path("said"), sizeof said, &text, NULL, &err), &err);
    snprintf(said, sizeof said, "%s", text);
    leco_free(text);
    return status;
}

#define READ(fewest, most, ...)                                                                                        \
    read_words(fewest, most, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})
#define assert_says(text)                                                                                              \
    do {                                                                                                               \
        if (!strstr(said, text)) fail_msg("\"%s\" is not in: %s", text, said);                                         \
    } while (0)

static void operands_stand_anywhere(void **state)
{
    (void)state;
    assert_int_equal(READ(1, LIST_MAX, "a", "-q", "b", "-o", "c", "--", "-d", "e"), OPTIONS_READY);
    assert_int_equal(operands.count, 4);
    assert_string_equal(operands.item[0], "a");
    assert_string_equal(operands.item[1], "b");
    assert_string_equal(operands.item[2], "-d");
    assert_string_equal(operands.item[3], "e");
    assert_true(given.quick);
    assert_string_equal(given.output, "c");
    assert_string_equal(said, "");
    assert_int_equal(READ(2, 2, "a", "b"), OPTIONS_READY);
    assert_int_equal(READ(1, 3, "-"), OPTIONS_READY); /* a dash alone is no option */
}

static void an_option_may_take_all_behind_it(void **state)
{
    (void)state;
    assert_int_equal(READ(1, LIST_MAX, "a", "--grid", "x", "-", "y z", "-q", "b", "--grid", "w", "--", "c"),
                     OPTIONS_READY);
    assert_int_equal(given.prompts.count, 4);
    assert_string_equal(given.prompts.item[1], "-");
    assert_string_equal(given.prompts.item[2], "y z");
    assert_string_equal(given.prompts.item[3], "w");
    assert_int_equal(operands.count, 3);
    assert_string_equal(operands.item[1], "b");
    assert_string_equal(operands.item[2], "c");
    assert_true(given.quick);
    assert_int_equal(READ(1, LIST_MAX, "--grid=x", "a"), OPTIONS_READY); /* this one takes no more */
    assert_int_equal(given.prompts.count, 1);
    assert_int_equal(operands.count, 1);
    assert_int_equal(READ(1, LIST_MAX, "--grid", "x", "a"), EXIT_USAGE);
    assert_says("a FILE is missing: leco join FILE... -o FILE (words behind --grid are its own)");
    assert_int_equal(READ(1, LIST_MAX, "a", "--grid", "x", ""), OPTIONS_READY); /* the empty prompt is one */
    assert_int_equal(given.prompts.count, 2);
}

static void too_few_or_too_many_are_told(void **state)
{
    (void)state;
    assert_int_equal(READ(1, LIST_MAX, "-q"), EXIT_USAGE);
    assert_says("leco join: a FILE is missing: leco join FILE... -o FILE");
    assert_int_equal(READ(2, LIST_MAX, "a"), EXIT_USAGE);
    assert_says("it takes at least 2: FILE; only 1 is given");
    assert_int_equal(READ(2, 2, "a", "b", "c"), EXIT_USAGE);
    assert_says("it takes 2: FILE; what is 'c' for?");
    assert_int_equal(READ(2, 2, "a"), EXIT_USAGE);
    assert_says("it takes 2: FILE; only 1 is given");
    assert_int_equal(READ(0, 0, "a", "b"), EXIT_USAGE);
    assert_says("one FILE is enough, but there are 'a' and 'b'");
    assert_int_equal(READ(1, LIST_MAX, "a", ""), EXIT_USAGE);
    assert_says("a FILE is missing");
    const char *many[LIST_MAX + 1];
    for (size_t i = 0; i < LIST_MAX + 1; i++) many[i] = "x";
    assert_int_equal(read_words(1, LIST_MAX, LIST_MAX, many), OPTIONS_READY);
    assert_int_equal(operands.count, LIST_MAX);
    assert_int_equal(read_words(1, LIST_MAX, LIST_MAX + 1, many), EXIT_USAGE);
    assert_says("FILE may be given 256 times at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_stand_anywhere),
        cmocka_unit_test(an_option_may_take_all_behind_it),
        cmocka_unit_test(too_few_or_too_many_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
