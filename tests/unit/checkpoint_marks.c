/* What a checkpoint in one file is, by the names and shapes of its tensors and by its metadata: how it predicts, how
 * many layers of its text encoder count, and what is refused, as what. The files are headers over nothing: opening a
 * model reads no weights. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leco/leco.h"
#include "model/family.h"
#include "model/model.h"
#include "model/trainable.h"

static leco_error err;

/* ---- files ---- */

typedef struct named {
    const char *name;
    int64_t dims[4]; /* ends with 0, or after four; a first one of 0: an empty tensor */
} named;

typedef struct header {
    char text[32768];
    size_t used;
    long long bytes; /* of the data, a byte a number */
} header;

static void put(header *h, const char *name, const int64_t dims[4])
{
    char list[96] = "0";
    long long count = dims[0];
    int used = dims[0] ? 0 : 1;
    for (int i = 0; i < 4 && dims[i]; i++) {
        used += snprintf(list + used, sizeof list - (size_t)used, "%s%lld", i ? "," : "", (long long)dims[i]);
        if (i) count *= dims[i];
    }
    const int more = snprintf(h->text + h->used, sizeof h->text - h->used,
                              "%s\"%s\":{\"dtype\":\"F8_E4M3\",\"shape\":[%s],\"data_offsets\":[%lld,%lld]}",
                              h->used ? "," : "{", name, list, h->bytes, h->bytes + count);
    h->used += (size_t)more;
    h->bytes += count;
    assert_true(h->used < sizeof h->text - 256);
}

static void put_all(header *h, const named *rows)
{
    for (; rows->name; rows++) put(h, rows->name, rows->dims);
}

static const char *write_file(header *h, const char *metadata)
{
    const char *path = test_path("checkpoint.safetensors");
    h->used += (size_t)snprintf(h->text + h->used, sizeof h->text - h->used, "%s%s}", metadata ? "," : "",
                                metadata ? metadata : "");
    const uint64_t length = h->used;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(&length, sizeof length, 1, f), 1);
    assert_int_equal(fwrite(h->text, h->used, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, (off_t)(8 + h->used) + h->bytes), 0);
    return path;
}

/* ---- models, as few tensors as tell what they are ---- */

#define UNET "model.diffusion_model."
#define H "transformer.resblocks.0."

enum { TOKENS = 49408 };

/* Of text states that wide, and one level of 64 channels; pixel: of Stable Diffusion 1, whose projections are
 * convolutions. */
static void put_unet(header *h, int64_t context, int64_t pixel)
{
    const named rows[] = {{UNET "input_blocks.0.0.weight", {64, 4, 3, 3}},
                          {UNET "input_blocks.1.0.in_layers.2.weight", {64, 64, 3, 3}},
                          {UNET "input_blocks.1.0.out_layers.3.weight", {64, 64, 3, 3}},
                          {UNET "middle_block.1.transformer_blocks.0.norm1.weight", {64}},
                          {UNET "middle_block.1.transformer_blocks.0.attn2.to_k.weight", {64, context}},
                          {UNET "middle_block.1.proj_in.weight", {64, 64, pixel, pixel}},
                          {UNET "out.2.weight", {4, 64, 3, 3}},
                          {NULL, {0}}};
    put_all(h, rows);
}

static void put_open_clip(header *h, const char *prefix, int64_t width, int layers)
{
    const named rows[] = {{"token_embedding.weight", {TOKENS, width}},
                          {"positional_embedding", {77, width}},
                          {H "mlp.c_fc.weight", {2 * width, width}}};
    char name[128];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "%s%s", prefix, rows[i].name);
        put(h, name, rows[i].dims);
    }
    for (int i = 0; i < layers; i++) {
        snprintf(name, sizeof name, "%stransformer.resblocks.%d.ln_1.weight", prefix, i);
        put(h, name, (const int64_t[4]){width});
    }
}

static void put_clip(header *h, const char *prefix, int64_t width)
{
    const named rows[] = {{"embeddings.token_embedding.weight", {TOKENS, width}},
                          {"embeddings.position_embedding.weight", {77, width}},
                          {"encoder.layers.0.layer_norm1.weight", {width}},
                          {"encoder.layers.0.mlp.fc1.weight", {2 * width, width}},
                          {"final_layer_norm.weight", {width}}};
    char name[128];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(name, sizeof name, "%stext_model.%s", prefix, rows[i].name);
        put(h, name, rows[i].dims);
    }
}

typedef enum kind { SD1, SD2, SDXL } kind;

static header model_of(kind is)
{
    header h = {0};
    put_unet(&h, is == SD1 ? 64 : 128, is == SD1);
    if (is == SD1) put_clip(&h, "cond_stage_model.transformer.", 64);
    if (is == SD2) put_open_clip(&h, "cond_stage_model.model.", 128, 3);
    if (is != SDXL) return h;
    put_clip(&h, "conditioner.embedders.0.transformer.", 64);
    put_open_clip(&h, "conditioner.embedders.1.model.", 64, 2);
    put(&h, "conditioner.embedders.1.model.text_projection", (const int64_t[4]){64, 32});
    put(&h, UNET "label_emb.0.0.weight", (const int64_t[4]){64, 32 + 6 * 256});
    return h;
}

/* ---- what they predict ---- */

#define SAYS(what) "\"__metadata__\":{\"modelspec.prediction_type\":\"" what "\"}"

static void marks_and_metadata_tell_the_prediction(void **state)
{
    (void)state;
    static const struct {
        kind is;
        const char *marks[2], *metadata;
        prediction wanted;
        bool told, zero;
    } cases[] = {
        {SD1, {NULL}, NULL, PREDICT_EPSILON, false, false},
        {SD2, {NULL}, NULL, PREDICT_V, false, false}, /* 2.1's, which most are */
        {SDXL, {NULL}, NULL, PREDICT_EPSILON, false, false},
        {SD1, {"v_pred"}, NULL, PREDICT_V, true, false},
        {SDXL, {"v_pred"}, NULL, PREDICT_V, true, false},
        {SDXL, {"v_pred", "ztsnr"}, NULL, PREDICT_V, true, true},
        {SDXL, {"ztsnr"}, NULL, PREDICT_EPSILON, false, true}, /* with --prediction v_prediction it is a model */
        {SDXL, {NULL}, SAYS("v"), PREDICT_V, true, false},
        {SDXL, {NULL}, SAYS("v_prediction"), PREDICT_V, true, false},
        {SDXL, {NULL}, SAYS("V"), PREDICT_V, true, false},
        {SD1, {NULL}, SAYS("epsilon"), PREDICT_EPSILON, true, false},
        {SD2, {NULL}, SAYS("epsilon"), PREDICT_EPSILON, true, false},
        {SDXL, {"v_pred"}, SAYS("epsilon"), PREDICT_V, true, false}, /* ComfyUI and A1111 go by the tensor */
        {SDXL, {"ztsnr"}, SAYS("v"), PREDICT_V, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = model_of(cases[i].is);
        model *m;
        for (int k = 0; k < 2 && cases[i].marks[k]; k++) put(&h, cases[i].marks[k], (const int64_t[4]){0});
        assert_works(model_open(write_file(&h, cases[i].metadata), &m, &err), &err);
        print_message("case %zu\n", i);
        assert_string_equal(m->family->name, cases[i].is == SD1 ? "sd1" : cases[i].is == SD2 ? "sd2" : "sdxl");
        assert_int_equal(m->schedule.prediction, cases[i].wanted);
        assert_int_equal(m->prediction_told, cases[i].told);
        assert_int_equal(m->schedule.zero_terminal_snr, cases[i].zero);
        /* Or the step at which there is nothing but noise isn't visited. */
        assert_int_equal(m->schedule.spacing, cases[i].zero ? SPACING_TRAILING : SPACING_LEADING);
        assert_false(m->schedule.set_alpha_to_one);
        assert_int_equal(m->zeros_for_none, cases[i].is == SDXL);
        model_close(m);
    }
}

/* ---- text encoders ---- */

static void the_last_layer_is_spare_where_it_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *prefix;
        int64_t width;
        int layers, used;
    } cases[] = {{"cond_stage_model.model.", 1024, 24, 23}, /* Stability AI's */
                 {"cond_stage_model.model.", 1024, 23, 23}, /* of a folder, whose last was left out before */
                 {"cond_stage_model.model.", 128, 3, 2},
                 {"conditioner.embedders.0.model.", 1024, 24, 23}, /* Stable Diffusion 2 out of newer programs */
                 {"conditioner.embedders.0.model.", 1024, 23, 23}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = {0};
        model *m;
        put_unet(&h, cases[i].width, 0);
        put_open_clip(&h, cases[i].prefix, cases[i].width, cases[i].layers);
        assert_works(model_open(write_file(&h, NULL), &m, &err), &err);
        assert_string_equal(m->family->name, "sd2");
        assert_int_equal(m->text.layers, cases[i].used);
        model_close(m);
    }
}

/* ---- others ---- */

static void kin_of_our_models_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        kind is;
        named mark;
        const char *says;
    } cases[] = {{SDXL, {"edm_mean", {1, 4, 1, 1}}, "Playground 2.5"},
                 {SDXL, {"edm_vpred.sigma_max", {1}}, "CosXL"},
                 {SDXL, {UNET "encoder_hid_proj.weight", {64, 64}}, "Kolors"},
                 {SD2, {UNET "label_emb.0.0.weight", {64, 2048}}, "unCLIP"},
                 {SD1, {"conditioner.embedders.0.model.token_embedding.weight", {2, 2}}, "refiner"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = model_of(cases[i].is);
        model *m = NULL;
        put(&h, cases[i].mark.name, cases[i].mark.dims);
        assert_fails(model_open(write_file(&h, NULL), &m, &err), LECO_UNSUPPORTED, &err, "is a checkpoint of",
                     cases[i].says);
    }
    header refiner = {0};
    model *m = NULL;
    put_unet(&refiner, 128, 0);
    put_open_clip(&refiner, "conditioner.embedders.0.model.", 128, 3);
    put(&refiner, UNET "label_emb.0.0.weight", (const int64_t[4]){64, 2560});
    assert_fails(model_open(write_file(&refiner, NULL), &m, &err), LECO_UNSUPPORTED, &err, "refiner",
                 "is a checkpoint");
}

/* The same by leco inspect, which refuses nothing. */
static void assert_inspected(const char *path, const char *says)
{
    char *text = NULL;
    const char *of = strncmp(says, "a LoRA of ", 10) == 0 ? says + 10 : says;
    assert_works(leco_inspect(path, true, &text, &err), &err);
    if (!strstr(text, "\"family\": \"") || !strstr(text, of)) fail_msg("%s doesn't say \"%s\"", text, of);
    leco_free(text);
}

static void other_families_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *says;
    } cases[] = {
        {UNET "joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"},
        {"joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"},
        {UNET "double_blocks.0.img_attn.norm.key_norm.scale", "Flux"},
        {"double_blocks.0.img_attn.norm.key_norm.scale", "Flux"},
        {"single_blocks.0.linear1.weight", "Flux or its kin"},
        {"txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias", "HunyuanVideo"},
        {"mlp_t5.0.weight", "HunyuanDiT"},
        {"clip_txt_mapper.weight", "Stable Cascade"},
        {"down_blocks.1.0.channelwise.0.weight", "Stable Cascade"},
        {"t_block.1.weight", "PixArt"},
        {"head.modulation", "Wan"},
        {"transformer_blocks.0.img_mlp.net.0.proj.weight", "Qwen-Image"},
        {UNET "cond_seq_linear.weight", "AuraFlow"},
        {"noise_refiner.0.attention.k_norm.weight", "Z-Image"},
        {"control_model.input_blocks.0.0.weight", "a ControlNet"},
        {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "a LoRA of Flux"},
        {"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight", "a LoRA of Flux"},
        {"transformer.transformer_blocks.0.attn.to_k.lora_A.weight", "a LoRA of a transformer"},
        {"lora_transformer_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "a LoRA of Stable Diffusion 3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = {0};
        model *m = NULL;
        put(&h, cases[i].tensor, (const int64_t[4]){8, 8});
        const char *path = write_file(&h, NULL);
        assert_fails(model_open(path, &m, &err), LECO_UNSUPPORTED, &err, cases[i].says, "which leco doesn't support");
        assert_inspected(path, cases[i].says);
    }
}

static void a_difference_of_a_layer_is_no_norm(void **state)
{
    (void)state;
    static const struct {
        named tensor;
        const char *says;
    } cases[] = {{{"diffusion_model.middle_block.1.proj_in.diff", {8, 8}}, "\"kind\": \"lora\""},
                 {{"strange.proj_in.diff", {8, 8}}, "\"kind\": \"tensors\""},
                 {{"diffusion_model.middle_block.1.norm.diff", {8}}, "\"kind\": \"norm\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = {0};
        char *text = NULL;
        put(&h, cases[i].tensor.name, cases[i].tensor.dims);
        assert_works(leco_inspect(write_file(&h, NULL), true, &text, &err), &err);
        if (!strstr(text, cases[i].says)) fail_msg("%s doesn't say %s", text, cases[i].says);
        leco_free(text);
    }
}

/* Where a LoRA was to go on a model: the layers of ours. */
static void loras_of_others_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *says;
    } cases[] = {
        {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "Flux"},
        {"lora_transformer_single_transformer_blocks_0_attn_to_k.lora_down.weight", "Flux"},
        {"transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight", "Flux"},
        {"transformer.transformer_blocks.0.attn.to_k.lora_A.weight", "Stable Diffusion 3"},
        {"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight", "Stable Diffusion 3"},
        {"diffusion_model.blocks.0.cross_attn.k.lora_A.weight", "Wan"},
        {"diffusion_model.layers.0.attention.to_k.lora_A.weight", "Z-Image"},
        {"lora_prior_unet_down_blocks_0.lora_down.weight", "Stable Cascade"},
        {"down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_"
         "lora."
         "down.weight",
         "AnimateDiff"},
    };
    model *m;
    adapter_layers layers;
    assert_works(model_open(LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like", &m, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        header h = {0};
        trainable *t = NULL;
        put(&h, cases[i].tensor, (const int64_t[4]){8, 8});
        assert_fails(trainable_load(write_file(&h, NULL), &layers, DTYPE_F32, &t, &err), LECO_UNSUPPORTED, &err,
                     cases[i].says, "which leco doesn't support");
    }
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_and_metadata_tell_the_prediction),
        cmocka_unit_test(the_last_layer_is_spare_where_it_is_there),
        cmocka_unit_test(kin_of_our_models_are_refused_by_name),
        cmocka_unit_test(other_families_are_told),
        cmocka_unit_test(a_difference_of_a_layer_is_no_norm),
        cmocka_unit_test(loras_of_others_are_told),
    };
    return cmocka_run_group_tests_name("unit/checkpoint_marks", tests, NULL, NULL);
}
