/* Which layers are trained, at which rank and alpha: types, methods, patterns, rules, and files to start from; what is
 * wrong with them is said. And dropout's draws. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph.h"
#include "model/kinds.h"
#include "test_lora.h"
#include "train/config.h"

static leco_error err;

static leco_status read_with(const char *network, train_config *c)
{
    char text[768];
    snprintf(text, sizeof text, "pretrained_model: {name_or_path: m}\nnetwork: {%s}\nprompts: [{target: a}]\n",
             network);
    const char *path = test_path("selection.yaml");
    test_write(path, text, strlen(text));
    return train_config_read(path, NULL, 0, c, &err);
}

static model small(void)
{
    model m = {0};
    assert_works(unet_config_read(FIXTURE("sd1-like/unet"), &m.unet, &err), &err);
    assert_works(text_config_read(FIXTURE("sd1-like/text_encoder"), &m.text, &err), &err);
    assert_works(weights_open(FIXTURE("sd1-like/unet"), &m.weights[PART_UNET], &err), &err);
    return m;
}

static void close_small(model *m)
{
    weights_close(m->weights[PART_UNET]);
    model_free_layers(m);
}

static leco_status plan(const char *network, trainable **t)
{
    train_config c;
    model m = small();
    *t = NULL;
    assert_works(read_with(network, &c), &err);
    leco_status status = trainable_plan(&m, &c.network, t, &err);
    train_config_free(&c);
    close_small(&m);
    return status;
}

static trainable *planned(const char *network)
{
    trainable *t;
    assert_works(plan(network, &t), &err);
    return t;
}

static size_t count_of(const char *network)
{
    trainable *t = planned(network);
    const size_t count = trainable_module_count(t);
    trainable_destroy(t);
    return count;
}

static trainable_module *module_at(trainable *t, const char *path)
{
    for (size_t i = 0; i < trainable_module_count(t); i++)
        if (strcmp(trainable_module_at(t, i)->layer.path, path) == 0) return trainable_module_at(t, i);
    return NULL;
}

/* What is known of the real models: facts that others have counted, too. */
static void real_models_have_so_many(void **state)
{
    (void)state;
    static const struct {
        const char *preset;
        size_t lierla, c3lier;
    } expected[] = {{"sd15", 192, 278}, {"sd21", 192, 278}, {"sdxl", 722, 788}};
    for (size_t i = 0; i < 3; i++) {
        model *m;
        const layer_list *list;
        size_t count[2] = {0};
        assert_works(model_preset(expected[i].preset, &m, &err), &err);
        assert_works(model_layers(m, PART_UNET, &list, &err), &err);
        for (size_t k = 0; k < list->count; k++)
            for (int scope = SCOPE_LIERLA; scope <= SCOPE_C3LIER; scope++)
                count[scope] += layer_selected(&(layer_selection){.scope = (layer_scope)scope}, &list->layer[k]);
        assert_int_equal(count[SCOPE_LIERLA], expected[i].lierla);
        assert_int_equal(count[SCOPE_C3LIER], expected[i].c3lier);
        model_close(m);
    }
}

static void patterns_match(void **state)
{
    (void)state;
    const layer_info layer = {.path = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"};
    static const char *const yes[] = {"attn2",
                                      "attn2.to_out",
                                      "down_blocks.1",
                                      "down_blocks.*",
                                      "*.to_out.0",
                                      "*attn?.to_out*",
                                      "0",
                                      "*",
                                      "*blocks.[01].attn2*",
                                      "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"};
    static const char *const no[] = {
        "attn",   "attn1",  "to_o", "blocks.1", "attn2.0",
        "attn2*", "*.to_k", "1.0",  "",         "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.more"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!layer_matches(yes[i], &layer)) fail_msg("%s doesn't match", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (layer_matches(no[i], &layer)) fail_msg("%s matches", no[i]);
}

static void patterns_select(void **state)
{
    (void)state;
    const size_t all = count_of("rank: 1"), attn1 = count_of("include: attn1"), attn2 = count_of("include: [attn2]");
    assert_int_equal(count_of("training_method: xattn"), attn2);
    assert_int_equal(count_of("include: [attn1, attn2]"), attn1 + attn2);
    assert_int_equal(count_of("exclude: [attn1, attn2]"), all - attn1 - attn2);
    assert_int_equal(count_of("exclude: ['*attn?*']"), all - attn1 - attn2);
    assert_int_equal(count_of("include: [attn1, attn2], exclude: attn2"), attn1);
    assert_int_equal(count_of("training_method: noxattn, include: mid_block"),
                     count_of("include: mid_block, exclude: attn2"));
    assert_int_equal(count_of("type: c3lier, exclude: [resnets, downsamplers, upsamplers]"), all);
    assert_int_equal(count_of("text_encoder: true, include: [text_model]"), count_of("text_encoder: true") - all);
}

static void what_matches_nothing_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *network, *says[3];
    } cases[] = {
        {"include: [attn2, attn3]", {"selection.yaml:2", "network.include: \"attn3\" matches no layer", "\"attn"}},
        {"include: attn2.to_kk", {"network.include", "did you mean \"attn2.to_k\"", ""}},
        {"exclude: ['*.midblock.*']", {"network.exclude", "did you mean \"mid_block\"", ""}},
        {"exclude: conv_in", {"network.exclude: \"conv_in\"", "only others, such as conv_in", ""}},
        {"include: resnets", {"network.include: \"resnets\"", "only others, such as down_blocks.0.resnets.0", ""}},
        {"training_method: xattn, include: attn1", {"network.include", "only others", "attn1"}},
        {"include: ['*xyzzy*q*']", {"network.include", "down_blocks.*.attn2.to_k", ""}},
        {"include: attn1, exclude: attn1", {"the patterns of include and exclude leave no layer", "", ""}},
        {"ranks: [{match: attn2, rank: 2}, {match: atn1, rank: 3}]",
         {"network.ranks: \"atn1\"", "did you mean \"attn1\"", "selection.yaml:2"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        trainable *t;
        assert_fails(plan(cases[i].network, &t), LECO_INVALID, &err, cases[i].says[0], cases[i].says[1],
                     cases[i].says[2]);
        assert_null(t);
    }
}

static void configs_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *network, *says[2];
    } cases[] = {
        {"include: {a: b}", {"network.include", "list of patterns"}},
        {"include: [attn1, '']", {"network.include", "pattern"}},
        {"include: [[attn1]]", {"network.include", "found a list"}},
        {"ranks: {match: a}", {"network.ranks", "list of {match"}},
        {"ranks: [attn1]", {"network.ranks", "map"}},
        {"ranks: [{rank: 3}]", {"network.ranks", "match is missing"}},
        {"ranks: [{match: attn1}]", {"network.ranks", "a rank or an alpha for \"attn1\""}},
        {"ranks: [{match: attn1, rnk: 3}]", {"rnk", "did you mean"}},
        {"ranks: [{match: attn1, rank: 0}]", {"rank", "found 0"}},
        {"conv_dim: 2", {"network.conv_dim", "c3lier"}},
        {"conv_alpha: 2", {"network.conv_alpha", "c3lier"}},
        {"factor: 4", {"network.factor", "a lora has none"}},
        {"kind: lokr, dropout: 0.1", {"network.dropout", "a lokr has none"}},
        {"kind: dora, module_dropout: 0.1", {"network.module_dropout", "a dora has none"}},
        {"dropout: 1", {"network.dropout", "found 1"}},
        {"init: erase, ranks: [{match: attn2, rank: 2}]", {"network.init", "ranks"}},
        {"init: erase, start_from: x", {"network.init", "start_from"}},
        {"type: embedding, token: <x>, include: attn1", {"network.include", "an embedding has none"}},
        {"type: embedding, token: <x>, start_from: x", {"network.start_from", "embedding"}},
        {"kind: lycoris", {"network.kind", "lokr"}},
    };
    train_config c;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(read_with(cases[i].network, &c), LECO_INVALID, &err, cases[i].says[0], cases[i].says[1]);
}

/* ---- ranks ---- */

static void check_module(trainable *t, const char *path, int64_t rank, float alpha)
{
    const trainable_module *m = module_at(t, path);
    assert_non_null(m);
    if (m->rank != rank || m->alpha != alpha)
        fail_msg("%s: rank %lld, alpha %g", path, (long long)m->rank, (double)m->alpha);
}

#define BLOCK "mid_block.attentions.0.transformer_blocks.0."

static void the_first_rule_decides(void **state)
{
    (void)state;
    trainable *t = planned("type: c3lier, rank: 3, alpha: 1.5, conv_dim: 2, conv_alpha: 0.5, "
                           "ranks: [{match: attn2.to_k, rank: 5}, {match: attn2, rank: 4, alpha: 8}, "
                           "{match: '*.conv2', alpha: 7}]");
    check_module(t, BLOCK "attn1.to_k", 3, 1.5f);
    check_module(t, BLOCK "attn2.to_k", 5, 1.5f);
    check_module(t, BLOCK "attn2.to_v", 4, 8);
    check_module(t, "mid_block.attentions.0.proj_in", 3, 1.5f);
    check_module(t, "mid_block.resnets.0.conv1", 2, 0.5f);
    check_module(t, "mid_block.resnets.0.conv2", 2, 7);
    check_module(t, "mid_block.resnets.0.time_emb_proj", 3, 1.5f);
    trainable_destroy(t);
}

/* ---- files to start from ---- */

static void values_start_from_a_file(void **state)
{
    (void)state;
    static const struct {
        const char *file, *network;
    } cases[] = {{FIXTURE("sd1-like/lora.safetensors"), ""},
                 {FIXTURE("sd1-like/lora_c3lier.safetensors"), ", type: c3lier"},
                 {FIXTURE("sd1-like/loha.safetensors"), ", kind: loha"},
                 {FIXTURE("sd1-like/lokr.safetensors"), ", kind: lokr, type: c3lier"},
                 {FIXTURE("sd1-like/lokr_thin.safetensors"), ", kind: lokr"},
                 {FIXTURE("sd1-like/dora.safetensors"), ", kind: dora, type: c3lier"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char network[512];
        model m = small();
        trainable *t, *file;
        adapter_layers layers;
        rng r;
        train_config c;
        snprintf(network, sizeof network, "rank: 7, alpha: 3, start_from: \"%s\"%s", cases[i].file, cases[i].network);
        assert_works(read_with(network, &c), &err);
        rng_seed(&r, RNG_CPU, 1);
        assert_works(trainable_create(&m, &c.network, &r, &t, &err), &err);
        assert_works(model_adapter_layers(&m, &layers, &err), &err);
        assert_works(trainable_load(cases[i].file, &layers, DTYPE_F32, &file, &err), &err);
        assert_int_equal(trainable_module_count(t), trainable_module_count(file));
        for (size_t k = 0; k < trainable_module_count(t); k++) {
            const trainable_module *a = trainable_module_at(t, k), *b = trainable_module_at(file, k);
            assert_true(a->kind == b->kind && a->rank == b->rank && a->alpha == b->alpha);
            for (size_t p = 0; p < a->params; p++)
                assert_memory_equal(a->param[p].value, trainable_in_file(file, k, p),
                                    (size_t)shape_count(&a->param[p].shape) * sizeof(float));
        }
        trainable_destroy(t);
        trainable_destroy(file);
        train_config_free(&c);
        close_small(&m);
    }
}

/* Layers that the file lacks begin anew, with ranks of their own. */
static void what_the_file_lacks_is_new(void **state)
{
    (void)state;
    trainable *t = planned("type: c3lier, rank: 7, alpha: 3, start_from: \"" FIXTURE("sd1-like/lora.safetensors") "\"");
    check_module(t, BLOCK "attn1.to_k", 4, 1);
    check_module(t, "mid_block.resnets.0.conv1", 7, 3);
    trainable_destroy(t);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        leco_status status;
        const char *says[2];
    } cases[] = {
        {"start_from: \"" FIXTURE("sd1-like/loha.safetensors") "\"", LECO_INVALID, {"holds a loha", "say kind: loha"}},
        {"kind: dora, start_from: \"" FIXTURE("sd1-like/dora_in.safetensors") "\", type: c3lier",
         LECO_UNSUPPORTED,
         {"norms by input", "norms by output"}},
        {"start_from: \"" FIXTURE("sd1-like/lora_c3lier.safetensors") "\"",
         LECO_INVALID,
         {"lora_c3lier.safetensors", "leave out"}},
        {"start_from: \"" FIXTURE("sd1-like/lora.safetensors") "\", exclude: attn2",
         LECO_INVALID,
         {"attn2", "leave out"}},
        {"start_from: \"" FIXTURE("sd2-like/lora.safetensors") "\"", LECO_INVALID, {"for another model", "sd2-like"}},
        {"start_from: \"" FIXTURE("sd1-like/unet.safetensors") "\"", LECO_FORMAT, {"unet.safetensors", "kohya"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        trainable *t;
        assert_fails(plan(cases[i].network, &t), cases[i].status, &err, cases[i].says[0], cases[i].says[1]);
        assert_null(t);
    }
}

/* ---- dropout ---- */

enum { SAMPLES = 2, ROWS = 3000, RANK = 4, COUNT = SAMPLES * ROWS * RANK };

static void dropout_leaves_out_so_many(void **state)
{
    (void)state;
    float *values = mem_calloc(COUNT, sizeof *values);
    graph *g = graph_create(DTYPE_F32);
    dropout_mask m = {.mask = graph_input(g, "mask", DTYPE_F32, SHAPE(SAMPLES, ROWS, RANK))};
    rng r;
    assert_non_null(values);
    rng_seed(&r, RNG_CPU, 1);

    m.rates = (dropout_rates){.element = 0.3f};
    dropout_draw(&m, &r, values);
    double zeros = 0, sum = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(values[i] == 0 || fabsf(values[i] - 1 / 0.7f) < 1e-6f);
        zeros += values[i] == 0;
        sum += (double)values[i];
    }
    assert_true(fabs(zeros / COUNT - 0.3) < 0.015 && fabs(sum / COUNT - 1) < 0.02);

    m.rates = (dropout_rates){.rank = 0.5f}; /* the same for all rows of a sample */
    size_t dropped = 0;
    for (int trial = 0; trial < 200; trial++) {
        dropout_draw(&m, &r, values);
        for (size_t n = 0; n < SAMPLES; n++)
            for (size_t k = 0; k < RANK; k++) {
                const float first = values[n * ROWS * RANK + k];
                assert_true(first == 0 || first == 2);
                dropped += first == 0;
                for (size_t i = 1; i < ROWS; i++) assert_true(values[(n * ROWS + i) * RANK + k] == first);
            }
    }
    assert_true(dropped > 700 && dropped < 900);

    m.rates = (dropout_rates){.module = 0.25f};
    dropped = 0;
    for (int trial = 0; trial < 400; trial++) {
        dropout_draw(&m, &r, values);
        assert_true(values[0] == 0 || values[0] == 1);
        for (size_t i = 1; i < COUNT; i++) assert_true(values[i] == values[0]);
        dropped += values[0] == 0;
    }
    assert_true(dropped > 70 && dropped < 130);
    graph_destroy(g);
    mem_free(values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_models_have_so_many), cmocka_unit_test(patterns_match),
        cmocka_unit_test(patterns_select),          cmocka_unit_test(what_matches_nothing_is_said),
        cmocka_unit_test(configs_are_checked),      cmocka_unit_test(the_first_rule_decides),
        cmocka_unit_test(values_start_from_a_file), cmocka_unit_test(what_the_file_lacks_is_new),
        cmocka_unit_test(other_files_are_refused),  cmocka_unit_test(dropout_leaves_out_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
