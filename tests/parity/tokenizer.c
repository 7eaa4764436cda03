/* Token ids against transformers' CLIPTokenizer without ftfy, exactly. */
#include "parity_support.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"

static void check_rows(const char *folder, const json_t *texts, const values *want)
{
    leco_error err = {0};
    tokenizer *t;
    assert_works(tokenizer_open(folder, &t, &err), &err);
    size_t length = tokenizer_length(t), wrong = 0, index;
    assert_int_equal(length, 77);
    assert_int_equal(want->count, json_array_size(texts) * length);
    json_t *text;
    json_array_foreach(texts, index, text) {
        int32_t ids[77];
        assert_works(tokenizer_encode(t, json_string_value(text), json_string_length(text), ids, NULL, &err), &err);
        for (size_t i = 0; i < length; i++) {
            int32_t expected = (int32_t)want->at[index * length + i];
            if (ids[i] == expected) continue;
            print_message("text %zu, token %zu: %d (%s), expected %d (%s)\n", index, i, ids[i],
                          tokenizer_token(t, ids[i]), expected, tokenizer_token(t, expected));
            wrong++;
            break;
        }
    }
    tokenizer_close(t);
    if (wrong) fail_msg("%s: %zu of %zu texts differ", folder, wrong, json_array_size(texts));
}

static void ids_are_transformers(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizer", "shapes", "shapes-v"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        snprintf(path, sizeof path, FIXTURES "%s/tokenizer_texts.json", names[i]);
        json_t *texts = json_load_file(path, JSON_ALLOW_NUL, NULL);
        assert_non_null(texts);
        snprintf(path, sizeof path, "%s/tokenizer.safetensors", names[i]);
        safetensors *file = fixture_open(path);
        values want = fixture_read(file, "ids.slow");
        check_rows(fixture_model(names[i], "tokenizer"), texts, &want);
        values_free(&want);
        safetensors_close(file);
        json_decref(texts);
    }
}

/* The prompts of the text encoder's fixtures: SD1's and SD2's pad tokens. */
static void ids_of_models(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"sd1-like/text", "sd1-like/tokenizer"},
                                           {"sd2-like/text", "sd2-like/tokenizer"},
                                           {"sdxl-like/text", "sdxl-like/tokenizer"},
                                           {"sdxl-like/text_2", "sdxl-like/tokenizer_2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[256], folder[512];
        snprintf(path, sizeof path, "%s.safetensors", cases[i][0]);
        snprintf(folder, sizeof folder, FIXTURES "%s", cases[i][1]);
        safetensors *file = fixture_open(path);
        json_t *texts = json_loads(safetensors_metadata(file, "texts"), 0, NULL);
        assert_non_null(texts);
        values want = fixture_read(file, "input_ids");
        check_rows(folder, texts, &want);
        values_free(&want);
        json_decref(texts);
        safetensors_close(file);
    }
}

/* CLIP's own vocabulary, which is built in, on texts of all kinds (tools/fixtures_clip.py). */
static void ids_of_clip(void **state)
{
    (void)state;
    leco_error err = {0};
    tokenizer *t;
    static char line[65536];
    size_t texts = 0, wrong = 0;
    assert_works(tokenizer_open_clip(NULL, &t, &err), &err);
    assert_int_equal(tokenizer_vocabulary(t), 49408);
    assert_int_equal(tokenizer_length(t), 77);
    FILE *file = fopen(FIXTURES "tokenizer/clip.txt", "r");
    assert_non_null(file);
    for (; fgets(line, sizeof line, file); texts++) {
        char *tab = strchr(line, '\t'), *at = line;
        json_t *text = json_loads(tab + 1, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(text);
        int32_t ids[77], expected[77];
        size_t count = 0;
        expected[count++] = 49406;
        for (char *end; at < tab; at = end + (*end == ' ')) expected[count++] = (int32_t)strtol(at, &end, 10);
        while (count < 77) expected[count++] = 49407;
        assert_works(tokenizer_encode(t, json_string_value(text), json_string_length(text), ids, NULL, &err), &err);
        if (memcmp(ids, expected, sizeof ids) != 0 && wrong++ < 5) print_message("%s", tab + 1);
        json_decref(text);
    }
    fclose(file);
    tokenizer_close(t);
    assert_int_equal(texts, 2000);
    if (wrong) fail_msg("%zu of %zu texts differ", wrong, texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ids_are_transformers), cmocka_unit_test(ids_of_models),
                                       cmocka_unit_test(ids_of_clip)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
