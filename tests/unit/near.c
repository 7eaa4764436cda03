/* How near words are, on models/shapes: the sketch of its cross-attention, and the words that it is nearest to. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "solve/dense.h"
#include "solve/near.h"
#include "solve/vocabulary.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"

static leco_error err;
static arena *memory;
static model *m;
static device d;
static readers r;
static double *sketch;

static int open_for_all(const char *path)
{
    memory = arena_create();
    if (!memory) return -1;
    assert_works(model_open(path, &m, &err), &err);
    assert_works(model_map(m, MODEL_UNET, &err), &err);
    assert_works(model_load(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    assert_works(readers_find(m, memory, &r, &err), &err);
    assert_works(readers_sketch(&r, memory, &sketch, &err), &err);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return open_for_all(SHAPES);
}

static int setup_donor(void **state)
{
    (void)state;
    return open_for_all(SHAPES "-v");
}

static int teardown(void **state)
{
    (void)state;
    device_close(&d);
    model_close(m);
    arena_destroy(memory);
    return 0;
}

static void readers_are_keys_and_values(void **state)
{
    (void)state;
    assert_int_equal(r.width, 128);
    assert_int_equal(r.count, 14);
    size_t keys = 0, values = 0;
    for (size_t i = 0; i < r.count; i++) {
        const char *path = r.item[i].layer->path;
        keys += strstr(path, ".attn2.to_k") != NULL;
        values += strstr(path, ".attn2.to_v") != NULL;
        assert_int_equal(r.item[i].layer->in, r.width);
    }
    assert_true(keys == 7 && values == 7);
}

/* |W x|^2 of all readers. */
static double exact_square(const double *x)
{
    double sum = 0;
    for (size_t i = 0; i < r.count; i++) {
        const int64_t rows = r.item[i].layer->out;
        double *w = malloc((size_t)(rows * r.width) * sizeof *w);
        assert_non_null(w);
        assert_works(reader_values(&r.item[i], w, &err), &err);
        for (int64_t row = 0; row < rows; row++) {
            double y = 0;
            for (int64_t k = 0; k < r.width; k++) y += w[row * r.width + k] * x[k];
            sum += y * y;
        }
        free(w);
    }
    return sum;
}

static double sketched_square(const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < READERS_SKETCH; i++) {
        double y = 0;
        for (int64_t k = 0; k < r.width; k++) y += sketch[i + k * READERS_SKETCH] * x[k];
        sum += y * y;
    }
    return sum;
}

static void the_sketch_has_about_the_same_norm(void **state)
{
    (void)state;
    double worst = 0;
    rng random;
    rng_seed(&random, RNG_CPU, 3);
    for (int trial = 0; trial < 50; trial++) {
        float normal[128];
        double x[128];
        rng_normal(&random, normal, 128);
        /* of all directions, or of a few */
        for (int k = 0; k < 128; k++) x[k] = trial % 2 || k < 3 ? (double)normal[k] : 0;
        const double off = fabs(sqrt(sketched_square(x) / exact_square(x)) - 1);
        worst = off > worst ? off : worst;
    }
    print_message("the norm is off by %.1f%% at most\n", 100 * worst);
    assert_true(worst < 0.15);
}

static void the_gram_is_the_exact_square(void **state)
{
    (void)state;
    double *gram;
    float normal[128];
    double x[128], got = 0;
    rng random;
    rng_seed(&random, RNG_CPU, 5);
    rng_normal(&random, normal, 128);
    for (int k = 0; k < 128; k++) x[k] = (double)normal[k];
    assert_works(readers_gram(&r, memory, &gram, &err), &err);
    for (int i = 0; i < 128; i++)
        for (int k = 0; k < 128; k++) got += x[i] * gram[i + 128 * k] * x[k];
    assert_true(fabs(got / exact_square(x) - 1) < 1e-12);
}

static near_words find(const char *concept, const char *also)
{
    const char *const avoid[] = {concept, also};
    const near_search search = {m, &r, sketch, &d, avoid, also ? 2 : 1};
    near_words out;
    assert_works(near_find(&search, concept, memory, &out, &err), &err);
    print_message("%s (%s):", concept, out.topic->name);
    for (size_t i = 0; i < out.count; i++) {
        if (i < 5) print_message(" %s %.2f", out.item[i].word, out.item[i].distance);
        assert_true(isfinite(out.item[i].distance) && out.item[i].distance >= 0);
        assert_true(i == 0 || out.item[i].distance >= out.item[i - 1].distance);
        const bool apart = out.item[i].of_topic && topic_listing(concept); /* words of one list never say the same */
        assert_true(out.item[i].same == (out.item[i].distance < 0.25 && !apart));
        assert_string_not_equal(out.item[i].word, concept);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(out.item[i].word, out.item[k].word);
    }
    print_message("\n");
    return out;
}

static void red_is_a_color_near_orange(void **state)
{
    (void)state;
    const near_words near = find("red", NULL);
    assert_string_equal(near.topic->name, "color");
    assert_string_equal(near.item[0].word, "orange");
    assert_true(near.item[0].of_topic && !near.item[0].same && !near.guessed);
    size_t words = 0, before = 0;
    for (size_t i = 0; i < near.count; i++) words += near.item[i].of_topic;
    for (size_t i = 0; i < near.count; i++) /* the median of the list's */
        if (near.item[i].of_topic && before++ == words / 2) assert_true(fabs(near.item[i].distance - 1) < 1e-12);
    assert_true(words >= 10 && near.count > words);
}

static void what_is_to_be_avoided_is_not_found(void **state)
{
    (void)state;
    const near_words near = find("red", "Orange");
    for (size_t i = 0; i < near.count; i++) assert_string_not_equal(near.item[i].word, "orange");
}

static void letters_may_be_large(void **state)
{
    (void)state;
    const near_words near = find("Red", NULL);
    assert_string_equal(near.topic->name, "color");
    assert_string_equal(near.item[0].word, "orange");
    for (size_t i = 0; i < near.count; i++) assert_string_not_equal(near.item[i].word, "red");
}

static void stars_are_objects(void **state)
{
    (void)state;
    assert_string_equal(find("star", NULL).topic->name, "object");
    assert_string_equal(find("striped", NULL).topic->name, "style");
}

/* What no list has gets the topic of the nearest word; and what a model has no tokens for isn't lost. */
static void other_words_have_topics_too(void **state)
{
    (void)state;
    static const char *const others[] = {"crimson", "xylophone", "red star", "a", "vincent", "\xe7\xba\xa2"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const near_words near = find(others[i], NULL);
        assert_non_null(near.topic->name);
        assert_true(near.count > 0);
    }
}

/* shapes-v does nearly the same with dots and with flat colors, beside its three other styles. */
static void words_of_one_list_do_not_say_the_same(void **state)
{
    (void)state;
    const near_words near = find("dotted", NULL);
    size_t flat = 0;
    while (flat < near.count && strcmp(near.item[flat].word, "flat") != 0) flat++;
    assert_true(flat < near.count && near.item[flat].distance < 0.25 && !near.item[flat].same);
    assert_string_equal(near_other(&near), "flat");
}

/* By the table itself: the cosine of what is left of two rows without the mean of all words. */
static double likeness(const char *const *word, size_t count, const char *one, const char *other)
{
    weight *table;
    const int64_t n = m->text.hidden_size;
    double mean[512] = {0}, ab = 0, aa = 0, bb = 0;
    assert_works(weights_get(m->weights[PART_TEXT_ENCODER], "text_model.embeddings.token_embedding.weight",
                             SHAPE(m->text.vocab_size, n), &table, &err),
                 &err);
    float *row = malloc((size_t)m->text.vocab_size * (size_t)n * sizeof *row), *at[2] = {NULL, NULL};
    assert_non_null(row);
    dtype_convert(row, DTYPE_F32, table->data, table->type, (size_t)(m->text.vocab_size * n));
    for (size_t i = 0; i < count; i++) {
        placed_text place;
        assert_works(text_place(word[i], m->tokenizer, memory, &place, &err), &err);
        assert_int_equal(place.needed, 3);
        float *of_word = row + (int64_t)place.ids[1] * n;
        for (int64_t k = 0; k < n; k++) mean[k] += (double)of_word[k] / (double)count;
        if (strcmp(word[i], one) == 0) at[0] = of_word;
        if (strcmp(word[i], other) == 0) at[1] = of_word;
    }
    assert_true(at[0] && at[1]);
    for (int64_t k = 0; k < n; k++) {
        const double a = (double)at[0][k] - mean[k], b = (double)at[1][k] - mean[k];
        ab += a * b, aa += a * a, bb += b * b;
    }
    free(row);
    return ab / sqrt(aa * bb);
}

static bool is_in(const char *const *word, size_t count, const char *wanted)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word[i], wanted) == 0) return true;
    return false;
}

static void the_vocabulary_is_sorted_by_likeness(void **state)
{
    (void)state;
    const char **all, **few;
    size_t count, some;
    assert_works(vocabulary_like(m, "red", 1000, memory, &all, &count, &err), &err);
    assert_true(count >= 28 && count < 40); /* all words that shapes was trained with */
    assert_string_equal(all[0], "red");
    for (size_t i = 1; i < count; i++)
        assert_true(likeness(all, count, "red", all[i]) <= likeness(all, count, "red", all[i - 1]) + 1e-9);
    assert_works(vocabulary_like(m, "red", 5, memory, &few, &some, &err), &err);
    assert_int_equal(some, 5);
    for (size_t i = 0; i < some; i++) assert_string_equal(few[i], all[i]);
}

/* What large and heart were made of is no word. */
static void pieces_are_no_words(void **state)
{
    (void)state;
    static const char *const words[] = {"large", "heart", "star", "ring", "style", "background", "cross"};
    static const char *const pieces[] = {"arge", "eart", "hape", "quare", "riangle", "ack", "ellow", "ine", "mall"};
    const char **all;
    size_t count;
    assert_works(vocabulary_like(m, "red", 1000, memory, &all, &count, &err), &err);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) assert_true(is_in(all, count, words[i]));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) assert_false(is_in(all, count, pieces[i]));
}

static void forms_are_told_by_their_letters(void **state)
{
    (void)state;
    static const char *const forms[][2] = {
        {"reds", "red"},       {"reddish", "Red"},     {"painters", "painting"},       {"stripes", "striped"},
        {"circles", "circle"}, {"happiness", "happy"}, {"balloons", "hot air balloon"}};
    static const char *const others[][2] = {{"orange", "red"}, {"hundred", "red"}, {"star", "red star"},
                                            {"cat", "car"},    {"starch", "mars"}, {"mouse", "mountain"},
                                            {"red", "reddish"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) assert_true(vocabulary_is_form(forms[i][0], forms[i][1]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(vocabulary_is_form(others[i][0], others[i][1]));
}

/* Words of the vocabulary are proposed; a list's is taken, unless nobody knows what the concept is. */
static void what_comes_in_its_place(void **state)
{
    (void)state;
    static const topic kind = {.name = "object"};
    near_word words[] = {{.word = "bananas", .distance = 0.1, .form = true},
                         {.word = "plantain", .distance = 0.2, .same = true},
                         {.word = "musa", .distance = 0.4},
                         {.word = "apple", .distance = 0.6},
                         {.word = "ball", .distance = 0.9, .of_topic = true}};
    near_words near = {.item = words, .count = 5, .topic = &kind, .known = 12};
    assert_string_equal(near_other(&near), "ball");
    near.guessed = true;
    assert_string_equal(near_other(&near), "apple");
    words[3].distance = 0.95;
    words[3].form = true;
    assert_string_equal(near_other(&near), "ball");
    near.guessed = false;
    near.known = 0;
    assert_string_equal(near_other(&near), "musa");
    near.count = 2;
    assert_null(near_other(&near));
}

/* Which kind a concept is of is known, guessed, or not worth a guess. */
static void kinds_may_be_guessed(void **state)
{
    (void)state;
    assert_false(find("red", NULL).guessed);
    assert_false(find("red star", NULL).guessed);
    assert_true(find("background", NULL).guessed);
    assert_false(find("xylophone", NULL).guessed); /* letter by letter: the model knows no such word */
}

static void long_concepts_are_named(void **state)
{
    (void)state;
    char concept[400] = "";
    for (int i = 0; i < 74; i++) strcat(concept, "red ");
    const near_search search = {m, &r, sketch, &d, NULL, 0};
    near_words out;
    assert_fails(near_find(&search, concept, memory, &out, &err), LECO_INVALID, &err, "77 tokens");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_are_keys_and_values),
        cmocka_unit_test(the_sketch_has_about_the_same_norm),
        cmocka_unit_test(the_gram_is_the_exact_square),
        cmocka_unit_test(red_is_a_color_near_orange),
        cmocka_unit_test(what_is_to_be_avoided_is_not_found),
        cmocka_unit_test(letters_may_be_large),
        cmocka_unit_test(stars_are_objects),
        cmocka_unit_test(other_words_have_topics_too),
        cmocka_unit_test(the_vocabulary_is_sorted_by_likeness),
        cmocka_unit_test(pieces_are_no_words),
        cmocka_unit_test(forms_are_told_by_their_letters),
        cmocka_unit_test(what_comes_in_its_place),
        cmocka_unit_test(kinds_may_be_guessed),
        cmocka_unit_test(long_concepts_are_named),
    };
    const struct CMUnitTest of_donor[] = {cmocka_unit_test(words_of_one_list_do_not_say_the_same)};
    return cmocka_run_group_tests(tests, setup, teardown) + cmocka_run_group_tests(of_donor, setup_donor, teardown);
}
