/* Everything that transformers' CLIPTokenizer reads beside vocab.json and merges.txt is used, harmless or refused. */
#include "model_support.h"

#include <jansson.h>

#include <stdio.h>
#include <string.h>

#include "model/tokenizer.h"

#define FOLDER FIXTURE("tokenizer/tokenizer")
#define LENGTH 77

static leco_error err;

/* A copy of the tokenizer as transformers before 4.34 saved it: the config doesn't list its added tokens. */
static const char *old_layout(void)
{
    const char *folder = model_copy(FOLDER, "tokens");
    remove(test_path("tokens/added_tokens.json"));
    remove(test_path("tokens/tokenizer.json"));
    model_edit(test_path("tokens/tokenizer_config.json"), "added_tokens_decoder", NULL);
    return folder;
}

static void put(const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "tokens/%s", name);
    test_write(test_path(path), text, strlen(text));
}

static int32_t id_of(const tokenizer *t, const char *text)
{
    for (int32_t id = 0; id < (int32_t)tokenizer_vocabulary(t); id++)
        if (tokenizer_token(t, id) && strcmp(tokenizer_token(t, id), text) == 0) return id;
    fail_msg("there is no token %s", text);
    return -1;
}

/* Is "!" cut out of a word? Otherwise it ends one, and is the token "!</w>". */
static bool cuts_bang(const char *folder)
{
    tokenizer *t;
    int32_t ids[LENGTH];
    assert_works(tokenizer_open(folder, &t, &err), &err);
    assert_works(tokenizer_encode(t, "a!", 2, ids, NULL, &err), &err);
    bool cut = ids[2] == id_of(t, "!");
    assert_true(cut || ids[2] == id_of(t, "!</w>"));
    tokenizer_close(t);
    return cut;
}

static int32_t bang(void)
{
    tokenizer *t;
    assert_works(tokenizer_open(FOLDER, &t, &err), &err);
    int32_t id = id_of(t, "!");
    tokenizer_close(t);
    return id;
}

static void added_tokens_json(void **state)
{
    (void)state;
    tokenizer *t;
    char text[100];
    const char *folder = old_layout();
    assert_false(cuts_bang(folder));
    put("added_tokens.json", "{}");
    assert_false(cuts_bang(folder));
    snprintf(text, sizeof text, "{\"!\": %d}", bang());
    put("added_tokens.json", text);
    assert_true(cuts_bang(folder));

    put("added_tokens.json", "{\"<my-dot>\": 5}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, "added_tokens.json", "<my-dot>", "id 5");
    snprintf(text, sizeof text, "{\"!\": %d}", bang() + 1);
    put("added_tokens.json", text);
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, "added_tokens.json", "\"!\"", "id");
    static const char *const broken[] = {"{\"!\": \"0\"}", "{\"!\": -1}", "{\"!\": 0.5}", "{\"!\": null}"};
    for (size_t i = 0; i < 4; i++) {
        put("added_tokens.json", broken[i]);
        assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, "added_tokens.json", "\"!\"");
    }
    put("added_tokens.json", "[]");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, "added_tokens.json", "object");
    assert_null(t);

    /* Where the config lists the added tokens, transformers reads no other file for them. */
    model_edit(test_path("tokens/tokenizer_config.json"), "added_tokens_decoder", "{}");
    put("added_tokens.json", "{\"<my-dot>\": 914}");
    assert_false(cuts_bang(folder));
}

/* tokenizer.json beside the two files counts for its added tokens alone. */
static void added_tokens_of_tokenizer_json(void **state)
{
    (void)state;
    tokenizer *t;
    char text[200];
    const char *folder = old_layout();
    snprintf(text, sizeof text, "{\"added_tokens\": [{\"id\": %d, \"content\": \"!\", \"special\": true}]}", bang());
    put("tokenizer.json", text);
    assert_true(cuts_bang(folder));
    put("tokenizer.json", "{\"added_tokens\": [{\"id\": 9, \"content\": \"<new>\"}]}");
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, "tokenizer.json", "<new>");
    model_edit(test_path("tokens/tokenizer_config.json"), "added_tokens_decoder", "{}");
    assert_false(cuts_bang(folder));
}

static void decoder_ids_are_checked(void **state)
{
    (void)state;
    tokenizer *t;
    char text[100];
    const char *folder = model_copy(FOLDER, "tokens"), *config = test_path("tokens/tokenizer_config.json");
    snprintf(text, sizeof text, "{\"%d\": {\"content\": \"!\"}}", bang());
    model_edit(config, "added_tokens_decoder", text);
    assert_true(cuts_bang(folder));
    snprintf(text, sizeof text, "{\"%d\": {\"content\": \"!\"}}", bang() + 3);
    model_edit(config, "added_tokens_decoder", text);
    assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, config, "\"!\"", "has the id");
    static const char *const broken[] = {"{\"five\": {\"content\": \"!\"}}", "{\"-1\": {\"content\": \"!\"}}",
                                         "{\"\": {\"content\": \"!\"}}",
                                         "{\"99999999999999999999\": {\"content\": \"!\"}}"};
    for (size_t i = 0; i < 4; i++) {
        model_edit(config, "added_tokens_decoder", broken[i]);
        assert_fails(tokenizer_open(folder, &t, &err), LECO_FORMAT, &err, config, "added_tokens_decoder", "id");
    }
}

/* Special tokens without a name that leco uses: in either file, as text or as objects, as a list or by name. */
static void other_special_tokens(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"tokenizer_config.json", "additional_special_tokens", "[\"%s\"]"},
        {"special_tokens_map.json", "additional_special_tokens", "[\"%s\"]"},
        {"special_tokens_map.json", "additional_special_tokens", "[{\"content\": \"%s\"}]"},
        {"tokenizer_config.json", "extra_special_tokens", "{\"image_token\": \"%s\"}"},
        {"tokenizer_config.json", "extra_special_tokens", "[\"%s\"]"},
        {"tokenizer_config.json", "mask_token", "\"%s\""},
        {"special_tokens_map.json", "sep_token", "{\"content\": \"%s\"}"},
        {"special_tokens_map.json", "cls_token", "\"%s\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tokenizer *t;
        char path[64], value[64];
        const char *folder = old_layout();
        snprintf(path, sizeof path, "tokens/%s", cases[i][0]);
        snprintf(value, sizeof value, cases[i][2], "!");
        model_edit(test_path(path), cases[i][1], value);
        assert_true(cuts_bang(folder));
        snprintf(value, sizeof value, cases[i][2], "<new>");
        model_edit(test_path(path), cases[i][1], value);
        assert_fails(tokenizer_open(folder, &t, &err), LECO_UNSUPPORTED, &err, path, "<new>", "vocab.json");
        static const char *const none[] = {"null", "[]", "{}"};
        for (size_t k = 0; k < 3; k++) {
            model_edit(test_path(path), cases[i][1], none[k]);
            assert_false(cuts_bang(folder));
        }
    }
}

static void settings_that_change_ids_are_refused(void **state)
{
    (void)state;
    static const char *const refused[][3] = {
        {"padding_side", "\"left\"", "left"},
        {"truncation_side", "\"left\"", "left"},
        {"split_special_tokens", "true", "true"},
        {"tokenizer_class", "\"T5Tokenizer\"", "T5Tokenizer"},
        {"vocab_file", "\"/elsewhere/vocab.json\"", "elsewhere"},
        {"pad_token", "{\"content\": \"!\", \"lstrip\": true}", "lstrip"},
        {"unk_token", "{\"content\": \"!\", \"rstrip\": true}", "rstrip"},
        {"additional_special_tokens", "[{\"content\": \"!\", \"single_word\": true}]", "single_word"},
        {"additional_special_tokens", "[7]", "content"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        tokenizer *t;
        const char *folder = old_layout(), *config = test_path("tokens/tokenizer_config.json");
        put("special_tokens_map.json", "{}");
        model_edit(config, refused[i][0], refused[i][1]);
        leco_status expected = i == 8 ? LECO_FORMAT : LECO_UNSUPPORTED;
        assert_fails(tokenizer_open(folder, &t, &err), expected, &err, config, refused[i][0], refused[i][2]);
    }
    static const char *const harmless[][2] = {
        {"do_lower_case", "true"},     {"do_lower_case", "false"},
        {"add_prefix_space", "false"}, {"errors", "\"strict\""},
        {"padding_side", "\"right\""}, {"clean_up_tokenization_spaces", "true"},
        {"name_or_path", "\"./x\""},   {"tokenizer_class", "\"CLIPTokenizerFast\""},
        {"some_new_key", "7"},
    };
    const char *folder = old_layout();
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        model_edit(test_path("tokens/tokenizer_config.json"), harmless[i][0], harmless[i][1]);
        assert_false(cuts_bang(folder));
    }
}

/* vocab.json and merges.txt as transformers puts them into tokenizer.json: merges as texts, or as pairs. */
static void put_whole(bool pairs)
{
    char line[512];
    json_t *merges = json_array(), *vocabulary = json_load_file(test_path("tokens/vocab.json"), 0, NULL);
    FILE *file = fopen(test_path("tokens/merges.txt"), "r");
    assert_true(vocabulary && file && fgets(line, sizeof line, file)); /* a comment */
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        char *space = strchr(line, ' ');
        if (!space) continue;
        if (pairs) *space = '\0';
        json_array_append_new(merges, pairs ? json_pack("[s, s]", line, space + 1) : json_string(line));
    }
    fclose(file);
    json_t *root = json_pack("{s:[], s:{s:s, s:o, s:o}}", "added_tokens", "model", "type", "BPE", "vocab", vocabulary,
                             "merges", merges);
    assert_int_equal(json_dump_file(root, test_path("tokens/tokenizer.json"), 0), 0);
    json_decref(root);
}

static void remove_lists(void)
{
    assert_int_equal(remove(test_path("tokens/vocab.json")), 0);
    assert_int_equal(remove(test_path("tokens/merges.txt")), 0);
}

/* What transformers 5 saves. */
static void tokenizer_json_alone(void **state)
{
    (void)state;
    static const char text[] = "a Large red, circle's <|endoftext|> on it!";
    for (int pairs = 0; pairs < 2; pairs++) {
        tokenizer *t;
        int32_t expected[77], ids[77];
        const char *folder = model_copy(FOLDER, "tokens");
        assert_works(tokenizer_open(folder, &t, &err), &err);
        assert_int_equal(tokenizer_length(t), 77);
        assert_works(tokenizer_encode(t, text, strlen(text), expected, NULL, &err), &err);
        tokenizer_close(t);
        put_whole(pairs);
        remove_lists();
        assert_works(tokenizer_open(folder, &t, &err), &err);
        assert_works(tokenizer_encode(t, text, strlen(text), ids, NULL, &err), &err);
        assert_memory_equal(ids, expected, sizeof ids);
        tokenizer_close(t);
    }
}

static void broken_tokenizer_json(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "model.merges"},
        {"{\"model\": {\"type\": \"WordPiece\"}}", "BPE"},
        {"{\"model\": {\"merges\": []}}", "tokens and their ids"},
        {"{\"model\": {\"merges\": [], \"vocab\": {\"a\": -1}}}", "token id"},
        {"{\"model\": {\"merges\": [5], \"vocab\": {\"a\": 0}}}", "element 0"},
        {"{\"model\": {\"merges\": [\"a\"], \"vocab\": {\"a\": 0}}}", "element 0"},
        {"{\"model\": {\"merges\": [[\"a\", \"b\", \"c\"]], \"vocab\": {\"a\": 0}}}", "element 0"},
        {"{\"model\": {\"merges\": [[\"a b\", \"c\"]], \"vocab\": {\"a\": 0}}}", "element 0"},
    };
    const char *folder = model_copy(FOLDER, "tokens");
    tokenizer *t;
    remove_lists();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put("tokenizer.json", cases[i][0]);
        leco_status status = tokenizer_open(folder, &t, &err);
        assert_true(status == LECO_FORMAT || status == LECO_UNSUPPORTED);
        assert_null(t);
        if (!strstr(err.message, "tokens/tokenizer.json") || !strstr(err.message, cases[i][1]))
            fail_msg("\"%s\" doesn't say %s", err.message, cases[i][1]);
    }
    assert_int_equal(remove(test_path("tokens/tokenizer.json")), 0);
    assert_fails(tokenizer_open(folder, &t, &err), LECO_IO, &err, "tokens/vocab.json", "cannot open");
}

static void old_name_of_the_length(void **state)
{
    (void)state;
    tokenizer *t;
    const char *folder = old_layout(), *config = test_path("tokens/tokenizer_config.json");
    model_edit(config, "model_max_length", NULL);
    model_edit(config, "max_len", "16");
    assert_works(tokenizer_open(folder, &t, &err), &err);
    assert_int_equal(tokenizer_length(t), 16);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_tokens_json),
        cmocka_unit_test(added_tokens_of_tokenizer_json),
        cmocka_unit_test(decoder_ids_are_checked),
        cmocka_unit_test(other_special_tokens),
        cmocka_unit_test(settings_that_change_ids_are_refused),
        cmocka_unit_test(tokenizer_json_alone),
        cmocka_unit_test(broken_tokenizer_json),
        cmocka_unit_test(old_name_of_the_length),
    };
    return cmocka_run_group_tests_name("unit/model_tokens", tests, NULL, NULL);
}
