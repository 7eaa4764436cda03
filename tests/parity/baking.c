/* LoRAs put into models whose weights aren't one .safetensors file a part: pickles, pieces with an index, a checkpoint
 * that is a pickle. What is written is .safetensors, and predicts what the model predicts with the LoRA beside it. */
#include "checkpoint_support.h"
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "leco/leco.h"
#include "test_torch.h"

#define SD1 FIXTURES "sd1-like"

static leco_error err;
static char said[2048];

static void keep(void *user, log_level level, const char *message)
{
    (void)user;
    (void)level;
    const size_t length = strlen(said);
    snprintf(said + length, sizeof said - length, "%s\n", message);
}

/* What the U-Net of a model predicts for a fixture's input, and the text encoder for a prompt. */
static void predict(const char *model, const char *lora, values out[2])
{
    static const char *const parts[] = {"unet", "text-encoder"}, *const names[] = {"noise_pred", "last_hidden_state"};
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *m;
    safetensors *file;
    assert_works(leco_model_open(model, &options, &m, &err), &err);
    if (lora) assert_works(leco_model_add_lora(m, lora, 0.8f, &err), &err);
    for (int i = 0; i < 2; i++) {
        const char *to = test_path("out.safetensors");
        assert_works(leco_run(m, parts[i], i ? NULL : test_path("in.safetensors"), i ? "a red circle" : NULL, to, &err),
                     &err);
        assert_works(safetensors_open(to, &file, &err), &err);
        out[i] = fixture_read(file, "%s", names[i]);
        safetensors_close(file);
    }
    leco_model_close(m);
}

static void check_baked(const char *from, const char *into, const char *lora)
{
    const leco_lora one = {lora, 0.8f};
    values beside[2], inside[2];
    said[0] = '\0';
    assert_works(leco_merge_into(from, &one, 1, into, NULL, NULL, &err), &err);
    predict(from, lora, beside);
    predict(into, NULL, inside);
    for (int i = 0; i < 2; i++) {
        const double error = worst_error(inside[i].at, &beside[i]);
        printf("  %s: %.1e\n", into, error);
        assert_true(error < 1e-4);
        values_free(&beside[i]);
        values_free(&inside[i]);
    }
}

/* ---- models in other forms ---- */

static void copy(const char *from, const char *to)
{
    size_t size;
    unsigned char *data = test_read(from, &size);
    test_write(to, data, size);
    free(data);
}

/* The fixture's folder, but for the weights of two parts. */
static void begin_folder(const char *folder)
{
    static const char *const files[] = {"model_index.json",
                                        "scheduler/scheduler_config.json",
                                        "unet/config.json",
                                        "text_encoder/config.json",
                                        "vae/config.json",
                                        "vae/diffusion_pytorch_model.safetensors",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "tokenizer/special_tokens_map.json",
                                        "tokenizer/tokenizer_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[600], to[1200], *within;
        snprintf(from, sizeof from, SD1 "/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", folder, files[i]);
        within = file_folder_of(to);
        assert_works(file_make_folders(within, &err), &err);
        free(within);
        copy(from, to);
    }
}

typedef struct tensors {
    safetensors_entry entry[1200];
    size_t count;
    safetensors *file;
} tensors;

static void tensors_free(tensors *t)
{
    for (size_t i = 0; i < t->count; i++) free((void *)(uintptr_t)t->entry[i].data);
    safetensors_close(t->file);
}

/* All in float32, as test_torch_write takes them. */
static void read_tensors(const char *path, tensors *t)
{
    assert_works(safetensors_open(path, &t->file, &err), &err);
    t->count = 0;
    for (size_t i = 0; i < safetensors_count(t->file); i++) {
        safetensors_entry e = *safetensors_at(t->file, i);
        if (!dtype_is_float(e.type)) continue;
        float *wide = malloc(e.count * sizeof *wide);
        assert_true(wide && t->count < sizeof t->entry / sizeof *t->entry);
        dtype_convert(wide, DTYPE_F32, e.data, e.type, e.count);
        e.type = DTYPE_F32;
        e.data = wide;
        t->entry[t->count++] = e;
    }
}

static void pickled_parts(void **state)
{
    (void)state;
    static tensors t;
    char folder[600], path[1200];
    snprintf(folder, sizeof folder, "%s", test_path("pickled"));
    begin_folder(folder);
    read_tensors(SD1 "/unet/diffusion_pytorch_model.safetensors", &t);
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.fp16.bin", folder);
    test_torch_write(path, t.entry, t.count);
    tensors_free(&t);
    read_tensors(SD1 "/text_encoder/model.safetensors", &t);
    snprintf(path, sizeof path, "%s/text_encoder/pytorch_model.bin", folder);
    test_torch_write(path, t.entry, t.count);
    tensors_free(&t);
    check_baked(folder, test_path("from_pickles"), SD1 "/lora_text.safetensors");
    assert_non_null(strstr(said, "pytorch_model.bin: becomes model.safetensors"));
    check_baked(folder, test_path("from_pickles2"), SD1 "/lora_c3lier.safetensors");
    assert_non_null(strstr(said, "becomes diffusion_pytorch_model.fp16.safetensors"));
    assert_null(strstr(said, "not copied"));
    assert_int_equal(test_count_files(test_path("from_pickles2/unet")), 2);
}

static void parts_in_pieces(void **state)
{
    (void)state;
    static tensors t;
    static char index[1 << 17];
    char folder[600], path[1200];
    snprintf(folder, sizeof folder, "%s", test_path("pieces"));
    begin_folder(folder);
    read_tensors(SD1 "/unet/diffusion_pytorch_model.safetensors", &t);
    const size_t half = t.count / 2;
    size_t used = (size_t)snprintf(index, sizeof index, "{\"metadata\": {}, \"weight_map\": {");
    for (size_t i = 0; i < t.count; i++)
        used += (size_t)snprintf(index + used, sizeof index - used,
                                 "%s\"%s\": \"diffusion_pytorch_model-0000%d-of-00002.safetensors\"", i ? ", " : "",
                                 t.entry[i].name, i < half ? 1 : 2);
    snprintf(index + used, sizeof index - used, "}}");
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model-0000%d-of-00002.safetensors", folder, i + 1);
        assert_works(safetensors_write(path, t.entry + (i ? half : 0), i ? t.count - half : half, NULL, 0, &err), &err);
    }
    snprintf(path, sizeof path, "%s/unet/diffusion_pytorch_model.safetensors.index.json", folder);
    test_write(path, index, strlen(index));
    tensors_free(&t);
    snprintf(path, sizeof path, "%s/text_encoder/model.safetensors", folder);
    copy(SD1 "/text_encoder/model.safetensors", path);
    check_baked(folder, test_path("from_pieces"), SD1 "/lora.safetensors");
    assert_non_null(strstr(said, "index.json: becomes diffusion_pytorch_model.safetensors, one .safetensors file"));
    assert_null(strstr(said, "not copied"));
    assert_int_equal(test_count_files(test_path("from_pieces/unet")), 2);
}

/* Noise, and states as wide as the model's. */
static void write_inputs(int64_t width)
{
    static float noise[77 * 256];
    const float timestep = 301;
    for (size_t i = 0; i < sizeof noise / sizeof *noise; i++) noise[i] = sinf((float)(i * i % 1009));
    const safetensors_entry in[] = {
        {"sample", DTYPE_F32, 4, {1, 4, 8, 8}, 256, noise},
        {"timestep", DTYPE_F32, 1, {1}, 1, &timestep},
        {"encoder_hidden_states", DTYPE_F32, 3, {1, 77, width}, (size_t)(77 * width), noise}};
    assert_works(safetensors_write(test_path("in.safetensors"), in, 3, NULL, 0, &err), &err);
}

/* A whole difference of a text layer, and of a norm and a bias of the U-Net, which lie under other names. */
static void write_lora(const char *path, const safetensors *checkpoint)
{
    static const char *const names[][2] = {
        {"cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight",
         "lora_te_text_model_encoder_layers_0_mlp_fc1.diff"},
        {"model.diffusion_model.middle_block.0.in_layers.0.weight", "lora_unet_mid_block_resnets_0_norm1.w_norm"},
        {"model.diffusion_model.middle_block.0.in_layers.2.bias", "lora_unet_mid_block_resnets_0_conv1.diff_b"},
        {"model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight",
         "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.diff"}};
    static float change[1 << 16];
    safetensors_entry e[4];
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) change[i] = 0.1f * sinf((float)(i * i % 997));
    for (int i = 0; i < 4; i++) {
        const safetensors_entry *of = safetensors_find(checkpoint, names[i][0]);
        assert_non_null(of);
        assert_in_range(of->count, 1, 1 << 16);
        e[i] = *of;
        e[i].name = names[i][1];
        e[i].type = DTYPE_F32;
        e[i].data = change;
    }
    assert_works(safetensors_write(path, e, 4, NULL, 0, &err), &err);
}

static void a_checkpoint_that_is_a_pickle(void **state)
{
    (void)state;
    static tensors t;
    char path[600], lora[600];
    snprintf(path, sizeof path, "%s", test_path("checkpoint.ckpt"));
    snprintf(lora, sizeof lora, "%s", test_path("of_checkpoint.safetensors"));
    read_tensors(checkpoint_put(0, NULL, NULL), &t);
    test_torch_write(path, t.entry, t.count);
    write_lora(lora, t.file);
    write_inputs(safetensors_find(t.file, "cond_stage_model.transformer.text_model.final_layer_norm.weight")->shape[0]);
    tensors_free(&t);
    check_baked(path, test_path("from_ckpt.safetensors"), lora);
    assert_non_null(strstr(said, "checkpoint.ckpt: becomes "));

    /* And out again: by what layers are called here, not by the file's names, the norm and the bias are what is left.
     */
    const leco_extract_options o = {.rank = 4, .precision = "float32"};
    leco_merge_report report = {0};
    assert_works(leco_extract(path, test_path("from_ckpt.safetensors"), lora, &o, &report, &err), &err);
    assert_true(report.layers_unet == 1 && report.layers_text_encoder == 1);
    assert_int_equal(report.others, 2);
    leco_merge_report_free(&report);
}

static int set_up(void **state)
{
    (void)state;
    log_set_callback(keep, NULL);
    write_inputs(24);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pickled_parts),
        cmocka_unit_test(parts_in_pieces),
        cmocka_unit_test(a_checkpoint_that_is_a_pickle),
    };
    return cmocka_run_group_tests_name("parity/baking", tests, set_up, NULL);
}
