/* YAML as trees: anchors and aliases, one document a file, and files that are made to take long. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "format/document.h"

static leco_error err;
static arena *memory;

static leco_status read_bytes(const char *text, size_t size, doc_node **out)
{
    const char *path = test_path("file.yaml");
    test_write(path, text, size);
    arena_destroy(memory);
    memory = arena_create();
    assert_non_null(memory);
    return document_read(memory, path, out, &err);
}

static leco_status read_text(const char *text, doc_node **out)
{
    return read_bytes(text, strlen(text), out);
}

#define assert_refused(text, ...)                                                                                      \
    do {                                                                                                               \
        doc_node *refused_ = NULL;                                                                                     \
        assert_fails(read_text(text, &refused_), LECO_FORMAT, &err, __VA_ARGS__);                                      \
        assert_null(refused_);                                                                                         \
    } while (0)

static void trees_are_as_written(void **state)
{
    (void)state;
    doc_node *root;
    assert_works(read_text("a: 1\nb:\n  - x\n  - [y, \"z\", []]\n  - {}\nc: ~\n", &root), &err);
    assert_true(root->kind == DOC_MAP && root->count == 3);
    const doc_node *b = doc_find(root, "b");
    assert_true(b->kind == DOC_LIST && b->count == 3);
    assert_non_null(strstr(b->place, "file.yaml:2")); /* where the key stands */
    assert_string_equal(b->item[0].value->text, "x");
    assert_non_null(strstr(b->item[0].value->place, "file.yaml:3"));
    const doc_node *inner = b->item[1].value;
    assert_true(inner->kind == DOC_LIST && inner->count == 3 && inner->item[1].value->quoted);
    assert_true(inner->item[2].value->kind == DOC_LIST && inner->item[2].value->count == 0);
    assert_true(b->item[2].value->kind == DOC_MAP && b->item[2].value->count == 0);
    assert_true(doc_is_null(doc_find(root, "c")));
    assert_works(read_text("# nothing\n", &root), &err);
    assert_true(root->kind == DOC_MAP && root->count == 0);
}

static void aliases_are_copies(void **state)
{
    (void)state;
    doc_node *root;
    assert_works(read_text("a: &one {x: &two [1, 2], y: 3}\nb: *one\nc: *two\n", &root), &err);
    assert_works(document_set(memory, root, "b.x.0=9", &err), &err);
    const doc_node *a = doc_find(root, "a"), *b = doc_find(root, "b"), *c = doc_find(root, "c");
    assert_string_equal(doc_find(a, "x")->item[0].value->text, "1");
    assert_string_equal(doc_find(b, "x")->item[0].value->text, "9");
    assert_string_equal(c->item[0].value->text, "1");
    assert_string_equal(doc_find(b, "y")->text, "3");
    assert_non_null(strstr(b->place, "file.yaml:2"));
    assert_refused("a: &a [*a]\n", "file.yaml:1", "*a");
    assert_refused("a: &a {b: [{c: *a}]}\n", "file.yaml:1", "*a");
    assert_refused("a: 1\nb: *nobody\n", "file.yaml:2", "nobody");
    assert_refused("a: &a 1\nb: &a 2\n", "file.yaml:2", "&a", "twice");
}

/* YAML 1.1's merge keys, which PyYAML knows. */
static void merged_maps_give_way(void **state)
{
    (void)state;
    doc_node *root;
    assert_works(read_text("- &a {x: 1, y: 2}\n- &b {y: 3, z: 4}\n- {<<: *a, y: 5}\n- <<: [*a, *b]\n  w: 6\n"
                           "- {\"<<\": 7}\n- {w: 1, <<: {v: 2}}\n",
                           &root),
                 &err);
    const doc_node *one = root->item[2].value, *two = root->item[3].value;
    assert_int_equal(one->count, 2);
    assert_string_equal(doc_find(one, "x")->text, "1");
    assert_string_equal(doc_find(one, "y")->text, "5");
    assert_int_equal(two->count, 4);
    assert_string_equal(doc_find(two, "y")->text, "2");
    assert_string_equal(doc_find(two, "z")->text, "4");
    assert_non_null(strstr(doc_find(two, "z")->place, "file.yaml:2"));
    assert_string_equal(doc_find(root->item[4].value, "<<")->text, "7"); /* a key like others */
    assert_string_equal(doc_find(root->item[5].value, "v")->text, "2");
    assert_fails(read_text("{<<: 1}\n", &root), LECO_INVALID, &err, "file.yaml:1", "<<", "a map");
    assert_fails(read_text("{<<: [{}, 1]}\n", &root), LECO_INVALID, &err, "file.yaml:1", "a map");
    assert_refused("a: {<<: {}, <<: {}}\n", "file.yaml:1", "twice");
}

static void one_document_a_file(void **state)
{
    (void)state;
    doc_node *root;
    assert_works(read_text("---\na: 1\n...\n", &root), &err);
    assert_string_equal(doc_find(root, "a")->text, "1");
    assert_refused("a: 1\n---\nb: 2\n", "file.yaml:2", "second YAML document");
    assert_refused("a: 1\n...\n---\n", "file.yaml:3", "second YAML document");
    assert_refused("---\n---\na: 1\n", "file.yaml:2", "second YAML document");
    assert_works(read_text("a: 1\n", &root), &err);
    assert_fails(document_set(memory, root, "a=1\n---\n2", &err), LECO_FORMAT, &err, "--set a=1", "second");
}

/* Every allocation fails once. */
static void without_memory_it_says_so(void **state)
{
    (void)state;
    static const char text[] = "a: &one {x: &two [1, 2, 3, 4, 5], y: 3}\nb: *one\nc: [*two, &three z]\n";
    const char *path = test_path("file.yaml");
    test_write(path, text, strlen(text));
    for (uint64_t nth = 1;; nth++) {
        uint64_t before = mem_allocations();
        doc_node *root;
        mem_fail_at(nth);
        arena *a = arena_create();
        leco_status status = a ? document_read(a, path, &root, &err) : LECO_MEMORY;
        mem_fail_at(0);
        arena_destroy(a);
        if (mem_allocations() - before < nth) {
            assert_int_equal(status, LECO_OK);
            assert_true(nth > 5);
            return;
        }
        assert_int_equal(status, LECO_MEMORY);
    }
}

/* Reads `count` times `part` between two texts, "%d" standing for the number; fails where it takes long. */
static leco_status read_many(const char *before, const char *part, int count, const char *after)
{
    size_t room = strlen(before) + strlen(after) + (size_t)count * (strlen(part) + 8) + 1;
    char *text = malloc(room);
    assert_non_null(text);
    size_t used = (size_t)sprintf(text, "%s", before);
    const char *number = strstr(part, "%d");
    for (int i = 0; i < count; i++) {
        if (number)
            used += (size_t)sprintf(text + used, "%.*s%d%s", (int)(number - part), part, i, number + 2);
        else
            used += (size_t)sprintf(text + used, "%s", part);
    }
    used += (size_t)sprintf(text + used, "%s", after);
    doc_node *root;
    clock_t begin = clock();
    leco_status status = read_bytes(text, used, &root);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    free(text);
    /* Each took at least ten seconds when it took time squared. */
    if (seconds > 3) fail_msg("%d times \"%s\" took %.1f seconds", count, part, seconds);
    return status;
}

static void much_takes_no_time_squared(void **state)
{
    (void)state;
    static const char *const nesting[] = {"[", "{", "[a: ", "? ", "- ", "[\n"};
    for (size_t i = 0; i < sizeof nesting / sizeof *nesting; i++)
        assert_fails(read_many("", nesting[i], 80000, ""), LECO_FORMAT, &err, "nested too deeply");
    assert_fails(read_many("", "%TAG !a%d! x\n", 80000, "---\na: 1\n"), LECO_FORMAT, &err, "file.yaml:65",
                 "directives");
    assert_works(read_many("", "key%d: 1\n", 90000, ""), &err);
    assert_works(read_many("", "- &a%d 1\n", 90000, ""), &err);
    assert_works(read_many("- &a x\n", "- *a\n", 90000, ""), &err);
    assert_fails(read_many("", "- 1\n", 200001, ""), LECO_FORMAT, &err, "too many");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_as_written),      cmocka_unit_test(aliases_are_copies),
        cmocka_unit_test(merged_maps_give_way),      cmocka_unit_test(one_document_a_file),
        cmocka_unit_test(without_memory_it_says_so), cmocka_unit_test(much_takes_no_time_squared),
    };
    int failed = cmocka_run_group_tests_name("unit/document", tests, NULL, NULL);
    arena_destroy(memory);
    return failed;
}
