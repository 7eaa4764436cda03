/* Prompts that are lists, files or wildcards, what is preserved, and which objectives come of the modes. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "train/config.h"
#include "train/modes.h"
#include "train/previews_texts.h"

static leco_error err;

static const char head[] = "pretrained_model: {name_or_path: model}\n";

static leco_status read_text(const char *text, train_config *out)
{
    char all[4096];
    snprintf(all, sizeof all, "%s%s", head, text);
    const char *path = test_path("config.yaml");
    test_write(path, all, strlen(all));
    return train_config_read(path, NULL, 0, out, &err);
}

#define assert_refused(text, ...)                                                                                      \
    do {                                                                                                               \
        train_config refused_ = {0};                                                                                   \
        assert_fails(read_text(text, &refused_), LECO_INVALID, &err, __VA_ARGS__);                                     \
    } while (0)

static void lists_and_files_become_wildcards(void **state)
{
    (void)state;
    static const char lines[] = "\xEF\xBB\xBFred\n\n# no\n  a {large|small} star \r\nx|y\n\\{z\\|\n";
    test_write(test_path("words.txt"), lines, strlen(lines));
    train_config c;
    assert_works(read_text("prompts:\n"
                           "- {target: [a, 'b {c|d}'], positive: {file: words.txt}}\n"
                           "- {target: '{red|blue} star', neutral: [one]}\n",
                           &c),
                 &err);
    assert_string_equal(c.prompt[0].target, "{a|b {c|d}}");
    assert_string_equal(c.prompt[0].positive, "{red|a {large|small} star|x\\|y|\\{z\\|}");
    assert_string_equal(c.prompt[1].positive, "{red|blue} star");
    assert_string_equal(c.prompt[1].neutral, "{one}");
    assert_null(c.preserve.prompt);
    train_config_free(&c);

    /* Files among texts. */
    test_write(test_path("one.txt"), "a ring\n", 7);
    assert_works(read_text("preserve: [a star, {file: one.txt}, {file: one.txt}]\nprompts: [{target: red}]\n", &c),
                 &err);
    assert_string_equal(c.preserve.prompt, "{a star|a ring|a ring}");
    train_config_free(&c);
    test_write(test_path("comments.txt"), "# no\n", 5);
    assert_refused("preserve: [a star, {file: comments.txt}]\nprompts: [{target: red}]\n",
                   "comments.txt holds no prompts");
}

static const char shorthand[] = "pretrained_model: x\npreserve: [a star]\nprompts: [{target: red}]\n";

static void preserve_is_a_list_or_a_section(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_text("train: {batch_size: 3}\npreserve: [a star, a ring]\nprompts: [{target: red}]\n", &c), &err);
    assert_string_equal(c.preserve.prompt, "{a star|a ring}");
    assert_true(c.preserve.share == 0.5 && c.preserve.weight == 1 && c.preserve.batch_size == 3);
    train_config_free(&c);
    assert_works(read_text("preserve: {prompts: 'a {star|ring}', share: 0.25, weight: 2, resolution: [64, 96]}\n"
                           "prompts: [{target: red}]\n",
                           &c),
                 &err);
    assert_string_equal(c.preserve.prompt, "a {star|ring}");
    assert_true(c.preserve.share == 0.25 && c.preserve.weight == 2);
    assert_true(c.preserve.height == 64 && c.preserve.width == 96);
    train_config_free(&c);
    assert_works(read_text("preserve: a star\nprompts: [{target: red}]\n", &c), &err);
    assert_string_equal(c.preserve.prompt, "a star");
    train_config_free(&c);

    /* A list has what a section has, when it is overridden. */
    static const char *const share[] = {"preserve.share=0.25", "preserve=[a ring]", "preserve.weight=2"};
    test_write(test_path("short.yaml"), shorthand, strlen(shorthand));
    assert_works(train_config_read(test_path("short.yaml"), share, 1, &c, &err), &err);
    assert_true(c.preserve.share == 0.25 && strcmp(c.preserve.prompt, "{a star}") == 0);
    train_config_free(&c);
    assert_works(train_config_read(test_path("short.yaml"), share, 3, &c, &err), &err);
    assert_true(c.preserve.share == 0.5 && c.preserve.weight == 2 && strcmp(c.preserve.prompt, "{a ring}") == 0);
    train_config_free(&c);
}

static void mistakes_are_told(void **state)
{
    (void)state;
    assert_refused("prompts:\n- {target: 'a {red star'}\n",
                   "config.yaml:3: prompts.target: \"{red star\": this { is never closed");
    assert_refused("prompts:\n- {target: [a, 'b}']}\n", "config.yaml:3: prompts.target: \"}\": this } has no {");
    assert_refused("prompts:\n- {target: []}\n", "prompts.target: the list is empty");
    assert_refused("prompts:\n- {target: {fil: x}}\n", "prompts.target: expected a text, a list of texts, or");
    assert_refused("prompts:\n- {target: [{a: b}]}\n", "prompts.target");
    assert_refused("prompts:\n- {target: x, attributes: '{'}\n", "prompts.attributes: \"{\": this { is never closed");
    assert_refused("preserve: []\nprompts: [{target: red}]\n", "preserve.prompts: the list is empty");
    assert_refused("preserve: {share: 0.5}\nprompts: [{target: red, neutral: x}]\n", "preserve needs prompts");
    assert_refused("preserve: {prompts: x, share: 1}\nprompts: [{target: red}]\n", "preserve.share: ");
    train_config c = {0};
    assert_fails(read_text("preserve: {file: none.txt}\nprompts: [{target: red}]\n", &c), LECO_IO, &err,
                 "preserve.prompts: there is no ", "none.txt");
    static const char lines[] = "# nothing\n", odd[] = "fine\n{a|b\n";
    test_write(test_path("empty.txt"), lines, strlen(lines));
    test_write(test_path("odd.txt"), odd, strlen(odd));
    assert_refused("preserve: {file: empty.txt}\nprompts: [{target: red}]\n", "empty.txt holds no prompts");
    assert_refused("preserve: {file: odd.txt}\nprompts: [{target: red}]\n",
                   "odd.txt:2: preserve.prompts: \"{a|b\": this { is never closed");
    test_write(test_path("bytes.txt"), "fine\na \xff star\n", 14);
    assert_refused("prompts: [{target: {file: bytes.txt}}]\n", "bytes.txt:2: prompts.target: ", "UTF-8");
    static char groups[5 * 4096 + 1];
    for (size_t i = 0; i < 4096; i++) memcpy(groups + 5 * i, "a {}\n", 5);
    test_write(test_path("groups.txt"), groups, sizeof groups - 1);
    assert_refused("prompts: [{target: {file: groups.txt}}]\n",
                   "config.yaml:2: ", "groups.txt: prompts.target: ", "4097 braces");
    assert_refused("prompts: [{target: [a, '{{{{{{{{{{{{{{{{}}}}}}}}}}}}}}}}']}]\n",
                   "config.yaml:2: prompts.target: ", "more than 16 deep");
}

/* Texts of a list mean what they mean by themselves. */
static void no_text_of_a_list_is_an_instruction(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_text("prompts:\n- {target: ['3:: dogs', '2$$ cats', red]}\n", &c), &err);
    assert_string_equal(c.prompt[0].target, "{{}3:: dogs|{}2$$ cats|red}");
    train_config_free(&c);
    assert_refused("prompts:\n- {target: ['{3:: dogs|red}']}\n", "config.yaml:3: prompts.target: ", "\"::\" in braces");
}

static void previews_are_what_a_list_holds(void **state)
{
    (void)state;
    arena *memory = arena_create();
    train_config c;
    const char **text, *drawn;
    size_t count;
    assert_works(read_text("logging: {prompts: ['red ball | x', 'a {b\\|c|{d|e}}', '3:: dogs', '\\{z\\}']}\n"
                           "prompts: [{target: red}]\n",
                           &c),
                 &err);
    assert_works(previews_split(c.logging.prompts, memory, &text, &count, &err), &err);
    assert_int_equal(count, 4);
    assert_string_equal(text[0], "red ball | x");
    assert_string_equal(text[1], "a {b\\|c|{d|e}}");
    assert_works(previews_draw_text(text[0], 1, memory, &drawn, &err), &err);
    assert_string_equal(drawn, "red ball | x");
    assert_works(previews_draw_text(text[2], 1, memory, &drawn, &err), &err);
    assert_string_equal(drawn, "3:: dogs");
    assert_works(previews_draw_text(text[3], 1, memory, &drawn, &err), &err);
    assert_string_equal(drawn, "{z}");
    assert_works(previews_split("a \\| b", memory, &text, &count, &err), &err); /* no list: \| is no escape there */
    assert_string_equal(text[0], "a \\| b");
    train_config_free(&c);
    arena_destroy(memory);
}

/* ---- objectives ---- */

static double weight_of(const branch *b, const char *prompt)
{
    for (size_t i = 0; i < b->terms.count; i++)
        if (strcmp(b->terms.item[i].prompt, prompt) == 0) return b->terms.item[i].weight;
    return 0;
}

static objective_list objectives_of(const char *text, train_config *c, arena *memory)
{
    objective_list list;
    assert_works(read_text(text, c), &err);
    assert_works(objectives_of_config(c, memory, &list, &err), &err);
    return list;
}

static void a_slider_pulls_both_ways(void **state)
{
    (void)state;
    arena *memory = arena_create();
    train_config c;
    const objective_list list = objectives_of("prompts:\n"
                                              "- {action: slider, target: star, positive: big, unconditional: small,"
                                              " guidance_scale: 2, multiplier: 0.5, attributes: [red, blue]}\n"
                                              "preserve: a moon\n",
                                              &c, memory);
    assert_true(list.count == 2 && list.held == 1 && list.held_share == 0.5);
    assert_string_equal(c.prompt[0].action->name, "slider");
    const objective *o = &list.item[0];
    assert_int_equal(o->branch_count, 2);
    assert_non_null(o->also);
    assert_true(o->source.multiplier == 0.5 && o->also->multiplier == -0.5);
    assert_string_equal(o->source.unconditional, "");
    for (int i = 0; i < 2; i++) {
        const branch *b = &o->branches[i];
        const double side = i == 0 ? 1 : -1;
        assert_true(b->multiplier == side * 0.5);
        assert_string_equal(b->prompt, "{red|blue} star");
        assert_int_equal(b->terms.count, 3);
        assert_true(weight_of(b, "{red|blue} star") == 1 && weight_of(b, "{red|blue} big") == 2 * side);
        assert_true(weight_of(b, "{red|blue} small") == -2 * side);
    }
    const objective *kept = &list.item[1];
    assert_int_equal(kept->branch_count, 2);
    assert_true(kept->branches[0].multiplier == 0.5 && kept->branches[1].multiplier == -0.5);
    for (int i = 0; i < 2; i++)
        assert_true(kept->branches[i].terms.count == 1 && weight_of(&kept->branches[i], "a moon") == 1);
    assert_true(kept->source.multiplier == 0.5 && kept->also->multiplier == -0.5);
    train_config_free(&c);
    arena_destroy(memory);
}

static void distilling_learns_guidance_without_it(void **state)
{
    (void)state;
    arena *memory = arena_create();
    train_config c;
    objective_list list = objectives_of("prompts:\n"
                                        "- {action: distill, target: star, unconditional: ugly, guidance_scale: 4}\n"
                                        "- {action: distill, target: star, trajectory_guidance_scale: 5}\n"
                                        "- {target: star}\n",
                                        &c, memory);
    const branch *b = &list.item[0].branches[0];
    assert_true(list.count == 3 && list.held == 0);
    assert_true(weight_of(b, "star") == 4 && weight_of(b, "ugly") == -3);
    assert_true(list.item[0].source.guidance_scale == 1 && list.item[0].source.multiplier == 1);
    assert_true(list.item[1].source.guidance_scale == 5);
    assert_true(list.item[2].source.guidance_scale == 3);
    assert_true(objective_is_still(&list.item[1]) && !objective_is_still(&list.item[0]));
    train_config_free(&c);
    arena_destroy(memory);
}

static const char teachers[] =
    "teachers: {donor: {name_or_path: model}, other: {name_or_path: x, same_latents: yes}}\n";

static void teachers_predict_what_they_are_named_for(void **state)
{
    (void)state;
    arena *memory = arena_create();
    train_config c;
    char text[1024];
    snprintf(text, sizeof text, "%s%s", teachers,
             "prompts:\n"
             "- {target: star, teacher: other, positive: a star, trajectory: both}\n"
             "- {target: star, teacher: donor, action: erase, guidance_scale: 2, trajectory: teacher}\n"
             "- {target: star, trajectory: frozen, terms: [{prompt: x, weight: 2}, {prompt: x, teacher: donor},"
             " {prompt: y, weight: -1}]}\n"
             "- {target: star, teacher: donor, trajectory: both, terms: [{prompt: x, teacher: other}]}\n");
    const objective_list list = objectives_of(text, &c, memory);
    assert_true(c.teacher_count == 2 && !c.teacher[0].same_latents && c.teacher[1].same_latents);
    const objective *o = &list.item[0];
    const term_list *terms = &o->branches[0].terms;
    assert_true(terms->count == 1 && terms->item[0].model == 2 && terms->item[0].weight == 1);
    assert_string_equal(terms->item[0].prompt, "a star");
    assert_true(o->source.model == 0 && o->source.multiplier == 1 && o->also->model == 2 && o->also->multiplier == 0);
    assert_string_equal(o->source.prompt, "star");
    assert_string_equal(o->also->prompt, "a star");
    o = &list.item[1];
    terms = &o->branches[0].terms;
    assert_true(terms->count == 2 && terms->item[0].model == 1 && terms->item[1].model == 1);
    assert_true(weight_of(o->branches, "star") == -2 && weight_of(o->branches, "") == 3);
    assert_true(o->source.model == 1 && o->source.multiplier == 0 && !o->also);
    o = &list.item[2];
    terms = &o->branches[0].terms;
    assert_true(terms->count == 3 && terms->item[0].weight == 2 && terms->item[0].model == 0);
    assert_true(terms->item[1].weight == 1 && terms->item[1].model == 1 && terms->item[2].weight == -1);
    assert_true(o->source.model == 0 && o->source.multiplier == 0);
    o = &list.item[3]; /* whose trajectory it is says the teacher of the entry, who predicts what each term says */
    terms = &o->branches[0].terms;
    assert_true(o->branch_count == 1 && terms->count == 1 && terms->item[0].model == 2);
    assert_true(o->source.model == 0 && o->source.multiplier == 1 && o->also->model == 1 && o->also->multiplier == 0);
    assert_string_equal(o->also->prompt, "star");
    train_config_free(&c);
    arena_destroy(memory);
}

static void mistakes_with_teachers_are_told(void **state)
{
    (void)state;
    assert_refused("prompts: [{target: x, teacher: donor}]\n", "prompts.teacher: there is no teacher \"donor\"");
    assert_refused("teachers: {a: {name_or_path: m}}\nprompts: [{target: x, teacher: b}]\n",
                   "there is no teacher \"b\"; the first of \"teachers\" is \"a\"");
    assert_refused("teachers: {a: {}}\nprompts: [{target: x}]\n", "teachers.a.name_or_path is missing");
    assert_refused("teachers: [a]\nprompts: [{target: x}]\n", "teachers: expected names with models");
    assert_refused("prompts: [{target: x, action: transplant}]\n", "transplant needs a teacher");
    assert_refused("prompts: [{target: x, trajectory: both}]\n", "prompts.trajectory: this one needs a teacher");
    assert_refused("prompts: [{target: x, terms: []}]\n", "prompts.terms: expected a list of 1 to 8 terms");
    assert_refused("prompts: [{target: x, terms: [{weight: 1}]}]\n", "terms: an entry needs a prompt");
    assert_refused("prompts: [{target: x, positive: y, terms: [{prompt: x}]}]\n",
                   "prompts.positive says nothing beside prompts.terms");
    assert_refused("teachers: {a: {name_or_path: m}}\nprompts: [{target: x, teacher: a, terms: [{prompt: x}]}]\n",
                   "prompts.teacher says nothing beside prompts.terms");
    assert_refused("teachers: {a: {name_or_path: m}}\nprompts: [{target: x, teacher: a, neutral: y}]\n",
                   "prompts.neutral says nothing to an entry that is to transplant");
    assert_refused("prompts: [{target: x, action: distill, neutral: y}]\n",
                   "prompts.neutral says nothing to an entry that is to distill");
    train_config c = {0};
    assert_works(read_text("prompts: [{target: x, action: distill, neutral: y, norm_match: true}]\n", &c), &err);
    train_config_free(&c);
}

static void what_is_held_is_drawn_at_its_share(void **state)
{
    (void)state;
    const objective items[5] = {{.tickets = 0}, {.tickets = 1}, {.tickets = 0}, {.tickets = 6}};
    const objective_list list = {.item = items, .count = 3, .held = 1, .held_share = 0.25};
    size_t drawn[3] = {0};
    rng r;
    rng_seed(&r, RNG_CPU, 1);
    for (int i = 0; i < 8000; i++) drawn[objectives_draw(&list, &r)]++;
    assert_in_range(drawn[0], 2850, 3150);
    assert_in_range(drawn[1], 2850, 3150);
    assert_in_range(drawn[2], 1880, 2120);
    assert_true(objectives_probability(&list, 0) == 0.375 && objectives_probability(&list, 2) == 0.25);
    const objective_list plain = {.item = items, .count = 3};
    assert_true(objectives_probability(&plain, 2) == 1.0 / 3);

    /* Tickets: 1, 1, 1 and 6 of 9. */
    const objective_list odd = {.item = items, .count = 4};
    size_t often = 0;
    for (int i = 0; i < 9000; i++) often += objectives_draw(&odd, &r) == 3;
    assert_in_range(often, 5850, 6150);
    assert_true(objectives_probability(&odd, 0) == 1.0 / 9 && objectives_probability(&odd, 3) == 6.0 / 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_and_files_become_wildcards),
        cmocka_unit_test(preserve_is_a_list_or_a_section),
        cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(previews_are_what_a_list_holds),
        cmocka_unit_test(no_text_of_a_list_is_an_instruction),
        cmocka_unit_test(a_slider_pulls_both_ways),
        cmocka_unit_test(distilling_learns_guidance_without_it),
        cmocka_unit_test(what_is_held_is_drawn_at_its_share),
        cmocka_unit_test(teachers_predict_what_they_are_named_for),
        cmocka_unit_test(mistakes_with_teachers_are_told),
    };
    return cmocka_run_group_tests_name("unit/config_texts", tests, NULL, NULL);
}
