/* Models written in the other layout, and back: what was read draws the same, and no number is another. What diffusers
 * makes of the files, tools/ compares by hand. */
#include "checkpoint_support.h"
#include "parity_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "leco/leco.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"

static leco_error err;

static leco_images draw(const char *path)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *m;
    leco_images images = {0};
    leco_generate_options o = leco_generate_defaults();
    const char *prompt = "a red star";
    o.prompts = &prompt;
    o.prompt_count = 1;
    o.steps = 2;
    o.width = o.height = 64;
    assert_works(leco_model_open(path, &options, &m, &err), &err);
    assert_works(leco_generate(m, &o, &images, &err), &err);
    leco_model_close(m);
    return images;
}

static void assert_same_picture(const char *path, const leco_images *wanted)
{
    leco_images images = draw(path);
    const size_t bytes = (size_t)wanted->image[0].width * (size_t)wanted->image[0].height * 3;
    assert_memory_equal(images.image[0].rgb, wanted->image[0].rgb, bytes);
    leco_images_free(&images);
}

/* Of Stable Diffusion 2 the last layer of the text encoder, which nobody reads, is another. */
static void assert_same_tensors(const char *one, const char *other, const char *spare)
{
    safetensors *a, *b;
    size_t same = 0;
    assert_works(safetensors_open(one, &a, &err), &err);
    assert_works(safetensors_open(other, &b, &err), &err);
    for (size_t i = 0; i < safetensors_count(b); i++) {
        const safetensors_entry *e = safetensors_at(b, i), *was = safetensors_find(a, e->name);
        if (strcmp(e->name, "v_pred") == 0) continue;
        if (!was) fail_msg("%s is new", e->name);
        assert_true(e->type == was->type && e->rank == was->rank && e->count == was->count);
        assert_memory_equal(e->shape, was->shape, (size_t)e->rank * sizeof *e->shape);
        if (spare && strncmp(e->name, spare, strlen(spare)) == 0) continue;
        if (memcmp(e->data, was->data, e->count * dtype_size(e->type)) != 0) fail_msg("%s is another", e->name);
        same++;
    }
    assert_true(same > 300);
    assert_true(safetensors_count(a) - safetensors_count(b) < 6); /* position_ids and the like */
    safetensors_close(a);
    safetensors_close(b);
}

static void there_and_back(void **state)
{
    (void)state;
    static const char *const spares[] = {NULL, "cond_stage_model.model.transformer.resblocks.2.", NULL};
    for (size_t i = 0; i < CHECKPOINTS; i++) {
        char *original = strdup(checkpoint_put(i, NULL, NULL)), *folder = strdup(test_path(checkpoint_name(i))),
             *back = strdup(test_path("back.safetensors"));
        leco_images wanted = draw(original);
        assert_works(leco_convert(original, folder, NULL, &err), &err);
        assert_works(leco_convert(folder, back, NULL, &err), &err);
        assert_same_picture(folder, &wanted);
        assert_same_picture(back, &wanted);
        assert_same_tensors(original, back, spares[i]);
        leco_images_free(&wanted);
        free(original);
        free(folder);
        free(back);
    }
}

static void in_another_precision(void **state)
{
    (void)state;
    const leco_convert_options options = {.precision = "float16"}, wide = {.precision = "float32"};
    char path[512];
    safetensors *file;
    assert_works(leco_convert(SHAPES, test_path("half"), &options, &err), &err);
    assert_works(leco_convert(test_path("half"), test_path("wide"), &wide, &err), &err);
    static const char *const folders[] = {"half", "wide"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors", test_path(folders[i]));
        assert_works(safetensors_open(path, &file, &err), &err);
        for (size_t k = 0; k < safetensors_count(file); k++)
            assert_int_equal(safetensors_at(file, k)->type, i == 0 ? DTYPE_F16 : DTYPE_F32);
        assert_string_equal(safetensors_metadata(file, "format"), "pt");
        safetensors_close(file);
    }
    leco_images wanted = draw(test_path("half"));
    assert_same_picture(test_path("wide"), &wanted);
    leco_images_free(&wanted);
}

static void put(const char *folder, const char *name, const char *text)
{
    char path[900];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    test_write(path, text, strlen(text));
}

/* Does FOLDER/name hold all of these? */
static void assert_holds(const char *folder, const char *name, const char *const *parts)
{
    char path[900];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    char *text = (char *)test_read(path, NULL);
    for (; *parts; parts++)
        if (!strstr(text, *parts)) fail_msg("%s lacks %s", path, *parts);
    free(text);
}

/* A folder's scheduler is kept to the byte, with the keys that leco passes over, and named in model_index.json. */
static void a_folder_keeps_its_scheduler(void **state)
{
    (void)state;
    static const char config[] = "{\"_class_name\": \"DPMSolverMultistepScheduler\", \"beta_start\": 0.00085,\n"
                                 " \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\", \"lambda_min_clipped\":"
                                 " -Infinity, \"algorithm_type\": \"sde-dpmsolver++\", \"solver_order\": 2,\n"
                                 " \"timestep_spacing\": \"trailing\", \"use_karras_sigmas\": true}\n";
    static const char scheduler[] = "scheduler/scheduler_config.json";
    const char *const index[] = {"\"scheduler\": [\n    \"diffusers\",\n    \"DPMSolverMultistepScheduler\"\n  ]",
                                 NULL};
    assert_works(leco_convert(SHAPES, test_path("own"), NULL, &err), &err);
    put(test_path("own"), scheduler, config);
    assert_works(leco_convert(test_path("own"), test_path("kept"), NULL, &err), &err);
    assert_holds(test_path("kept"), scheduler, (const char *const[]){config, NULL});
    assert_holds(test_path("kept"), "model_index.json", index);
}

/* One file says nothing of a scheduler: it becomes what diffusers' from_single_file takes for the family. */
static void a_file_gets_its_familys_scheduler(void **state)
{
    (void)state;
    static const char *const classes[] = {"PNDMScheduler", "DDIMScheduler", "EulerDiscreteScheduler"};
    static const char *const spaced[] = {"\"prediction_type\": \"epsilon\"", "\"prediction_type\": \"v_prediction\"",
                                         "\"use_karras_sigmas\": false"};
    for (size_t i = 0; i < CHECKPOINTS; i++) {
        char *from = strdup(checkpoint_put(i, NULL, NULL)), folder[600], class[64], name[64];
        snprintf(folder, sizeof folder, "%s_folder", test_path(checkpoint_name(i)));
        snprintf(class, sizeof class, "\"_class_name\": \"%s\"", classes[i]);
        snprintf(name, sizeof name, "\"%s\"", classes[i]);
        assert_works(leco_convert(from, folder, NULL, &err), &err);
        assert_holds(folder, "scheduler/scheduler_config.json",
                     (const char *const[]){class, spaced[i], "\"steps_offset\": 1", "\"timestep_spacing\": \"leading\"",
                                           "\"set_alpha_to_one\": false", "\"trained_betas\": null", NULL});
        assert_holds(folder, "model_index.json", (const char *const[]){name, NULL});
        free(from);
    }
}

static bool stop(void *user, const leco_progress *p)
{
    (void)user;
    return p->done < 100;
}

static void nothing_is_left_of_what_fails(void **state)
{
    (void)state;
    char *from = strdup(checkpoint_put(0, NULL, NULL));
    const leco_convert_options stopping = {.progress = stop};
    assert_works(file_make_folders(test_path("out"), &err), &err);
    assert_fails(leco_convert(from, test_path("out/x"), &stopping, &err), LECO_INTERRUPTED, &err, "nothing is written");
    assert_fails(leco_convert(from, test_path("out/x.safetensors"), &stopping, &err), LECO_INTERRUPTED, &err,
                 "nothing is written");
    assert_fails(leco_convert(SHAPES, test_path("out/x.safetensors"), NULL, &err), LECO_UNSUPPORTED, &err,
                 "tokenizer isn't CLIP's");
    assert_fails(leco_convert(from, test_path("out/x.ckpt"), NULL, &err), LECO_UNSUPPORTED, &err, "no pickles");
    assert_fails(leco_convert(from, from, NULL, &err), LECO_INVALID, &err, "checkpoint.safetensors");
    assert_fails(leco_convert("nowhere", test_path("out/x"), NULL, &err), LECO_IO, &err, "nowhere");
    assert_fails(leco_convert(from, "", NULL, &err), LECO_INVALID, &err, "to write to");
    const leco_convert_options odd = {.precision = "int8"};
    assert_fails(leco_convert(from, test_path("out/x"), &odd, &err), LECO_INVALID, &err, "int8");
    assert_int_equal(test_count_files(test_path("out")), 0);
    test_write(test_path("out/mine"), "x", 1);
    assert_fails(leco_convert(from, test_path("out"), NULL, &err), LECO_IO, &err, "something in it");
    assert_int_equal(test_count_files(test_path("out")), 1);
    free(from);
}

static void what_a_type_cannot_hold_is_told(void **state)
{
    (void)state;
    static const char name[] = "model.diffusion_model.out.0.bias";
    const leco_convert_options half = {.precision = "float16"};
    float huge[256];
    safetensors *file;
    for (int i = 0; i < 256; i++) huge[i] = 1e30f;
    assert_works(safetensors_open(FIXTURES "checkpoint/sd1.safetensors", &file, &err), &err);
    safetensors_entry e = *safetensors_find(file, name);
    assert_in_range(e.count, 1, 256);
    e.type = DTYPE_F32;
    e.data = huge;
    const char *from = checkpoint_put(0, name, &e);
    safetensors_close(file);
    assert_fails(leco_convert(from, test_path("half16"), &half, &err), LECO_INVALID, &err, "conv_norm_out.bias",
                 "not a finite float16");
    assert_false(file_exists(test_path("half16")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(in_another_precision),
        cmocka_unit_test(a_folder_keeps_its_scheduler),
        cmocka_unit_test(a_file_gets_its_familys_scheduler),
        cmocka_unit_test(nothing_is_left_of_what_fails),
        cmocka_unit_test(what_a_type_cannot_hold_is_told),
    };
    return cmocka_run_group_tests_name("parity/convert", tests, NULL, NULL);
}
