/* Embeddings: files of all forms, what prompts call them, first values, configs that train them. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "leco/leco.h"
#include "model/kinds.h"
#include "model/model.h"
#include "test_support.h"

#define MODEL FIXTURE("sd1-like")
#define WIDTH 24

static leco_error err;

static model *open_model(void)
{
    model *m;
    assert_works(model_open(MODEL, &m, &err), &err);
    return m;
}

/* Writes a file of one tensor; values count up by a quarter. */
static const char *write_file(const char *name, const char *key, int rank, const int64_t *dims,
                              const char *const (*pairs)[2])
{
    static float values[64 * WIDTH];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) values[i] = 0.25f * (float)i;
    safetensors_entry e = {.name = key, .type = DTYPE_F32, .rank = rank, .count = 1, .data = values};
    for (int i = 0; i < rank; i++) {
        e.shape[i] = dims[i];
        e.count *= (size_t)dims[i];
    }
    const char *path = test_path(name);
    assert_works(safetensors_write(path, &e, 1, pairs, pairs ? 1 : 0, &err), &err);
    return path;
}

static const char *rows_file(const char *name, int64_t vectors)
{
    return write_file(name, "emb_params", 2, (const int64_t[]){vectors, WIDTH}, NULL);
}

/* How many of a prompt's ids are an embedding's. */
static size_t added(const model *m, const char *prompt)
{
    int32_t ids[77];
    size_t count = 0;
    assert_works(tokenizer_encode(m->tokenizer, prompt, strlen(prompt), ids, NULL, &err), &err);
    for (size_t i = 0; i < 77; i++) count += ids[i] >= m->text.vocab_size;
    return count;
}

/* ---- files ---- */

static void files_of_all_forms_load(void **state)
{
    (void)state;
    static const struct {
        const char *file, *tensor;
        int64_t vectors; /* 0: one dimension */
        const char *phrase, *token, *also;
    } cases[] = {
        {"easy_one.safetensors", "emb_params", 3, NULL, "easy_one", NULL},
        {"easy_two.safetensors", "emb_params", 0, NULL, "Easy_Two", NULL},
        {"learned_embeds.safetensors", "<cat-toy>", 0, NULL, "<cat-toy>", NULL},
        {"learned_more.safetensors", "<toys>", 2, NULL, "<toys>", NULL},
        {"mine.safetensors", "emb_params", 2, "<dot>", "<dot>", "mine"},
        {"phrase.safetensors", "emb_params", 2, "a photo of sks", "phrase", NULL},
        {"a.safetensors", "emb_params", 2, "<letter>", "<letter>", NULL}, /* "a" is a token and stays one */
    };
    model *m = open_model();
    trainable *t[sizeof cases / sizeof *cases];
    int32_t next = (int32_t)m->text.vocab_size;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t dims[] = {cases[i].vectors ? cases[i].vectors : WIDTH, WIDTH};
        const char *const pairs[][2] = {{"modelspec.trigger_phrase", cases[i].phrase}};
        const char *path =
            write_file(cases[i].file, cases[i].tensor, cases[i].vectors ? 2 : 1, dims, cases[i].phrase ? pairs : NULL);
        assert_works(trainable_load_embedding(path, m, DTYPE_F32, &t[i], &err), &err);
        const trainable_module *module = trainable_module_at(t[i], 0);
        const size_t vectors = cases[i].vectors ? (size_t)cases[i].vectors : 1;
        assert_int_equal(module->rank, vectors);
        assert_int_equal(module->first, next);
        next += (int32_t)vectors;
        assert_true(((float *)module->param[0].value)[5] == 1.25f);
        assert_int_equal(added(m, cases[i].token), vectors);
        if (cases[i].also) assert_int_equal(added(m, cases[i].also), vectors);
    }
    assert_int_equal(added(m, "a learned_embeds phrases, <dot>"), 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) trainable_destroy(t[i]);
    model_close(m);
}

/* Rows in a batch of one, and a count of steps beside them. */
static void what_trainers_leave_is_read(void **state)
{
    (void)state;
    static float values[4 * WIDTH] = {0.5f};
    static const char *const counts[] = {"step", "step_count"};
    model *m = open_model();
    trainable *t = NULL;
    const char *path = write_file("batch.safetensors", "emb_params", 3, (const int64_t[]){1, 3, WIDTH}, NULL);
    assert_works(trainable_load_embedding(path, m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(added(m, "batch"), 3);
    assert_true(((float *)trainable_module_at(t, 0)->param[0].value)[2 * WIDTH] == 0.5f * WIDTH);
    trainable_destroy(t);
    for (size_t i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "stray%zu.safetensors", i);
        safetensors_entry e[] = {{"emb_params", DTYPE_F32, 2, {2, WIDTH}, 2 * WIDTH, values},
                                 {counts[i], DTYPE_I64, 0, {0}, 1, values}};
        assert_works(safetensors_write(test_path(name), e, 2, NULL, 0, &err), &err);
        assert_works(trainable_load_embedding(test_path(name), m, DTYPE_F32, &t, &err), &err);
        assert_int_equal(added(m, i == 0 ? "stray0" : "stray1"), 2);
        trainable_destroy(t);
        e[1].rank = 1; /* more than a count: something else */
        e[1].shape[0] = 2;
        e[1].count = 2;
        assert_works(safetensors_write(test_path(name), e, 2, NULL, 0, &err), &err);
        assert_fails(trainable_load_embedding(test_path(name), m, DTYPE_F32, &t, &err), LECO_INVALID, &err, counts[i]);
    }
    const safetensors_entry only[] = {{"step", DTYPE_I64, 0, {0}, 1, values},
                                      {"step_count", DTYPE_I64, 0, {0}, 1, values}};
    assert_works(safetensors_write(test_path("counts.safetensors"), only, 2, NULL, 0, &err), &err);
    assert_fails(trainable_load_embedding(test_path("counts.safetensors"), m, DTYPE_F32, &t, &err), LECO_INVALID, &err,
                 "step");
    model_close(m);
}

/* A1111's .pt and diffusers' .bin of former times. */
static void pickles_are_loaded(void **state)
{
    (void)state;
    model *m = open_model();
    trainable *t = NULL;
    assert_works(trainable_load_embedding(FIXTURE("torch/embedding.pt"), m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(added(m, "embedding"), 2);
    assert_int_equal(added(m, "mine"), 2); /* as it was trained */
    trainable_destroy(t);
    assert_works(trainable_load_embedding(FIXTURE("torch/learned_embeds.bin"), m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(added(m, "<mine>"), 1);
    trainable_destroy(t);
    /* The original textual inversion's: the rows are a module's. */
    assert_works(trainable_load_embedding(FIXTURE("torch/module.pt"), m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(added(m, "module"), 2);
    trainable_destroy(t);
    assert_works(trainable_load_embedding(FIXTURE("torch/old_module.pt"), m, DTYPE_F32, &t, &err), &err);
    assert_int_equal(added(m, "old_module"), 2);
    trainable_destroy(t);
    model_close(m);
}

/* Those that come with a LoRA: their words are known as soon as it is loaded. */
static void bundled_ones_are_loaded(void **state)
{
    (void)state;
    static float values[3 * WIDTH] = {0.5f};
    const safetensors_entry e[] = {
        {"bundle_emb.one.emb_params", DTYPE_F32, 2, {2, WIDTH}, 2 * WIDTH, values},
        {"bundle_emb.two_words.string_to_param.*", DTYPE_F32, 2, {3, WIDTH}, 3 * WIDTH, values},
        {"lora_unet_mid_block_attentions_0_proj_in.diff_b", DTYPE_F32, 1, {WIDTH}, WIDTH, values}};
    const char *path = test_path("bundle.safetensors");
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *handle;
    trainable_list list;
    assert_works(safetensors_write(path, e, 3, NULL, 0, &err), &err);
    model *m = open_model();
    assert_works(trainable_load_bundled(path, m, DTYPE_F32, &list, &err), &err);
    assert_int_equal(list.count, 2);
    assert_int_equal(added(m, "a one"), 2);
    assert_int_equal(added(m, "Two_Words of it"), 3);
    assert_true(((float *)trainable_module_at(list.at[1], 0)->param[0].value)[0] == 0.5f);
    trainable_list_free(&list);
    assert_fails(trainable_load_bundled(path, m, DTYPE_F32, &list, &err), LECO_INVALID, &err, "bundle.safetensors",
                 "\"one\""); /* the word is taken */
    assert_null(list.at);
    model_close(m);
    assert_works(leco_model_open(MODEL, &options, &handle, &err), &err);
    assert_works(leco_model_add_lora(handle, path, 1, &err), &err);
    assert_fails(leco_model_add_lora(handle, path, 1, &err), LECO_INVALID, &err, "\"one\"");
    leco_model_close(handle);

    /* Of the wrong width, or for two text encoders. */
    safetensors_entry bad = {"bundle_emb.bad.emb_params", DTYPE_F32, 2, {1, WIDTH - 1}, WIDTH - 1, values};
    m = open_model();
    assert_works(safetensors_write(path, &bad, 1, NULL, 0, &err), &err);
    assert_fails(trainable_load_bundled(path, m, DTYPE_F32, &list, &err), LECO_INVALID, &err, bad.name,
                 "another model");
    bad.name = "bundle_emb.bad.clip_g";
    assert_works(safetensors_write(path, &bad, 1, NULL, 0, &err), &err);
    assert_fails(trainable_load_bundled(path, m, DTYPE_F32, &list, &err), LECO_INVALID, &err, bad.name,
                 "expected emb_params or string_to_param");
    model_close(m);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    model *m = open_model();
    trainable *t = NULL;
#define REFUSED(path, status, ...)                                                                                     \
    assert_fails(trainable_load_embedding(path, m, DTYPE_F32, &t, &err), status, &err, __VA_ARGS__);                   \
    assert_null(t)
    const int64_t wide[] = {2, WIDTH + 1}, deep[] = {2, 2, WIDTH}, two[] = {2, WIDTH};
    REFUSED(write_file("wide.safetensors", "emb_params", 2, wide, NULL), LECO_INVALID, "wide.safetensors",
            "for another model", "[2,25]", "[vectors,24]");
    REFUSED(write_file("deep.safetensors", "emb_params", 3, deep, NULL), LECO_FORMAT, "[2,2,24]");
    REFUSED(write_file("xl.safetensors", "clip_l", 2, two, NULL), LECO_INVALID, "clip_l", "two text encoders");
    REFUSED(FIXTURE("sd1-like/lora.safetensors"), LECO_INVALID, "a LoRA", "--lora");
    REFUSED(FIXTURE("sd1-like/curve.safetensors"), LECO_INVALID, "isn't an embedding's", "emb_params");
    REFUSED(rows_file("red.safetensors", 2), LECO_INVALID, "red.safetensors", "\"red\" is a token of the model already",
            "rename the file");
    REFUSED(test_path("nowhere.safetensors"), LECO_IO, "nowhere.safetensors");
    static const unsigned char pickle[] = {0x80, 2, '}', 'q', 0, '.', 0, 0, 0, 0, 0, 0};
    test_write(test_path("old.pt"), pickle, sizeof pickle);
    REFUSED(test_path("old.pt"), LECO_UNSUPPORTED, "old.pt", "a pickle, but not PyTorch's");
    const char *path = rows_file("twice.safetensors", 1);
    assert_works(trainable_load_embedding(path, m, DTYPE_F32, &t, &err), &err);
    trainable_destroy(t);
    t = NULL;
    REFUSED(path, LECO_INVALID, "\"twice\" is a token of another embedding already");
#undef REFUSED
    model_close(m);
    leco_model *opened;
    assert_works(leco_model_open(MODEL, NULL, &opened, &err), &err);
    assert_fails(leco_model_add_lora(opened, path, 1, &err), LECO_UNSUPPORTED, &err, "embedding, not a LoRA",
                 "--embedding");
    leco_model_close(opened);
}

/* A folder as transformers saves it after textual inversion: the file has the row, the tokenizer the token. */
static const char *folder_with_token(const float *row)
{
    const char *folder = model_copy(MODEL, "grown"), *path = test_path("grown/text_encoder/model.safetensors");
    const char table[] = "text_model.embeddings.token_embedding.weight";
    static safetensors_entry entries[512];
    safetensors *file;
    char text[64];
    assert_works(safetensors_open(path, &file, &err), &err);
    float *grown = NULL;
    int64_t rows = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        entries[i] = *safetensors_at(file, i);
        if (strcmp(entries[i].name, table) != 0) continue;
        rows = entries[i].shape[0]++;
        grown = mem_calloc(entries[i].count + WIDTH, sizeof *grown);
        memcpy(grown, entries[i].data, entries[i].count * sizeof *grown);
        memcpy(grown + entries[i].count, row, WIDTH * sizeof *row);
        entries[i].count += WIDTH;
        entries[i].data = grown;
    }
    assert_non_null(grown);
    assert_works(safetensors_write(test_path("grown/new"), entries, safetensors_count(file), NULL, 0, &err), &err);
    safetensors_close(file);
    mem_free(grown);
    assert_int_equal(rename(test_path("grown/new"), path), 0);
    snprintf(text, sizeof text, "{\"<dot>\": %lld}", (long long)rows);
    test_write(test_path("grown/tokenizer/added_tokens.json"), text, strlen(text));
    model_edit(test_path("grown/tokenizer/tokenizer_config.json"), "added_tokens_decoder", NULL);
    snprintf(text, sizeof text, "%lld", (long long)rows + 1);
    model_edit(test_path("grown/text_encoder/config.json"), "vocab_size", text);
    return folder;
}

/* The states that `leco run text-encoder` gives of a prompt. */
static void states_of(const char *folder, const char *embedding, float out[77 * WIDTH])
{
    leco_model *opened;
    safetensors *file;
    const leco_model_options options = {.precision = "float32"};
    assert_works(leco_model_open(folder, &options, &opened, &err), &err);
    if (embedding) assert_works(leco_model_add_embedding(opened, embedding, &err), &err);
    assert_works(leco_run(opened, "text-encoder", NULL, "a large <dot> star", test_path("states"), &err), &err);
    leco_model_close(opened);
    assert_works(safetensors_open(test_path("states"), &file, &err), &err);
    const safetensors_entry *e = safetensors_find(file, "last_hidden_state");
    assert_true(e && e->count == 77 * WIDTH);
    memcpy(out, e->data, 77 * WIDTH * sizeof *out);
    safetensors_close(file);
}

static void a_folders_own_token_is_an_embedding_built_in(void **state)
{
    (void)state;
    static float built_in[77 * WIDTH], loaded[77 * WIDTH], row[WIDTH];
    for (size_t i = 0; i < WIDTH; i++) row[i] = 0.25f * (float)i;
    states_of(folder_with_token(row), NULL, built_in);
    states_of(MODEL, write_file("one.safetensors", "<dot>", 1, (const int64_t[]){WIDTH}, NULL), loaded);
    for (size_t i = 0; i < 77 * WIDTH; i++) assert_true(fabsf(built_in[i] - loaded[i]) < 1e-5f);
}

/* ---- first values ---- */

static leco_status start(model *m, const char *words, int64_t vectors, trainable **t)
{
    rng r;
    const trainable_options options = {.kind = &kind_embedding,
                                       .layers = {.scope = SCOPE_EMBEDDING},
                                       .token = "<dot>",
                                       .start = words,
                                       .vectors = vectors,
                                       .exact = DTYPE_F32};
    rng_seed(&r, RNG_CPU, 1);
    return trainable_create(m, &options, &r, t, &err);
}

/* As A1111 does: vector i of V is word i n / V of n. */
static void words_are_spread_over_the_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        int64_t vectors;
        const char *each[6]; /* the word of each vector */
    } cases[] = {
        {"red", 1, {"red"}},
        {"red", 3, {"red", "red", "red"}},
        {"red circle", 2, {"red", "circle"}},
        {"red circle", 5, {"red", "red", "red", "circle", "circle"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model *m = open_model();
        trainable *t;
        weight *table;
        assert_works(model_map(m, MODEL_TEXT_ENCODER, &err), &err);
        assert_works(start(m, cases[i].words, cases[i].vectors, &t), &err);
        assert_works(weights_get(m->weights[PART_TEXT_ENCODER], "text_model.embeddings.token_embedding.weight",
                                 SHAPE(m->text.vocab_size, WIDTH), &table, &err),
                     &err);
        assert_int_equal(table->type, DTYPE_F32);
        for (int64_t v = 0; v < cases[i].vectors; v++) {
            int32_t ids[77];
            assert_works(tokenizer_encode(m->tokenizer, cases[i].each[v], strlen(cases[i].each[v]), ids, NULL, &err),
                         &err);
            assert_memory_equal((float *)trainable_values(t) + v * WIDTH, (const float *)table->data + ids[1] * WIDTH,
                                WIDTH * sizeof(float));
        }
        assert_int_equal(added(m, "a <dot> circle"), cases[i].vectors);
        trainable_destroy(t);
        model_close(m);
    }
}

static void bad_first_words_are_refused(void **state)
{
    (void)state;
    model *m = open_model();
    trainable *t;
    assert_works(model_map(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_fails(start(m, "a red circle", 2, &t), LECO_INVALID, &err, "\"a red circle\" is 3 tokens", "vectors for 2");
    assert_fails(start(m, " ", 2, &t), LECO_INVALID, &err, "holds no word");
    trainable *loaded;
    assert_works(trainable_load_embedding(rows_file("known.safetensors", 1), m, DTYPE_F32, &loaded, &err), &err);
    assert_fails(start(m, "known", 2, &t), LECO_INVALID, &err, "holds an embedding");
    trainable_destroy(loaded);
    model_close(m);
}

/* ---- trainings ---- */

#define TRAINING(network, prompts)                                                                                     \
    "pretrained_model: {name_or_path: \"" MODEL "\"}\n"                                                                \
    "network: {" network "}\n"                                                                                         \
    "train: {precision: float32, iterations: 6, max_denoising_steps: 4, lr: 1e-2, samples_per_trajectory: 2}\n"        \
    "save: {name: learnt, path: out, per_steps: 0}\n"                                                                  \
    "prompts: [{" prompts "}]\n"
#define NETWORK "type: embedding, token: \"<dot>\", vectors: 3, init: \"red circle\""

static leco_status train(const char *text, const char *embedding, bool dry_run, leco_train_report *report)
{
    test_write(test_path("train.yaml"), text, strlen(text));
    const leco_train_options o = {.embeddings = &embedding, .embedding_count = embedding ? 1 : 0, .dry_run = dry_run};
    *report = (leco_train_report){0};
    return leco_train(test_path("train.yaml"), &o, report, &err);
}

static void an_embedding_is_trained_saved_and_drawn_with(void **state)
{
    (void)state;
    leco_train_report report;
    const char *other = rows_file("other_one.safetensors", 2);
    assert_works(train(TRAINING(NETWORK, "target: a <dot>, positive: a other_one star, neutral: a star, batch_size: 2"),
                       other, false, &report),
                 &err);
    assert_int_equal(report.planned_bytes, report.measured_bytes);
    assert_int_equal(report.iterations, 6);
    assert_non_null(strstr(report.summary, "embedding \"<dot>\" of 3 vectors, 72 parameters"));
    safetensors *file;
    assert_works(safetensors_open(report.path, &file, &err), &err);
    assert_int_equal(safetensors_count(file), 1);
    const safetensors_entry *e = safetensors_at(file, 0);
    assert_string_equal(e->name, "emb_params");
    assert_true(e->rank == 2 && e->shape[0] == 3 && e->shape[1] == WIDTH);
    assert_string_equal(safetensors_metadata(file, "modelspec.architecture"), "stable-diffusion-v1/textual-inversion");
    assert_string_equal(safetensors_metadata(file, "modelspec.trigger_phrase"), "<dot>");
    assert_null(safetensors_metadata(file, "ss_network_dim"));
    model *m = open_model(); /* every vector moved */
    trainable *t;
    assert_works(model_map(m, MODEL_TEXT_ENCODER, &err), &err);
    assert_works(start(m, "red circle", 3, &t), &err);
    for (size_t i = 0; i < 3 * WIDTH; i++)
        assert_true(fabsf(((float *)trainable_values(t))[i] - ((const float *)e->data)[i]) > 1e-4f);
    trainable_destroy(t);
    model_close(m);
    safetensors_close(file);

    leco_model *opened;
    leco_images images = {0};
    assert_works(leco_model_open(MODEL, NULL, &opened, &err), &err);
    assert_works(leco_model_add_embedding(opened, report.path, &err), &err);
    assert_works(leco_model_add_embedding(opened, other, &err), &err);
    leco_generate_options o = leco_generate_defaults();
    o.prompts = (const char *const[]){"a <dot> circle", "a star"};
    o.prompt_count = 2;
    o.steps = 2;
    assert_works(leco_generate(opened, &o, &images, &err), &err);
    assert_non_null(strstr(images.parameters[0], ", TI hashes: \"learnt: "));
    assert_null(strstr(images.parameters[0], "other_one"));
    assert_null(strstr(images.parameters[1], "TI hashes"));
    leco_images_free(&images);
    leco_model_close(opened);
    leco_train_report_free(&report);
}

static void configs_that_can_train_none_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says[2];
    } cases[] = {
        {TRAINING("type: embedding", "target: red"), {"train.yaml:2: network.token", "missing"}},
        {TRAINING("kind: embedding, token: two words", "target: red"), {"one word", "two words"}},
        {TRAINING("kind: lora, token: \"<x>\"", "target: red"), {"network.token", "a lora has none"}},
        {TRAINING("type: embedding, kind: lora", "target: red"), {"network.type", "lora"}},
        {TRAINING(NETWORK ", text_encoder: true", "target: <dot>"), {"network.text_encoder", NULL}},
        {TRAINING("type: embedding, token: red", "target: red, positive: blue"),
         {"network: \"red\"", "a token of the model already"}},
        {TRAINING("type: embedding, token: \"<x>\", init: a red circle", "target: <x>, positive: red"),
         {"\"a red circle\" is 3 tokens", "vectors for 1"}},
        {TRAINING(NETWORK, "target: red"), {"train.yaml:5", "doesn't hold the token \"<dot>\""}},
        {TRAINING(NETWORK, "target: a <dot>"), {"\"a <dot>\" holds the token", "only target may hold it"}},
        /* Words, as the tokenizer finds them, and whatever wildcards become. */
        {TRAINING("type: embedding, token: zzq", "target: a xzzq, positive: red"), {"\"a xzzq\"", "doesn't hold"}},
        {TRAINING(NETWORK, "target: '{a star|a <dot>}', positive: red"), {"from \"a star\": it doesn't hold", NULL}},
        {TRAINING(NETWORK, "target: a <dot>, positive: 'a {red|<dot>}'"), {"\"a <dot>\" holds the token", NULL}},
        {TRAINING(NETWORK, "target: a <dot>, positive: red") "preserve: [a star]\n", {"from \"a star\"", NULL}},
        {TRAINING(NETWORK, "target: a <dot>, teacher: donor") "teachers: {donor: {name_or_path: \"" MODEL "\"}}\n",
         {"\"a <dot>\" holds the token", "is asked of a teacher"}},
        {TRAINING(NETWORK, "target: <dot>, positive: red, neutral: a <Dot>"), {"\"a <Dot>\" holds the token", NULL}},
        {TRAINING(NETWORK, "target: <dot>, positive: red, trajectory: frozen"), {"\"<dot>\" holds the token", NULL}},
        {TRAINING(NETWORK, "target: <dot>, positive: red, action: slider"), {"train.yaml:5", "no multiplier"}},
        {TRAINING(NETWORK, "target: <dot>, positive: red, multiplier: 0.5"), {"train.yaml:5", "no multiplier"}},
        {TRAINING(NETWORK, "target: <dot>, positive: red, action: negative"), {"guidance_scale", "above 1"}},
        {TRAINING("rank: 1", "target: a, positive: red, action: negative"),
         {"train.yaml:5", "network.type: embedding"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_train_report report;
        assert_fails(train(cases[i].text, NULL, true, &report), LECO_INVALID, &err, cases[i].says[0],
                     cases[i].says[1] ? cases[i].says[1] : "");
    }
}

static void a_token_is_a_whole_word(void **state)
{
    (void)state;
    leco_train_report report;
    assert_works(
        train(TRAINING("type: embedding, token: zzq", "target: a zzq, positive: a zzqs xzzq"), NULL, true, &report),
        &err);
    leco_train_report_free(&report);
    assert_works(train(TRAINING(NETWORK, "target: '{a|the} embedding:<DOT>', positive: red"), NULL, true, &report),
                 &err);
    leco_train_report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_of_all_forms_load),
        cmocka_unit_test(what_trainers_leave_is_read),
        cmocka_unit_test(pickles_are_loaded),
        cmocka_unit_test(bundled_ones_are_loaded),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(a_folders_own_token_is_an_embedding_built_in),
        cmocka_unit_test(words_are_spread_over_the_vectors),
        cmocka_unit_test(bad_first_words_are_refused),
        cmocka_unit_test(an_embedding_is_trained_saved_and_drawn_with),
        cmocka_unit_test(a_token_is_a_whole_word),
        cmocka_unit_test(configs_that_can_train_none_are_refused),
    };
    return cmocka_run_group_tests_name("unit/embedding", tests, NULL, NULL);
}
