/* What a training's effect is compared with: near words in the place of what it changes, and texts of something else.
 */
#include "test_support.h"

#include <stdio.h>
#include <string.h>

#include "model/model.h"
#include "solve/neighbours.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"

static leco_error err;
static model *m;

static logging_others find(const char *prompts)
{
    char text[2000];
    train_config c;
    logging_others found;
    snprintf(text, sizeof text, "pretrained_model: {name_or_path: \"" SHAPES "\"}\nprompts: %s\n", prompts);
    test_write(test_path("train.yaml"), text, strlen(text));
    assert_works(train_config_read(test_path("train.yaml"), NULL, 0, &c, &err), &err);
    assert_works(neighbours_find(&c, m->tokenizer, &found, &err), &err);
    train_config_free(&c);
    return found;
}

static bool among(const char *const *texts, size_t count, const char *wanted)
{
    bool there = false;
    for (size_t i = 0; i < count; i++) there = there || strcmp(texts[i], wanted) == 0;
    return there;
}

static void a_word_is_replaced_by_others_of_its_kind(void **state)
{
    (void)state;
    logging_others o = find("[{target: red}]");
    assert_int_equal(o.neighbours, OTHERS_MOST);
    assert_string_equal(o.neighbour[0], "orange");
    assert_string_equal(o.neighbour[1], "yellow");
    assert_false(among(o.neighbour, o.neighbours, "red"));
    assert_true(o.unrelateds > 2);
    for (size_t i = 0; i < o.unrelateds; i++) assert_null(strstr(o.unrelated[i], "red"));
    neighbours_free(&o);

    o = find(
        "[{target: a large red star, positive: a large star, neutral: a large heart}]"); /* the star is what changes */
    assert_string_equal(o.neighbour[0], "a large heart");
    for (size_t i = 0; i < o.unrelateds; i++) assert_null(strstr(o.unrelated[i], "star"));
    neighbours_free(&o);
}

static void each_entry_has_its_own(void **state)
{
    (void)state;
    logging_others o =
        find("[{target: 'a {small|large} red ring', neutral: 'a {small|large} ring'}, {target: a striped star, "
             "neutral: a flat star}]");
    assert_true(o.neighbours == OTHERS_MOST);
    for (size_t i = 0; i < o.neighbours; i++) {
        assert_null(strstr(o.neighbour[i], i % 2 ? "striped" : "red"));
        assert_non_null(strstr(o.neighbour[i], i % 2 ? " star" : " ring"));
        for (size_t k = i + 2; k < o.neighbours && k < i + 4; k += 2) /* another word each time */
            assert_string_not_equal(o.neighbour[i], o.neighbour[k]);
    }
    neighbours_free(&o);
}

static void where_no_topic_has_the_word_there_are_none(void **state)
{
    (void)state;
    logging_others o = find("[{target: xyzzy}]");
    assert_int_equal(o.neighbours, 0);
    assert_true(o.unrelateds > 0); /* of all topics */
    neighbours_free(&o);
    o = find("[{target: ''}]");
    assert_int_equal(o.neighbours, 0);
    neighbours_free(&o);
}

static int set_up(void **state)
{
    (void)state;
    return model_open(SHAPES, &m, &err) == LECO_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    model_close(m);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_word_is_replaced_by_others_of_its_kind),
        cmocka_unit_test(each_entry_has_its_own),
        cmocka_unit_test(where_no_topic_has_the_word_there_are_none),
    };
    return cmocka_run_group_tests_name("unit/neighbours", tests, set_up, tear_down);
}
