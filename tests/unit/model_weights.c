/* Weights: the right file is found, shapes and values are checked by name, leftovers are reported. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "model/model.h"

#define UNET FIXTURE("sd1-like/unet")
#define WEIGHTS "diffusion_pytorch_model.safetensors"
#define VICTIM "down_blocks.0.resnets.0.conv1.weight"

static char warnings[4096];

static void keep_warning(void *user, log_level level, const char *message)
{
    (void)user;
    if (level != LOG_WARNING) return;
    strncat(warnings, message, sizeof warnings - strlen(warnings) - 2);
    strcat(warnings, "\n");
}

/* Loads the U-Net of a whole model that is sd1-like with another unet folder. */
static leco_status load(const char *folder, leco_error *err)
{
    model *m;
    warnings[0] = '\0';
    LECO_TRY(model_open(folder, &m, err));
    leco_status status = model_load(m, MODEL_UNET, err);
    model_close(m);
    return status;
}

/* A fresh model whose U-Net weights went through `change`. Returns the path of the weights. */
static const char *changed(const char **folder, bool (*change)(safetensors_entry *entry, float *data))
{
    *folder = model_copy(FIXTURE("sd1-like"), "model");
    const char *path = test_path("model/unet/" WEIGHTS);
    if (change) model_rewrite(path, change);
    return path;
}

static void a_good_model_loads_silently(void **state)
{
    (void)state;
    leco_error err = {0};
    const char *folder;
    changed(&folder, NULL);
    assert_works(load(folder, &err), &err);
    assert_string_equal(warnings, "");
}

static bool drop(safetensors_entry *e, float *data)
{
    (void)data;
    return strcmp(e->name, VICTIM) != 0;
}

static bool reshape(safetensors_entry *e, float *data)
{
    (void)data;
    if (strcmp(e->name, VICTIM) == 0) {
        e->rank = 2;
        e->shape[1] = (int64_t)e->count / e->shape[0];
    }
    return true;
}

static bool put_nan(safetensors_entry *e, float *data)
{
    if (strcmp(e->name, VICTIM) == 0) data[5] = NAN;
    return true;
}

static bool put_infinity(safetensors_entry *e, float *data)
{
    if (strcmp(e->name, VICTIM) == 0) data[e->count - 1] = -INFINITY;
    return true;
}

static bool make_integer(safetensors_entry *e, float *data)
{
    (void)data;
    if (strcmp(e->name, VICTIM) == 0) e->type = DTYPE_I32;
    return true;
}

static bool rename_one(safetensors_entry *e, float *data)
{
    (void)data;
    if (strcmp(e->name, "conv_out.bias") == 0) e->name = "conv_out.biases";
    return true;
}

static void broken_weights_are_refused(void **state)
{
    (void)state;
    static const struct {
        bool (*change)(safetensors_entry *entry, float *data);
        const char *name, *says;
    } cases[] = {
        {drop, VICTIM, "[8,8,3,3] is missing"},
        {reshape, VICTIM, "expected shape [8,8,3,3], found [8,72]"},
        {put_nan, VICTIM, "element 5 is not a finite number"},
        {put_infinity, VICTIM, "element 575 is not a finite number"},
        {make_integer, VICTIM, "found int32"},
        {rename_one, "conv_out.bias", "[4] is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        const char *folder, *path = changed(&folder, cases[i].change);
        assert_fails(load(folder, &err), LECO_FORMAT, &err, path, cases[i].name, cases[i].says);
    }
}

static bool put_f16_infinity(safetensors_entry *e, float *data)
{
    static const f16 infinite[4] = {0, 0x3c00, 0x7c00, 0};
    if (strcmp(e->name, "conv_out.bias") != 0) return true;
    e->type = DTYPE_F16;
    memcpy(data, infinite, sizeof infinite);
    return true;
}

static void half_precision_is_checked_too(void **state)
{
    (void)state;
    leco_error err = {0};
    const char *folder, *path = changed(&folder, put_f16_infinity);
    assert_fails(load(folder, &err), LECO_FORMAT, &err, path, "conv_out.bias", "element 2");
}

static void leftovers_are_reported(void **state)
{
    (void)state;
    leco_error err = {0};
    weights *w;
    weight *one;
    assert_works(weights_open(UNET, &w, &err), &err);
    assert_works(weights_get(w, "conv_in.bias", SHAPE(8), &one, &err), &err);
    warnings[0] = '\0';
    assert_works(weights_check(w, &err), &err);
    assert_non_null(strstr(warnings, WEIGHTS));
    assert_non_null(strstr(warnings, "conv_in.weight"));
    assert_non_null(strstr(warnings, "not used"));
    weights_close(w);
}

static void harmless_leftovers_are_not_reported(void **state)
{
    (void)state;
    leco_error err = {0};
    static const int64_t ids[4] = {0, 1, 2, 3};
    static const float value[2] = {1, 2};
    const safetensors_entry entries[] = {
        {"text_model.embeddings.position_ids", DTYPE_I64, 2, {1, 4}, 4, ids},
        {"a.weight", DTYPE_F32, 1, {2}, 2, value},
    };
    const char *path = test_path("harmless.safetensors");
    assert_works(safetensors_write(path, entries, 2, NULL, 0, &err), &err);
    weights *w;
    weight *one, *same;
    assert_works(weights_open_file(path, &w, &err), &err);
    assert_works(weights_get(w, "a.weight", SHAPE(2), &one, &err), &err);
    assert_works(weights_get(w, "a.weight", SHAPE(2), &same, &err), &err);
    assert_ptr_equal(one, same);
    assert_true(weights_has(w, "a.weight"));
    assert_false(weights_has(w, "b.weight"));
    warnings[0] = '\0';
    assert_works(weights_check(w, &err), &err);
    assert_string_equal(warnings, "");
    assert_fails(weights_get(w, "text_model.embeddings.position_ids", SHAPE(1, 4), &one, &err), LECO_FORMAT, &err,
                 "position_ids", "int64");
    weights_close(w);
}

static void files_are_found(void **state)
{
    (void)state;
    static const char *const names[] = {"diffusion_pytorch_model.fp16.safetensors", "model.safetensors",
                                        "model.fp16.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        leco_error err = {0};
        weights *w;
        char from[1024], to[1024];
        const char *folder = model_copy(UNET, i == 0 ? "fp16" : i == 1 ? "plain" : "both");
        snprintf(from, sizeof from, "%s/" WEIGHTS, folder);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        assert_int_equal(rename(from, to), 0);
        assert_works(weights_open(folder, &w, &err), &err);
        assert_string_equal(weights_path(w), to);
        weights_close(w);
        assert_int_equal(remove(to), 0);
        assert_fails(weights_open(folder, &w, &err), LECO_IO, &err, folder, "no weights");
        assert_null(w);
    }
}

static void an_index_comes_before_the_file(void **state)
{
    (void)state;
    leco_error err = {0};
    weights *w;
    const char *folder = model_copy(UNET, "sharded");
    test_write(test_path("sharded/" WEIGHTS ".index.json"), "{}", 2);
    assert_fails(weights_open(folder, &w, &err), LECO_FORMAT, &err, "index.json", "weight_map");
}

static void random_weights_are_made_on_demand(void **state)
{
    (void)state;
    leco_error err = {0};
    weight *small, *large, *bias, *scale;
    weights *w = weights_random(7);
    assert_works(weights_get(w, "a.weight", SHAPE(4, 4), &small, &err), &err);
    assert_works(weights_get(w, "b.weight", SHAPE(300, 300, 3, 3), &large, &err), &err);
    assert_works(weights_get(w, "b.bias", SHAPE(300), &bias, &err), &err);
    assert_works(weights_get(w, "norm.weight", SHAPE(300), &scale, &err), &err);
    assert_ptr_equal(small->data, large->data);
    assert_true(small->keep_out_of_place && large->keep_out_of_place);
    const bf16 *values = large->data;
    double sum = 0, squares = 0, count = 300 * 300 * 9;
    for (size_t i = 0; i < (size_t)count; i++) {
        double v = (double)bf16_to_f32(values[i]);
        sum += v;
        squares += v * v;
    }
    assert_true(fabs(sum / count) < 1e-3);
    assert_true(fabs(sqrt(squares / count) - 0.02) < 1e-3);
    assert_true(bf16_to_f32(((const bf16 *)bias->data)[299]) == 0.0f);
    assert_true(bf16_to_f32(((const bf16 *)scale->data)[299]) == 1.0f);
    assert_fails(weights_get(w, "a.weight", SHAPE(4, 5), &small, &err), LECO_FORMAT, &err, "a.weight", "[4,5]");
    assert_works(weights_check(w, &err), &err);
    weights_close(w);
}

static void models_must_fit_together(void **state)
{
    (void)state;
    static const struct {
        const char *model, *file, *key, *value;
        leco_status status;
        const char *says;
    } cases[] = {
        {"sd1-like", "model_index.json", "_class_name", "\"StableDiffusion3Pipeline\"", LECO_UNSUPPORTED,
         "StableDiffusion3Pipeline"},
        {"sd1-like", "model_index.json", "_class_name", "\"KolorsPipeline\"", LECO_UNSUPPORTED, "KolorsPipeline"},
        {"sd1-like", "model_index.json", "_class_name", "3", LECO_INVALID, "expected a string"},
        {"sd1-like", "model_index.json", "text_encoder_2", "[\"transformers\", \"CLIPTextModel\"]", LECO_UNSUPPORTED,
         "text_encoder_2"},
        {"sd1-like", "unet/config.json", "cross_attention_dim", "32", LECO_INVALID, "cross_attention_dim 32"},
        {"sd1-like", "unet/config.json", "in_channels", "9", LECO_UNSUPPORTED,
         "9 channels and gives 4, the VAE's latents have 4: it is a model for inpainting"},
        {"sd1-like", "unet/config.json", "in_channels", "8", LECO_UNSUPPORTED, "takes 8 channels and gives 4"},
        {"sd1-like", "text_encoder/config.json", "vocab_size", "900", LECO_INVALID, "900"},
        {"sd1-like", "text_encoder/config.json", "max_position_embeddings", "64", LECO_INVALID, "64"},
        {"sdxl-like", "text_encoder_2/config.json", "projection_dim", "24", LECO_INVALID, "has 24 numbers"},
        {"sdxl-like", "text_encoder_2/config.json", "hidden_size", "48", LECO_INVALID, "added hidden_size 64"},
        {"sdxl-like", "text_encoder_2/config.json", "vocab_size", "900", LECO_INVALID, "text_encoder_2 900"},
        {"sdxl-like", "tokenizer_2/tokenizer_config.json", "model_max_length", "20", LECO_INVALID, "the other 20"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        model *m;
        char path[1024], from[1024];
        snprintf(from, sizeof from, "%s/%s", FIXTURE(""), cases[i].model);
        const char *folder = model_copy(from, "fit");
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].file);
        model_edit(path, cases[i].key, cases[i].value);
        assert_fails(model_open(folder, &m, &err), cases[i].status, &err, folder, cases[i].says);
        assert_null(m);
    }
}

/* Pipelines with the parts of a text-to-image model are one, with a word; without them they are told by name. */
static void classes_of_pipelines_follow_their_parts(void **state)
{
    (void)state;
    static const struct {
        const char *model, *name, *lacks;
        bool works, warns;
    } cases[] = {
        {"sd1-like", "\"StableDiffusionPipeline\"", NULL, true, false},
        {"sd1-like", "\"FlaxStableDiffusionPipeline\"", NULL, true, false},
        {"sd1-like", "\"StableDiffusionImg2ImgPipeline\"", NULL, true, true},
        {"sd1-like", "\"StableDiffusionInpaintPipeline\"", NULL, true, true},
        {"sd1-like", "\"StableDiffusionControlNetPipeline\"", NULL, true, true},
        {"sd1-like", "[\"my_pipeline\", \"MyPipeline\"]", NULL, true, true},
        {"sdxl-like", "\"StableDiffusionXLImg2ImgPipeline\"", NULL, true, true},
        {"sdxl-like", "\"StableDiffusionXLImg2ImgPipeline\"", "text_encoder", false, false}, /* the refiner */
        {"sd1-like", "\"FluxPipeline\"", NULL, false, false},
        {"sd1-like", "\"MyPipeline\"", "unet", false, false},
        {"sd1-like", "\"StableDiffusionImageVariationPipeline\"", "text_encoder", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        leco_error err = {0};
        model *m;
        char path[1024], from[1024];
        snprintf(from, sizeof from, "%s/%s", FIXTURE(""), cases[i].model);
        const char *folder = model_copy(from, "classes");
        snprintf(path, sizeof path, "%s/model_index.json", folder);
        model_edit(path, "_class_name", cases[i].name);
        if (cases[i].lacks) model_edit(path, cases[i].lacks, "[null, null]");
        warnings[0] = '\0';
        if (!cases[i].works) {
            assert_fails(model_open(folder, &m, &err), LECO_UNSUPPORTED, &err, path,
                         i == 7 ? "is Stable Diffusion XL's refiner" : "_class_name");
            continue;
        }
        assert_works(model_open(folder, &m, &err), &err);
        assert_int_equal(strstr(warnings, "is taken for the text-to-image model") != NULL, cases[i].warns);
        model_close(m);
    }
}

static void missing_files_are_named(void **state)
{
    (void)state;
    static const char *const files[] = {"model_index.json",
                                        "unet/config.json",
                                        "vae/config.json",
                                        "text_encoder/config.json",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "scheduler/scheduler_config.json"};
    leco_error err = {0};
    model *m;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const char *folder = model_copy(FIXTURE("sd1-like"), "missing");
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(remove(path), 0);
        assert_fails(model_open(folder, &m, &err), LECO_IO, &err, path);
    }
    assert_fails(model_open(test_path("nowhere"), &m, &err), LECO_IO, &err, "nowhere", "there is no such file");
}

static int set_up(void **state)
{
    (void)state;
    log_set_callback(keep_warning, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_model_loads_silently),
        cmocka_unit_test(broken_weights_are_refused),
        cmocka_unit_test(half_precision_is_checked_too),
        cmocka_unit_test(leftovers_are_reported),
        cmocka_unit_test(harmless_leftovers_are_not_reported),
        cmocka_unit_test(files_are_found),
        cmocka_unit_test(an_index_comes_before_the_file),
        cmocka_unit_test(random_weights_are_made_on_demand),
        cmocka_unit_test(models_must_fit_together),
        cmocka_unit_test(classes_of_pipelines_follow_their_parts),
        cmocka_unit_test(missing_files_are_named),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
