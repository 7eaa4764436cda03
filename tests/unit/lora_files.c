/* LoRA files as people have them: dtypes of all sorts, other programs' names, layers that the model lacks. What can't
 * be loaded is refused with the tensor's name and what it is; nothing is left out unsaid. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/kinds.h"
#include "test_lora.h"

#define UNET_LAYER "lora_unet_mid_block_attentions_0_proj_in" /* 24 channels in and out */
#define TEXT_LAYER(prefix, n)                                                                                          \
    prefix "text_model_encoder_layers_" #n "_mlp_fc1" /* 24 in, 72 out; the model has 0 to 3 */

/* ---- files made by hand: safetensors_write knows no foreign types ---- */

typedef struct made {
    char header[16384];
    unsigned char data[1 << 16];
    size_t used;
    const char *path;
} made;

static made file;

static void begin(void)
{
    file.used = 0;
    strcpy(file.header, "{");
}

static void add(const char *name, const char *type, const char *dims, const void *data, size_t bytes)
{
    size_t length = strlen(file.header);
    assert_true(file.used + bytes <= sizeof file.data);
    if (data)
        memcpy(file.data + file.used, data, bytes);
    else
        memset(file.data + file.used, 0, bytes);
    snprintf(file.header + length, sizeof file.header - length,
             "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", length > 1 ? "," : "", name, type,
             dims, file.used, file.used + bytes);
    file.used += bytes;
}

static const char *finish(void)
{
    static unsigned char bytes[sizeof file.header + sizeof file.data + 8];
    strcat(file.header, "}");
    const uint64_t length = strlen(file.header);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, file.header, length);
    memcpy(bytes + 8 + length, file.data, file.used);
    file.path = test_path("made.safetensors");
    test_write(file.path, bytes, 8 + length + file.used);
    return file.path;
}

/* down [rank,in] and up [out,rank] of zeros. */
static void add_layer(const char *key, int rank, int in, int out)
{
    char name[256], dims[32];
    snprintf(name, sizeof name, "%s.lora_down.weight", key);
    snprintf(dims, sizeof dims, "[%d,%d]", rank, in);
    add(name, "F32", dims, NULL, (size_t)(4 * rank * in));
    snprintf(name, sizeof name, "%s.lora_up.weight", key);
    snprintf(dims, sizeof dims, "[%d,%d]", out, rank);
    add(name, "F32", dims, NULL, (size_t)(4 * rank * out));
}

static unet_config unet_c;
static text_config text_c;
static char warnings[1024];
static int warning_count;

static void keep_warning(void *user, log_level level, const char *message)
{
    (void)user;
    if (level != LOG_WARNING) return;
    snprintf(warnings, sizeof warnings, "%s", message);
    warning_count++;
}

static leco_status load(trainable **l, leco_error *err)
{
    warnings[0] = '\0';
    warning_count = 0;
    return test_lora_load(finish(), &unet_c, &text_c, DTYPE_F32, l, err);
}

static void refused(leco_status status, const char *one, const char *two)
{
    leco_error err = {0};
    trainable *l;
    assert_fails(load(&l, &err), status, &err, file.path, one, two);
    assert_null(l);
}

/* ---- dtypes ---- */

static void unreadable_types_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t size;
    } types[] = {{"F8_E8M0", 1}, {"F4_X", 1}, {"BOOL", 1}, {"I8", 1},  {"U8", 1},
                 {"I16", 2},     {"U16", 2},  {"U32", 4},  {"U64", 8}, {"C64", 8}};
    static const char *const parts[] = {"lora_down.weight", "lora_up.weight"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        for (int part = 0; part < 2; part++) {
            begin();
            add_layer("lora_unet_mid_block_attentions_0_proj_out", 2, 24, 24); /* the rest of the file is fine */
            add(part == 0 ? UNET_LAYER ".lora_down.weight" : UNET_LAYER ".lora_up.weight", types[i].name,
                part == 0 ? "[2,24]" : "[24,2]", NULL, 48 * types[i].size);
            add(part == 1 ? UNET_LAYER ".lora_down.weight" : UNET_LAYER ".lora_up.weight", "F32",
                part == 1 ? "[2,24]" : "[24,2]", NULL, 192);
            char says[128];
            snprintf(says, sizeof says, "\"" UNET_LAYER ".%s\" is %s,", parts[part], types[i].name);
            refused(LECO_UNSUPPORTED, says, "can't read yet");
        }
    }
    /* A whole module of it, and alphas, which used to count as missing. */
    begin();
    add(UNET_LAYER ".lora_down.weight", "F8_E8M0", "[2,24]", NULL, 48);
    add(UNET_LAYER ".lora_up.weight", "F8_E8M0", "[24,2]", NULL, 48);
    refused(LECO_UNSUPPORTED, UNET_LAYER, "F8_E8M0");
    static const char *const no_numbers[] = {"BOOL", "F4_X", "I64x", "I4", "U1", "U"};
    for (size_t i = 0; i < sizeof no_numbers / sizeof *no_numbers; i++) {
        begin();
        add_layer(UNET_LAYER, 2, 24, 24);
        add(UNET_LAYER ".alpha", no_numbers[i], "[]", "\x38", 1);
        refused(LECO_UNSUPPORTED, "\"" UNET_LAYER ".alpha\" is ", no_numbers[i]);
    }
}

#define BYTES(type, value) (const void *)&(const type){value}, sizeof(type)

static void alphas_are_of_any_type(void **state)
{
    (void)state;
    const struct {
        const char *type;
        const void *data;
        size_t bytes;
        float alpha;
    } cases[] = {
        {"I64", BYTES(int64_t, 3), 3},
        {"I32", BYTES(int32_t, 3), 3},
        {"I16", BYTES(int16_t, 3), 3},
        {"I8", BYTES(int8_t, 3), 3},
        {"U64", BYTES(uint64_t, 3), 3},
        {"U32", BYTES(uint32_t, 3), 3},
        {"U16", BYTES(uint16_t, 65535), 65535},
        {"U8", BYTES(uint8_t, 200), 200},
        {"F64", BYTES(double, 1.5), 1.5f},
        {"F32", BYTES(float, 1.5f), 1.5f},
        {"F16", BYTES(uint16_t, 0x3e00), 1.5f},
        {"BF16", BYTES(uint16_t, 0x3fc0), 1.5f},
        {"I64", BYTES(int64_t, -2), -2},
        {"I16", BYTES(int16_t, -300), -300},
        {"I8", BYTES(int8_t, -128), -128},
        {"F32", BYTES(float, -2), -2}, /* turns the effect round, as everywhere */
    };
    static const char *const shapes[] = {"[]", "[1]", "[1,1]"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
            leco_error err = {0};
            trainable *l;
            begin();
            add_layer(UNET_LAYER, 2, 24, 24);
            add(UNET_LAYER ".alpha", cases[i].type, shapes[k], cases[i].data, cases[i].bytes);
            assert_works(load(&l, &err), &err);
            if (trainable_module_at(l, 0)->alpha != cases[i].alpha)
                fail_msg("%s: %g", cases[i].type, (double)trainable_module_at(l, 0)->alpha);
            assert_int_equal(warning_count, 0);
            trainable_destroy(l);
        }
    }
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add(UNET_LAYER ".alpha", "I64", "[2]", NULL, 16);
    refused(LECO_FORMAT, UNET_LAYER ".alpha", "expected one number, found 2");
}

static void an_alpha_of_0_is_the_rank(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    static const char *const types[] = {"F32", "I32"};
    for (int i = 0; i < 2; i++) {
        begin();
        add_layer(UNET_LAYER, 2, 24, 24);
        add(UNET_LAYER ".alpha", types[i], "[]", NULL, 4);
        assert_works(load(&l, &err), &err);
        assert_true(trainable_module_at(l, 0)->alpha == 2);
        assert_int_equal(warning_count, 1);
        assert_non_null(strstr(warnings, "alpha is 0 in 1 modules"));
        trainable_destroy(l);
    }
}

static void alphas_are_finite(void **state)
{
    (void)state;
    static const double large = 1e300;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        begin();
        add_layer(UNET_LAYER, 2, 24, 24);
        if (i < 3)
            add(UNET_LAYER ".alpha", "F32", "[]", &bad[i], sizeof bad[i]);
        else
            add(UNET_LAYER ".alpha", "F64", "[]", &large, sizeof large);
        refused(LECO_FORMAT, UNET_LAYER ".alpha", "finite");
    }
}

/* ---- text encoders ---- */

static void the_first_of_two_text_encoders_is_the_only_one(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(TEXT_LAYER("lora_te1_", 1), 2, 24, 72);
    assert_works(load(&l, &err), &err);
    assert_int_equal(trainable_module_count(l), 1);
    assert_int_equal(trainable_module_at(l, 0)->layer.part, PART_TEXT_ENCODER);
    assert_string_equal(trainable_module_at(l, 0)->layer.path, "text_model.encoder.layers.1.mlp.fc1");
    trainable_destroy(l);

    begin();
    add_layer(TEXT_LAYER("lora_te1_", 1), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te2_", 1), 2, 24, 72);
    refused(LECO_INVALID, TEXT_LAYER("lora_te2_", 1), "two text encoders; this model has one");
    begin();
    add_layer(TEXT_LAYER("lora_te1_", 1), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te_", 1), 2, 24, 72);
    refused(LECO_FORMAT, TEXT_LAYER("lora_te1_", 1), "for the same layer");
    begin();
    add_layer("lora_te1_text_model_nothing", 2, 24, 72);
    refused(LECO_INVALID, "lora_te1_text_model_nothing", "another model");
}

static void text_layers_beyond_the_last_are_left_out(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(TEXT_LAYER("lora_te_", 3), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te_", 4), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te1_", 11), 2, 24, 72);
    add(TEXT_LAYER("lora_te_", 4) ".alpha", "F8_E4M3", "[]", NULL, 1); /* of any type: it isn't read */
    assert_works(load(&l, &err), &err);
    assert_int_equal(trainable_module_count(l), 1);
    assert_int_equal(warning_count, 1);
    assert_non_null(strstr(warnings, "5 tensors are not used"));
    assert_non_null(strstr(warnings, "from number 4 on"));
    trainable_destroy(l);

    static const char *const unknown[] = {
        "lora_te_text_model_encoder_layers_4_mlp_fc3", /* no such layer at any depth */
        "lora_te_text_model_encoder_layers__mlp_fc1",  /* no number */
        "lora_te_text_model_encoder_layers_-4_mlp_fc1", "lora_te_text_model_encoder_layer_4_mlp_fc1",
        "lora_unet_mid_block_attentions_1_proj_in",
    };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        begin();
        add_layer(TEXT_LAYER("lora_te_", 3), 2, 24, 72);
        add_layer(unknown[i], 2, 24, 72);
        refused(LECO_INVALID, unknown[i], "for another model");
    }
    begin();
    add_layer(TEXT_LAYER("lora_te_", 99999999999999999999), 2, 24, 72);
    refused(LECO_FORMAT, "holds no LoRA", "that the model has");
}

/* The same of a model with two text encoders, of four layers and two. */
static void each_text_encoder_has_a_last_layer(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    model m = {.unet = unet_c, .text = text_c, .text_2 = text_c};
    adapter_layers layers = {0};
    m.text_2.layers = 2;
    static const model_part parts[] = {PART_UNET, PART_TEXT_ENCODER, PART_TEXT_ENCODER_2};
    for (int i = 0; i < 3; i++) assert_works(model_layers(&m, parts[i], &layers.part[parts[i]], &err), &err);

    begin();
    add_layer(TEXT_LAYER("lora_te1_", 3), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te2_", 1), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te2_", 2), 2, 24, 72);
    add_layer("text_encoder_2.text_model.encoder.layers.31.mlp.fc1", 2, 24, 72);
    warning_count = 0;
    assert_works(trainable_load(finish(), &layers, DTYPE_F32, &l, &err), &err);
    assert_int_equal(trainable_module_count(l), 2);
    assert_int_equal(trainable_module_at(l, 1)->layer.part, PART_TEXT_ENCODER_2);
    assert_int_equal(warning_count, 1);
    assert_non_null(strstr(warnings, "4 tensors are not used"));
    assert_non_null(strstr(warnings, "from number 2 on, which the model's second text encoder lacks"));
    trainable_destroy(l);

    begin();
    add_layer(TEXT_LAYER("lora_te2_", 1), 2, 24, 72);
    add_layer("lora_te2_text_model_encoder_layers_31_mlp_fc3", 2, 24, 72);
    assert_fails(trainable_load(finish(), &layers, DTYPE_F32, &l, &err), LECO_INVALID, &err, file.path,
                 "lora_te2_text_model_encoder_layers_31_mlp_fc3", "for a layer that the model doesn't have");
    model_free_layers(&m);
}

/* ---- what trainers leave beside a LoRA ---- */

static void strays_are_left_out(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    static const char *const names[] = {"epoch", "step", "global_step", "unet.conv_in.base_layer.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        begin();
        add_layer(UNET_LAYER, 2, 24, 24);
        add(names[i], i == 0 ? "I64" : i == 1 ? "BOOL" : "F16", "[1]", NULL, i == 0 ? 8 : i == 1 ? 1 : 2);
        assert_works(load(&l, &err), &err);
        assert_int_equal(trainable_module_count(l), 1);
        assert_int_equal(warning_count, 1);
        assert_non_null(strstr(warnings, "1 tensor is no part of a LoRA"));
        assert_non_null(strstr(warnings, names[i]));
        trainable_destroy(l);
        begin();
        add(names[i], "F32", "[1]", NULL, 4);
        refused(LECO_FORMAT, "holds no LoRA", "");
    }
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add("step", "F32", "[2]", NULL, 8); /* no counter */
    refused(LECO_FORMAT, "\"step\"", "not a LoRA");
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add("unet.conv_in.base_layer.bias", "F32", "[1]", NULL, 4);
    refused(LECO_UNSUPPORTED, "base_layer.bias", "trained beside the LoRA");
}

static void an_alpha_of_nothing_is_left_out(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add("lora_unet_mid_block_attentions_0_proj_out.alpha", "F32", "[]", NULL, 4);
    assert_works(load(&l, &err), &err);
    assert_int_equal(trainable_module_count(l), 1);
    assert_int_equal(warning_count, 1);
    assert_non_null(strstr(warnings, "1 layer has an alpha and no other tensor"));
    trainable_destroy(l);
    begin();
    add("lora_unet_mid_block_attentions_0_proj_out.alpha", "F32", "[]", NULL, 4);
    refused(LECO_FORMAT, "holds no LoRA", "");
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add("lora_unet_mid_block_attentions_0_proj_out.alpha", "F32", "[]", NULL, 4);
    add("lora_unet_mid_block_attentions_0_proj_out.lora_up.weight", "F32", "[24,2]", NULL, 192);
    refused(LECO_FORMAT, "lora_unet_mid_block_attentions_0_proj_out.lora_down.weight", "is missing");
}

/* ---- what isn't a LoRA of the usual sort ---- */

static void other_kinds_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        leco_status status;
        const char *says;
    } cases[] = {
        {UNET_LAYER ".hada_t1", LECO_FORMAT, "two matrices beside it"},
        {UNET_LAYER ".lokr_t2", LECO_FORMAT, "two matrices beside it"},
        {UNET_LAYER ".lora_magnitude_vector", LECO_UNSUPPORTED, "DoRA"},
        {UNET_LAYER ".lora_mid.weight", LECO_FORMAT, "a .lora_down.weight beside it"},
        {UNET_LAYER ".diff", LECO_FORMAT, "a linear or convolution layer has no such tensor"},
        {UNET_LAYER ".w_norm", LECO_FORMAT, "a linear or convolution layer has no such tensor"},
        {UNET_LAYER ".diff_b", LECO_INVALID, "has shape [4], expected [24]"},
        {UNET_LAYER ".oft_blocks", LECO_FORMAT, "square blocks [count,side,side]"},
        {UNET_LAYER ".oft_r.weight", LECO_UNSUPPORTED, "an OFT of another form"},
        {UNET_LAYER ".rescale", LECO_UNSUPPORTED, "an OFT whose blocks aren't beside it"},
        {UNET_LAYER ".bm.weight", LECO_FORMAT, "a .b2.weight beside it"},
        {UNET_LAYER ".on_input", LECO_UNSUPPORTED, "an (IA)^3 whose scale isn't beside it"},
        {UNET_LAYER ".weight", LECO_UNSUPPORTED, "a scale of which nothing says what it scales"},
        {"lora_unet_down_blocks_0_attentions_0_norm.w_norm", LECO_INVALID, "has shape [4], expected [8]"},
        {"lora_unet_down_blocks_0_attentions_0_norm.b_norm", LECO_INVALID, "has shape [4], expected [8]"},
        {"lora_unet_down_blocks_0_attentions_0_norm.lora_up.weight", LECO_FORMAT, "a norm has no such tensor"},
        {"lora_te_text_model_final_layer_norm.w_norm", LECO_INVALID, "has shape [4], expected [24]"},
        {UNET_LAYER ".nothing", LECO_UNSUPPORTED, "only lora_down.weight, lora_up.weight, hada_w1_a, "},
        {UNET_LAYER, LECO_UNSUPPORTED,
         "oft_blocks, oft_diag, weight with on_input, w_norm, diff, diff_b, b_norm and alpha"},
        {"emb_params", LECO_UNSUPPORTED, "textual-inversion embedding, not a LoRA"},
        {"model.diffusion_model.input_blocks.0.0.weight", LECO_UNSUPPORTED, "whole checkpoint"},
        {"lora_unet_input_blocks_4_0_strange.alpha", LECO_UNSUPPORTED, "original checkpoints"},
        {"conv_in.weight", LECO_FORMAT, "kohya"},
        {"lora_transformer_blocks_0_attn.alpha", LECO_FORMAT, "kohya"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int foreign = 0; foreign < 2; foreign++) { /* its dtype changes nothing */
            begin();
            add_layer("lora_unet_mid_block_attentions_0_proj_out", 2, 24, 24);
            add(cases[i].name, foreign ? "F8_E4M3" : "F16", "[4]", NULL, foreign ? 4 : 8);
            refused(cases[i].status, cases[i].name, cases[i].says);
        }
    }
}

/* Cores that don't fit what is beside them, or would make too much of it. */
static void odd_cores_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *core, *b, *says;
    } cases[] = {
        {"[2,3,1,1]", "[2,24]", "as many rows as the core"},     {"[2,2,3]", "[2,24]", "four dimensions"},
        {"[2,2,1,1]", "[2,24,2,2]", "as many rows as the core"}, {"[2,2,1,1]", "[48]", "as many rows as the core"},
        {"[8192,1,1,1]", "[1,8193]", "a size that layers have"}, {"[2,0,1,1]", "[0,24]", "four dimensions"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t counts[2] = {1, 1};
        for (int k = 0; k < 2; k++)
            for (const char *c = k ? cases[i].b : cases[i].core; *c; c++)
                if (strchr("[,", *c)) counts[k] *= (size_t)strtoul(c + 1, NULL, 10);
        begin();
        add(UNET_LAYER ".lora_mid.weight", "F16", cases[i].core, NULL, 2 * counts[0]);
        add(UNET_LAYER ".lora_down.weight", "F16", cases[i].b, NULL, 2 * counts[1]);
        add(UNET_LAYER ".lora_up.weight", "F16", "[24,2]", NULL, 96);
        leco_error err = {0};
        trainable *l;
        const leco_status status = load(&l, &err);
        if (status != LECO_OK && !strstr(err.message, cases[i].says) && !strstr(err.message, "expected ["))
            fail_msg("\"%s\" doesn't say \"%s\"", err.message, cases[i].says);
        if (status != LECO_FORMAT && status != LECO_INVALID)
            fail_msg("%s and %s: status %d, \"%s\"", cases[i].core, cases[i].b, (int)status, err.message);
        assert_null(l);
    }
}

/* Forms that are computed before they are loaded: what doesn't fit together, and sizes that nobody has. */
static void odd_forms_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *suffix, *dims;
        size_t count;
        const char *other, *other_dims;
        size_t other_count;
        leco_status status;
        const char *says;
    } cases[] = {
        {".oft_blocks", "[2,12,6]", 144, NULL, NULL, 0, LECO_FORMAT, "square blocks"},
        {".oft_blocks", "[2,0,0]", 0, NULL, NULL, 0, LECO_FORMAT, "square blocks"},
        {".oft_blocks", "[2,6,6]", 72, NULL, NULL, 0, LECO_INVALID, "has shape [12,12], expected [24,24]"},
        {".oft_blocks", "[8193,1,1]", 8193, NULL, NULL, 0, LECO_FORMAT, "of a size that layers have"},
        {".oft_blocks", "[2,12,12]", 288, ".rescale", "[23]", 23, LECO_FORMAT, "each of the layer's outputs"},
        {".oft_blocks", "[2,12,12]", 288, ".alpha", "[2]", 2, LECO_FORMAT, "a finite number"},
        {".oft_blocks", "[2,12,12]", 288, ".dora_scale", "[24]", 24, LECO_FORMAT, "is missing"},
        {".weight", "[24]", 24, ".on_input", "[2]", 2, LECO_FORMAT, "a number, 0 or 1"},
        {".weight", "[23]", 23, ".on_input", "[]", 1, LECO_INVALID, "has shape [23], expected [24]"},
        {".a1.weight", "[24,2]", 48, ".a2.weight", "[2,24]", 48, LECO_FORMAT, ".b1.weight\" is missing"},
        {".diff_b", "[24]", 24, ".b_norm", "[24]", 24, LECO_FORMAT, "for the same layer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[256];
        begin();
        snprintf(name, sizeof name, UNET_LAYER "%s", cases[i].suffix);
        add(name, "F16", cases[i].dims, NULL, 2 * cases[i].count);
        snprintf(name, sizeof name, UNET_LAYER "%s", cases[i].other ? cases[i].other : "");
        if (cases[i].other) add(name, "F16", cases[i].other_dims, NULL, 2 * cases[i].other_count);
        refused(cases[i].status, UNET_LAYER, cases[i].says);
    }
}

/* A layer may have a change of its bias beside another module, or alone; and norms have theirs. */
static void biases_are_modules_of_their_own(void **state)
{
    (void)state;
    static const char *const kinds[] = {"lora", "bias", "bias", "norm", "bias", "norm"};
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add(UNET_LAYER ".diff_b", "F32", "[24]", NULL, 96);
    add(UNET_LAYER ".alpha", "I64", "[]", NULL, 8);
    add("lora_unet_mid_block_attentions_0_proj_out.diff_b", "F16", "[24]", NULL, 48);
    add("lora_unet_mid_block_attentions_0_norm.w_norm", "F32", "[24]", NULL, 96);
    add("lora_unet_mid_block_attentions_0_norm.b_norm", "F32", "[24]", NULL, 96);
    add("lora_te_text_model_final_layer_norm.diff", "F32", "[24]", NULL, 96);
    assert_works(load(&l, &err), &err);
    assert_int_equal(trainable_module_count(l), 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(trainable_module_at(l, i)->kind->name, kinds[i]);
    trainable_destroy(l);
}

/* A LoRA that comes with embeddings is a LoRA. */
static void bundled_embeddings_are_left_out(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(UNET_LAYER, 2, 24, 24);
    add("bundle_emb.mine.string_to_param.*", "F16", "[4]", NULL, 8);
    assert_works(load(&l, &err), &err);
    assert_int_equal(trainable_module_count(l), 1);
    trainable_destroy(l);
}

/* Allocations on the way fail: each of those at the end, when the file's tensors are looked at; before, when the
 * model's layers are listed, there are hundreds alike. */
static void memory_may_run_out(void **state)
{
    (void)state;
    leco_error err = {0};
    trainable *l;
    begin();
    add_layer(TEXT_LAYER("lora_te1_", 3), 2, 24, 72);
    add_layer(TEXT_LAYER("lora_te1_", 4), 2, 24, 72);
    const uint64_t before = mem_allocations();
    assert_works(load(&l, &err), &err);
    trainable_destroy(l);
    const uint64_t count = mem_allocations() - before;
    for (uint64_t nth = 1; nth <= count; nth += nth + 150 < count ? 97 : 1) {
        mem_fail_at(nth);
        leco_status status = test_lora_load(file.path, &unet_c, &text_c, DTYPE_F32, &l, &err);
        mem_fail_at(0);
        assert_int_equal(status, LECO_MEMORY);
        assert_null(l);
    }
}

static int set_up(void **state)
{
    (void)state;
    leco_error err = {0};
    assert_works(unet_config_read(FIXTURE("sd1-like/unet"), &unet_c, &err), &err);
    assert_works(text_config_read(FIXTURE("sd1-like/text_encoder"), &text_c, &err), &err);
    log_set_callback(keep_warning, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable_types_are_refused),
        cmocka_unit_test(alphas_are_of_any_type),
        cmocka_unit_test(an_alpha_of_0_is_the_rank),
        cmocka_unit_test(alphas_are_finite),
        cmocka_unit_test(the_first_of_two_text_encoders_is_the_only_one),
        cmocka_unit_test(text_layers_beyond_the_last_are_left_out),
        cmocka_unit_test(each_text_encoder_has_a_last_layer),
        cmocka_unit_test(strays_are_left_out),
        cmocka_unit_test(an_alpha_of_nothing_is_left_out),
        cmocka_unit_test(other_kinds_are_named),
        cmocka_unit_test(odd_cores_are_told),
        cmocka_unit_test(odd_forms_are_told),
        cmocka_unit_test(biases_are_modules_of_their_own),
        cmocka_unit_test(bundled_embeddings_are_left_out),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
