/* The seam of what is trained: classes and selections of layers, families, and params as views into flat buffers. */
#include "model_support.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/family.h"
#include "test_lora.h"
#include "train/config.h"

static leco_error err;

static model stub(const char *folder)
{
    model m = {0};
    assert_works(unet_config_read(folder, &m.unet, &err), &err);
    return m;
}

static void free_lists(model *m)
{
    model_free_layers(m);
}

static const layer_info *layer_at(const layer_list *list, const char *path)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->layer[i].path, path) == 0) return &list->layer[i];
    fail_msg("there is no layer %s", path);
    return NULL;
}

static void layers_know_their_class(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        layer_class class;
    } expected[] = {
        {"conv_in", LAYER_OTHER},
        {"conv_out", LAYER_OTHER},
        {"time_embedding.linear_1", LAYER_TIME},
        {"add_embedding.linear_2", LAYER_TIME},
        {"down_blocks.0.resnets.0.conv1", LAYER_RESNET},
        {"down_blocks.0.resnets.0.time_emb_proj", LAYER_RESNET},
        {"down_blocks.1.resnets.0.conv_shortcut", LAYER_RESNET},
        {"down_blocks.0.downsamplers.0.conv", LAYER_SAMPLER},
        {"up_blocks.0.upsamplers.0.conv", LAYER_SAMPLER},
        {"mid_block.attentions.0.proj_in", LAYER_TRANSFORMER},
        {"mid_block.attentions.0.transformer_blocks.0.attn1.to_q", LAYER_ATTN1},
        {"mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", LAYER_ATTN2},
        {"mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj", LAYER_FEED_FORWARD},
        {"mid_block.attentions.0.proj_out", LAYER_TRANSFORMER},
        {"mid_block.resnets.1.conv2", LAYER_RESNET},
    };
    model m = stub(FIXTURE("sdxl-like/unet"));
    assert_works(text_config_read(FIXTURE("sd1-like/text_encoder"), &m.text, &err), &err);
    const layer_list *list, *again, *text;
    assert_works(model_layers(&m, PART_UNET, &list, &err), &err);
    assert_works(model_layers(&m, PART_TEXT_ENCODER, &text, &err), &err);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        const layer_info *layer = layer_at(list, expected[i].path);
        if (layer->class != expected[i].class) fail_msg("%s is of class %d", layer->path, (int)layer->class);
        assert_int_equal(layer->part, PART_UNET);
    }
    assert_int_equal(layer_at(text, "text_model.encoder.layers.0.self_attn.out_proj")->class, LAYER_TEXT_ATTENTION);
    assert_int_equal(layer_at(text, "text_model.encoder.layers.3.mlp.fc2")->class, LAYER_TEXT_MLP);
    assert_int_equal(layer_at(text, "text_model.encoder.layers.3.mlp.fc2")->part, PART_TEXT_ENCODER);

    const uint64_t before = mem_allocations();
    assert_works(model_layers(&m, PART_UNET, &again, &err), &err);
    assert_ptr_equal(again, list);
    assert_true(mem_allocations() == before);
    free_lists(&m);
}

/* As many layers as the paths of the class say: nothing is left of one block in the next. */
static void classes_end_with_their_blocks(void **state)
{
    (void)state;
    static const struct {
        layer_class class;
        const char *within;
    } classes[] = {{LAYER_ATTN1, ".attn1."},      {LAYER_ATTN2, ".attn2."},   {LAYER_FEED_FORWARD, ".ff."},
                   {LAYER_TRANSFORMER, ".proj_"}, {LAYER_RESNET, "resnets."}, {LAYER_SAMPLER, "samplers."},
                   {LAYER_TIME, "_embedding."}};
    static const char *const folders[] = {FIXTURE("sd1-like/unet"), FIXTURE("sd2-like/unet"), FIXTURE("sdxl-like/unet"),
                                          FIXTURE("odd/unet")};
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        model m = stub(folders[f]);
        const layer_list *list;
        assert_works(model_layers(&m, PART_UNET, &list, &err), &err);
        for (size_t i = 0; i < list->count; i++)
            for (size_t k = 0; k < sizeof classes / sizeof *classes; k++)
                if ((list->layer[i].class == classes[k].class) !=
                    (strstr(list->layer[i].path, classes[k].within) != NULL))
                    fail_msg("%s is of class %d", list->layer[i].path, (int)list->layer[i].class);
        free_lists(&m);
    }
}

static void methods_select(void **state)
{
    (void)state;
    static const char *const paths[] = {"attn1.to_q", "attn2.to_q", "attn2.to_k", "attn2.to_v", "ff.net.2"};
    static const char *const selected[] = {
        [METHOD_FULL] = "11111",         [METHOD_SELFATTN] = "10000", [METHOD_XATTN] = "01110",
        [METHOD_XATTN_STRICT] = "00110", [METHOD_NOXATTN] = "10001",  [METHOD_INNOXATTN] = "01111",
    };
    model m = stub(FIXTURE("sd1-like/unet"));
    const layer_list *list;
    const layer_selection conv = {.scope = SCOPE_C3LIER}, no_conv = {.scope = SCOPE_C3LIER, .method = METHOD_XATTN};
    assert_works(model_layers(&m, PART_UNET, &list, &err), &err);
    assert_true(layer_selected(&conv, layer_at(list, "mid_block.resnets.0.conv1")));
    assert_true(layer_selected(&conv, layer_at(list, "down_blocks.1.resnets.0.conv_shortcut")));
    assert_true(layer_selected(&conv, layer_at(list, "up_blocks.0.upsamplers.0.conv")));
    assert_true(layer_selected(&conv, layer_at(list, "mid_block.attentions.0.proj_in")));
    assert_false(layer_selected(&conv, layer_at(list, "conv_in")));
    assert_false(layer_selected(&conv, layer_at(list, "time_embedding.linear_1")));
    assert_false(layer_selected(&no_conv, layer_at(list, "mid_block.resnets.0.conv1")));
    for (int method = METHOD_FULL; method <= METHOD_INNOXATTN; method++) {
        const layer_selection s = {.method = (training_method)method};
        for (size_t i = 0; i < 5; i++) {
            char path[128];
            snprintf(path, sizeof path, "mid_block.attentions.0.transformer_blocks.0.%s", paths[i]);
            if (layer_selected(&s, layer_at(list, path)) != (selected[method][i] == '1'))
                fail_msg("method %d: %s", method, path);
        }
        assert_false(layer_selected(&s, layer_at(list, "conv_in")));
        assert_false(layer_selected(&s, layer_at(list, "mid_block.resnets.0.time_emb_proj")));
        assert_false(layer_selected(&s, layer_at(list, "down_blocks.1.resnets.0.conv_shortcut")));
    }
    free_lists(&m);
}

static leco_status read_with(const char *network, train_config *c)
{
    char text[512];
    snprintf(text, sizeof text, "pretrained_model: {name_or_path: m}\nnetwork: {%s}\nprompts: [{target: a}]\n",
             network);
    const char *path = test_path("selection.yaml");
    test_write(path, text, strlen(text));
    return train_config_read(path, NULL, 0, c, &err);
}

static void configs_name_them(void **state)
{
    (void)state;
    train_config c;
    assert_works(read_with("training_method: innoxattn", &c), &err);
    assert_int_equal(c.network.layers.method, METHOD_INNOXATTN);
    assert_ptr_equal(c.network.kind, &kind_lora);
    train_config_free(&c);
    assert_fails(read_with("training_method: attn", &c), LECO_INVALID, &err, "attn", "xattn-strict");
    assert_fails(read_with("type: lycoris", &c), LECO_INVALID, &err, "lycoris", "lierla");
    assert_works(read_with("type: c3lier, training_method: noxattn", &c), &err);
    assert_int_equal(c.network.layers.scope, SCOPE_C3LIER);
    train_config_free(&c);
}

/* ---- families ---- */

static void families_are_recognised(void **state)
{
    (void)state;
    static const struct {
        const char *preset, *name, *version, *architecture;
        bool pooled;
    } expected[] = {{"sd15", "sd1", "sd_v1", "stable-diffusion-v1", false},
                    {"sd21", "sd2", "sd_v2_v", "stable-diffusion-v2-768-v", false},
                    {"sdxl", "sdxl", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base", true}};
    model *m;
    for (size_t i = 0; i < 3; i++) {
        assert_works(model_preset(expected[i].preset, &m, &err), &err);
        const family *f = m->family;
        assert_string_equal(f->name, expected[i].name);
        assert_string_equal(f->saved[m->schedule.prediction].base_model_version, expected[i].version);
        assert_string_equal(f->saved[m->schedule.prediction].architecture, expected[i].architecture);
        assert_true(f->text.pooled == expected[i].pooled);
        model_close(m);
    }
    assert_works(model_open(FIXTURE("sd1-like"), &m, &err), &err);
    assert_string_equal(m->family->name, "sd1");
    model_close(m);
}

/* ---- flat buffers ---- */

static void params_are_views(void **state)
{
    (void)state;
    static const dtype types[] = {DTYPE_F32, DTYPE_F64};
    for (size_t k = 0; k < 2; k++) {
        model m = stub(FIXTURE("sd1-like/unet"));
        const trainable_options options = {
            .kind = &kind_lora, .layers = {.method = METHOD_FULL}, .rank = 3, .alpha = 1, .exact = types[k]};
        const size_t size = dtype_size(types[k]);
        trainable *t;
        rng r;
        rng_seed(&r, RNG_CPU, 1);
        assert_works(test_lora_create(&m.unet, &options, &r, &t, &err), &err);
        size_t count, end = 0;
        int64_t elements = 0;
        const param *params = trainable_params(t, &count);
        assert_int_equal(count, 2 * trainable_module_count(t));
        for (size_t i = 0; i < count; i++) {
            const param *p = &params[i];
            const size_t at = (size_t)((char *)p->value - (char *)trainable_values(t));
            assert_true(at == (size_t)((char *)p->grad - (char *)trainable_grads(t)));
            assert_true((uintptr_t)p->value % 64 == 0 && (uintptr_t)p->grad % 64 == 0);
            assert_true(at >= end && at < end + 64);
            for (size_t b = end; b < at; b++) assert_int_equal(((char *)trainable_values(t))[b], 0);
            end = at + (size_t)shape_count(&p->shape) * size;
            elements += shape_count(&p->shape);
        }
        assert_true(end <= trainable_count(t) * size && trainable_count(t) * size < end + 64);
        assert_int_equal(trainable_bytes(t), 2 * trainable_count(t) * size);
        assert_int_equal(trainable_parameters(t), elements);
        trainable_destroy(t);
    }
}

/* A loaded one has no gradients; its 3x3 down is one param of four dimensions, and only up follows the multiplier. */
static void loaded_convolutions_have_params(void **state)
{
    (void)state;
    model m = stub(FIXTURE("sd1-like/unet"));
    trainable *t;
    assert_works(test_lora_load(FIXTURE("sd1-like/lora_c3lier.safetensors"), &m.unet, NULL, DTYPE_F32, &t, &err), &err);
    assert_null(trainable_grads(t));
    size_t convolutions = 0;
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *one = trainable_module_at(t, i);
        if (one->layer.kernel == 1) continue;
        convolutions++;
        assert_int_equal(one->param[DOWN].shape.rank, 4);
        assert_int_equal(one->param[DOWN].shape.dim[3], 3);
        const float down = *(float *)one->param[DOWN].value, up = *(float *)one->param[UP].value;
        trainable_set_multiplier(t, -2);
        assert_true(*(float *)one->param[DOWN].value == down && *(float *)one->param[UP].value == -2 * up);
        trainable_set_multiplier(t, 1);
    }
    assert_true(convolutions > 10);
    trainable_destroy(t);
}

/* ---- all kinds ---- */

static trainable *made(model *m, const trainable_kind *kind, uint64_t seed)
{
    const trainable_options options = {
        .kind = kind, .layers = {.scope = SCOPE_C3LIER}, .rank = 2, .alpha = 1.5f, .factor = -1, .exact = DTYPE_F32};
    trainable *t;
    rng r;
    rng_seed(&r, RNG_CPU, seed);
    assert_works(trainable_create(m, &options, &r, &t, &err), &err);
    return t;
}

static void assert_same(trainable *a, trainable *b)
{
    size_t count, count_of_b;
    const param *of_a = trainable_params(a, &count), *of_b = trainable_params(b, &count_of_b);
    assert_int_equal(count, count_of_b);
    for (size_t i = 0; i < count; i++) {
        assert_true(shape_equal(&of_a[i].shape, &of_b[i].shape));
        assert_memory_equal(of_a[i].value, of_b[i].value, (size_t)shape_count(&of_a[i].shape) * sizeof(float));
    }
}

/* One of a module's params follows the multiplier; it is 0 at first, so that training starts from the model itself. A
 * DoRA's is the norm of the weight, which is as good. */
static void check_start(trainable *t)
{
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *one = trainable_module_at(t, i);
        int multiplied = 0;
        for (size_t k = 0; k < one->params; k++) {
            const bool zero = *(float *)one->param[k].value == 0;
            assert_true(one->kind == &kind_dora || zero == one->kind->param[k].multiplied);
            multiplied += one->kind->param[k].multiplied;
        }
        assert_int_equal(multiplied, 1);
    }
}

static void all_kinds_are_saved_and_loaded(void **state)
{
    (void)state;
    model m = stub(FIXTURE("sd1-like/unet"));
    assert_works(weights_open(FIXTURE("sd1-like/unet"), &m.weights[PART_UNET], &err), &err);
    const char *path = test_path("kind.safetensors");
    for (const trainable_kind *const *kind = trainable_kinds; *kind; kind++) {
        if ((*kind)->alone || (*kind)->variant_of || (*kind)->only_read)
            continue; /* an embedding goes on no layer: unit/embedding */
        char setting[64];
        train_config c;
        snprintf(setting, sizeof setting, "kind: %s", (*kind)->name);
        assert_works(read_with(setting, &c), &err);
        assert_ptr_equal(c.network.kind, *kind);
        train_config_free(&c);

        trainable *t = made(&m, *kind, 1), *other = made(&m, *kind, 2), *loaded;
        check_start(t);
        rng r;
        rng_seed(&r, RNG_CPU, 3);
        size_t count;
        param *params = trainable_params(t, &count);
        for (size_t i = 0; i < count; i++) rng_normal(&r, params[i].value, (size_t)shape_count(&params[i].shape));
        assert_works(trainable_save(t, path, DTYPE_F32, NULL, &err), &err);
        assert_works(test_lora_load(path, &m.unet, NULL, DTYPE_F32, &loaded, &err), &err);
        assert_int_equal(trainable_module_count(loaded), trainable_module_count(t));
        for (size_t i = 0; i < trainable_module_count(t); i++) {
            const trainable_module *a = trainable_module_at(t, i), *b = trainable_module_at(loaded, i);
            assert_ptr_equal(a->kind, b->kind);
            assert_true(a->rank == b->rank && a->alpha == b->alpha && a->rows == b->rows && a->columns == b->columns);
            assert_true(kind_is(a->kind, *kind) && (a->rank == 2 || a->layer.is_conv));
        }
        assert_works(trainable_copy_values(other, loaded, &err), &err);
        assert_same(t, other);
        assert_works(trainable_load_values(other, path, &err), &err);
        assert_same(t, other);
        trainable_destroy(loaded);
        trainable_destroy(other);
        trainable_destroy(t);
    }
    weights_close(m.weights[PART_UNET]);
    free_lists(&m);
}

/* LyCORIS's sizes and, where a product would be no smaller, a whole second matrix. */
static void lokr_splits_as_lycoris_does(void **state)
{
    (void)state;
    static const struct {
        int64_t out, in, rank, factor, rows, columns;
        bool whole;
    } cases[] = {{320, 320, 4, -1, 16, 16, false}, {320, 768, 9, -1, 16, 24, false}, {320, 768, 16, -1, 16, 24, true},
                 {1280, 320, 4, 8, 8, 8, false},   {127, 250, 4, -1, 1, 10, false},  {360, 512, 4, 4, 4, 4, false},
                 {250, 360, 4, 8, 5, 8, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const layer_info layer = {.path = "x", .out = cases[i].out, .in = cases[i].in, .kernel = 1};
        trainable_module m = {.kind = &kind_lokr, .layer = layer, .rank = cases[i].rank, .alpha = 1};
        const trainable_options o = {.factor = cases[i].factor};
        kind_lokr.settle(&m, &o);
        assert_int_equal(m.rows, cases[i].rows);
        assert_int_equal(m.columns, cases[i].columns);
        assert_true(m.kind == (cases[i].whole ? &kind_lokr_whole : &kind_lokr));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_know_their_class),
        cmocka_unit_test(classes_end_with_their_blocks),
        cmocka_unit_test(methods_select),
        cmocka_unit_test(configs_name_them),
        cmocka_unit_test(families_are_recognised),
        cmocka_unit_test(params_are_views),
        cmocka_unit_test(loaded_convolutions_have_params),
        cmocka_unit_test(all_kinds_are_saved_and_loaded),
        cmocka_unit_test(lokr_splits_as_lycoris_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
