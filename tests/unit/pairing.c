/* Which state of a text becomes which, and the states themselves: the same as those that prompts get. */
#include "model_support.h"

#include <math.h>
#include <string.h>

#include "diffusion/conditioning.h"
#include "model/family.h"
#include "solve/pairing.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"

static leco_error err;
static arena *memory;

static int setup(void **state)
{
    (void)state;
    memory = arena_create();
    return memory ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    arena_destroy(memory);
    return 0;
}

/* ---- partners ---- */

enum { TOKENS = 8, WIDTH = 2, LENGTH = 20 };

/* A text whose word has `length` tokens from `from` on; state number i of it is (i, `mark`). */
static encoded_text text_with(size_t from, size_t length, float mark)
{
    encoded_text t = {.place = {.from = from, .length = length},
                      .states = arena_alloc(memory, TOKENS * WIDTH, sizeof *t.states)};
    assert_non_null(t.states);
    for (size_t i = 0; i < TOKENS; i++) t.states[i * WIDTH] = (float)i, t.states[i * WIDTH + 1] = mark;
    return t;
}

/* The word of c is [from, from + length), that of g has `other` tokens: g's numbers as expected for c's from `from` on.
 */
static void check_partners(size_t from, size_t length, size_t other, const int *expected)
{
    const encoded_text c = text_with(from, length, -1), g = text_with(from, other, -2);
    state_pairs p;
    assert_works(pair_states(&c, &g, TOKENS, WIDTH, LENGTH, memory, &p, &err), &err);
    assert_int_equal(p.count, TOKENS - from);
    double all = 0;
    for (size_t i = 0; i < p.count; i++) {
        assert_int_equal((int)p.c[i * WIDTH], from + i);
        assert_true(p.c[i * WIDTH + 1] == -1 && p.g[i * WIDTH + 1] == -2);
        if ((int)p.g[i * WIDTH] != expected[i])
            fail_msg("%zu tokens become %zu: state %zu becomes %d, expected %d", length, other, from + i,
                     (int)p.g[i * WIDTH], expected[i]);
        all += (double)p.weight[i];
    }
    assert_true(all == (double)(LENGTH - from)); /* the whole sequence from the word on, padding and all */
    for (size_t i = 0; i + 1 < p.count; i++) assert_true(p.weight[i] == 1);
}

static void words_of_any_length_are_paired(void **state)
{
    (void)state;
    check_partners(2, 1, 1, (const int[]){2, 3, 4, 5, 6, 7});
    check_partners(2, 2, 2, (const int[]){2, 3, 4, 5, 6, 7});
    check_partners(2, 3, 1, (const int[]){2, 2, 2, 3, 4, 5}); /* shorter: the last ones become its last */
    check_partners(2, 3, 2, (const int[]){2, 3, 3, 4, 5, 6});
    check_partners(2, 1, 3, (const int[]){2, 5, 6, 7, 7, 7}); /* longer: its end stands for what is behind */
    check_partners(2, 2, 3, (const int[]){2, 3, 5, 6, 7, 7});
    check_partners(2, 1, 0, (const int[]){1, 2, 3, 4, 5, 6}); /* nothing: the token before it */
    check_partners(1, 2, 0, (const int[]){0, 0, 1, 2, 3, 4, 5});
    check_partners(6, 2, 1, (const int[]){6, 6}); /* up to the very end */
    check_partners(0, 1, 1, (const int[]){0, 1, 2, 3, 4, 5, 6, 7});
}

/* "red star": the last word becomes the other's last, and what stands before it stays. */
static void of_several_words_the_last_one_counts(void **state)
{
    (void)state;
    encoded_text c = text_with(2, 2, -1), g = text_with(2, 1, -2), h = text_with(2, 3, -3);
    c.place.lead = 1;
    h.place.lead = 2;
    state_pairs p;
    assert_works(pair_states(&c, &g, TOKENS, WIDTH, LENGTH, memory, &p, &err), &err);
    assert_int_equal(p.count, TOKENS - 3);
    for (size_t i = 0; i < p.count; i++)
        assert_true(p.c[i * WIDTH] == (float)(3 + i) && p.g[i * WIDTH] == (float)(2 + i));
    assert_works(pair_states(&c, &h, TOKENS, WIDTH, LENGTH, memory, &p, &err), &err);
    assert_true(p.count == TOKENS - 3 && p.g[0] == 4 && p.g[WIDTH] == 5);
    assert_works(pair_states(&g, &h, TOKENS, WIDTH, LENGTH, memory, &p, &err), &err);
    assert_true(p.count == TOKENS - 2 && p.c[0] == 2 && p.g[0] == 4 && p.g[WIDTH] == 5);
}

static void weights_add_up_to_the_sequence(void **state)
{
    (void)state;
    float some[TOKENS], all[LENGTH];
    double sum = 0;
    state_weights(TOKENS, LENGTH, some);
    for (size_t i = 0; i < TOKENS; i++) sum += (double)some[i];
    assert_true(sum == LENGTH && some[0] == 1 && some[TOKENS - 1] == LENGTH - TOKENS + 1);
    state_weights(LENGTH, LENGTH, all);
    for (size_t i = 0; i < LENGTH; i++) assert_true(all[i] == 1);
}

/* ---- states ---- */

static void check_states(const char *folder, const char *const *prompt, size_t count, int64_t tokens, float bound)
{
    model *m;
    device d;
    conditioner *whole;
    text_states *first;
    assert_works(model_open(folder, &m, &err), &err);
    assert_works(model_load(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(device_open("cpu", "float32", &d, &err), &err);
    assert_works(conditioner_create(&d, m, NULL, m->family->text, &whole, &err), &err);
    assert_works(text_states_create(&d, m, tokens, &first, &err), &err);
    assert_int_equal(text_states_tokens(first), tokens);
    const size_t width = (size_t)text_states_width(first);
    encoded_text *text = arena_alloc(memory, count, sizeof *text);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        assert_works(text_place(prompt[i], m->tokenizer, memory, &text[i].place, &err), &err);
    assert_works(encode_texts(first, text, count, memory, &err), &err);
    float worst = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        conditioning want;
        assert_works(conditioner_get(whole, prompt[i], &want, &err), &err);
        for (size_t k = 0; k < (size_t)tokens * width; k++) {
            worst = fmaxf(worst, fabsf(text[i].states[k] - want.states[k]));
            largest = fmaxf(largest, fabsf(want.states[k]));
        }
    }
    print_message("%zu texts, %d tokens: off by %g of %g\n", count, (int)tokens, (double)worst, (double)largest);
    assert_true(worst <= bound * largest);
    text_states_destroy(first);
    conditioner_destroy(whole);
    device_close(&d);
    model_close(m);
}

/* More than one batch, with the last not full. */
static const char *const prompts[] = {"a red star",
                                      "",
                                      "a small blue circle on a navy background, dotted style",
                                      "heart",
                                      "a xylophone",
                                      "a large red heart",
                                      "striped",
                                      "a b c d e f g h i j k l m n o p q r s t u v w x y z",
                                      "red",
                                      "two stars, one heart",
                                      "a red star"};

static void states_are_those_of_prompts(void **state)
{
    (void)state;
    enum { COUNT = sizeof prompts / sizeof *prompts };
    check_states(SHAPES, prompts, COUNT, 20, 1e-5f);
    check_states(SHAPES, prompts, 1, 77, 1e-5f);
    check_states(SHAPES, prompts, 8, 2, 1e-5f);
    check_states(FIXTURE("sd1-like"), prompts, COUNT, 20, 1e-5f);
    check_states(FIXTURE("sd1-like"), prompts, 9, 77, 1e-5f);
    check_states(FIXTURE("sdxl-like"), prompts, COUNT, 20, 1e-5f); /* two encoders, each with its padding */
    check_states(FIXTURE("sdxl-like"), prompts, 9, 77, 1e-5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_any_length_are_paired),
        cmocka_unit_test(of_several_words_the_last_one_counts),
        cmocka_unit_test(weights_add_up_to_the_sequence),
        cmocka_unit_test(states_are_those_of_prompts),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
