/* Rows of keys: each kind writes its field, defaults are read like values, names come from lists. */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "train/config.h"
#include "train/keys.h"

static leco_error err;

typedef enum color { RED, BLUE } color;

typedef struct things {
    const char *text, *absent;
    int64_t whole;
    uint64_t large;
    double number;
    float small;
    bool flag;
    int claim;
    color color;
    int64_t own;
} things;

static const choice color_names[] = {
    {"red", .value = RED}, {"rouge", .alias = true, .value = RED}, {"blue", .value = BLUE}, {0}};
ENUM_CHOICES(color, ((const char *const[]){"green", "blue", NULL}), "is not there")

static leco_status read_own(const doc_node *n, const char *key, void *values, leco_error *e)
{
    return doc_int(n, key, 0, 9, &((things *)values)->own, e);
}

static char *show_own(const void *values)
{
    return mem_printf("digit %d", (int)((const things *)values)->own);
}

#define KEYS_OF things
static const key_row rows[] = {
    TEXT("text", text, "some", "a text"),
    TEXT("absent", absent, UNSET("`text`"), "another"),
    INT("whole", whole, -5, 5, "3", "from -5 to 5"),
    UINT("large", large, 0, 9.2e18, "7", "counts"),
    NUMBER("number", number, 0, 1, EITHER("1e-4", "0.5"), "a share"),
    FLOAT("small", small, 0, 10, "1.5", "a float"),
    BOOL("flag", flag, "true", "a flag"),
    CLAIM("claim", claim, "unknown", "a claim"),
    CHOICE("color", color, color, color_choices, "blue", "$names, in a frame"),
    OWN("own", read_own, show_own, "nothing", "one digit"),
    NODE("list", NULL),
    NOTHING("old", "does nothing"),
    LATER("later", "`false`", ": wait"),
    KEYS_END,
};
static const key_section sections[] = {{.name = "things", .keys = rows}, {.name = NULL}};

static leco_status read_text(const char *text, things *out)
{
    arena *memory = arena_create();
    doc_node *root;
    test_write(test_path("keys.yaml"), text, strlen(text));
    leco_status status = document_read(memory, test_path("keys.yaml"), &root, &err);
    if (status == LECO_OK) status = keys_read(root, sections, sections, out, &err);
    arena_destroy(memory);
    return status;
}

static void defaults_are_read_like_values(void **state)
{
    (void)state;
    things t = {.own = 4};
    keys_defaults(sections, false, &t);
    assert_string_equal(t.text, "some");
    assert_null(t.absent);
    assert_true(t.whole == 3 && t.large == 7 && t.number == 1e-4 && t.small == 1.5f && t.flag && t.claim == -1);
    assert_true(t.color == BLUE && t.own == 4);
    keys_defaults(sections, true, &t);
    assert_true(t.number == 0.5 && t.whole == 3);
}

static void each_kind_writes_its_field(void **state)
{
    (void)state;
    things t = {0};
    keys_defaults(sections, false, &t);
    assert_works(read_text("{whole: -5, large: 9000000000000000000, number: 1, small: 0.1, flag: no, claim: yes, "
                           "color: ROUGE, own: 9, old: [x], list: [y], later: false, text: ~}",
                           &t),
                 &err);
    assert_true(t.whole == -5 && t.large == 9000000000000000000u && t.number == 1 && t.small == 0.1f && !t.flag);
    assert_true(t.claim == 1 && t.color == RED && t.own == 9);
    assert_string_equal(t.text, "some");
}

static void what_is_refused_says_why(void **state)
{
    (void)state;
    things t = {0};
    assert_fails(read_text("whole: 6", &t), LECO_INVALID, &err, "things.whole", "from -5 to 5");
    assert_fails(read_text("large: -1", &t), LECO_INVALID, &err, "things.large", "found -1");
    assert_fails(read_text("claim: 2", &t), LECO_INVALID, &err, "things.claim", "true or false");
    assert_fails(read_text("color: green", &t), LECO_UNSUPPORTED, &err, "\"green\" is not there; red and blue are");
    assert_fails(read_text("color: blu", &t), LECO_INVALID, &err, "did you mean \"blue\"; red and blue are");
    assert_works(read_text("color: blue", &t), &err); /* it is there now, though the list of refused names has it */
    assert_fails(read_text("later: 3", &t), LECO_UNSUPPORTED, &err, "things.later is not supported yet: wait");
    assert_fails(read_text("wholes: 3", &t), LECO_INVALID, &err, "did you mean \"whole\"");
}

static void the_text_tells_all(void **state)
{
    (void)state;
    char *text;
    assert_works(keys_text(sections, "on Sundays", true, &text, &err), &err);
    assert_non_null(strstr(text, "<!-- keys of things -->\n\n| key | default | meaning |\n"));
    assert_non_null(strstr(text, "| `color` | `blue` | `red` or `blue`, in a frame |\n"));
    assert_non_null(strstr(text, "| `absent` | `text` | another |\n"));
    assert_non_null(strstr(text, "| `number` | `1e-4`; on Sundays `0.5` | a share |\n"));
    assert_non_null(strstr(text, "| `old` | | does nothing |\n"));
    assert_null(strstr(text, "`list`"));
    mem_free(text);
    assert_works(keys_text(sections, "on Sundays", false, &text, &err), &err);
    assert_non_null(strstr(text, "\nthings:\n"));
    assert_non_null(strstr(text, "  color:                      red or blue, in a frame (default: blue)\n"));
    assert_non_null(strstr(text, "  absent:                     another (default: text)\n"));
    mem_free(text);
}

static leco_status note(void *user, const char *key, const char *value, leco_error *e)
{
    char *all = user;
    (void)e;
    snprintf(all + strlen(all), 400 - strlen(all), "%s=%s;", key, value);
    return strcmp(key, "own") == 0 && strcmp(value, "digit 9") == 0 ? LECO_IO : LECO_OK;
}

/* What would be read back as the same is told, and only that. */
static void values_are_told_exactly(void **state)
{
    (void)state;
    char all[400] = "";
    things t = {0};
    keys_defaults(sections, false, &t);
    t.number = 0.1 + 0.2;
    assert_works(keys_tell(sections, &t, note, all, &err), &err);
    assert_string_equal(all, "text=some;whole=3;large=7;number=0.30000000000000004;small=1.5;flag=true;color=blue;"
                             "own=digit 0;");
    *all = '\0';
    t = (things){.absent = "x", .number = 1e-4, .small = 0.1f, .color = RED, .own = 9};
    assert_int_equal(keys_tell(sections, &t, note, all, &err), LECO_IO);
    assert_string_equal(all, "absent=x;whole=0;large=0;number=0.0001;small=0.10000000149011612;flag=false;color=red;"
                             "own=digit 9;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_read_like_values), cmocka_unit_test(each_kind_writes_its_field),
        cmocka_unit_test(what_is_refused_says_why),      cmocka_unit_test(the_text_tells_all),
        cmocka_unit_test(values_are_told_exactly),
    };
    return cmocka_run_group_tests_name("unit/keys", tests, NULL, NULL);
}
