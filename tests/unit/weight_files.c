/* Files that were taken for weights: what they are is said. */
#include "model_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "model/model.h"

static leco_error err;

/* ---- dtypes ---- */

static const char *put(const char *name, const char *header, size_t bytes)
{
    static unsigned char all[4096];
    const uint64_t length = strlen(header);
    memset(all, 0, sizeof all);
    memcpy(all, &length, 8);
    memcpy(all + 8, header, length);
    test_write(test_path(name), all, 8 + length + bytes);
    return test_path(name);
}

static void unreadable_weights_are_not_called_missing(void **state)
{
    (void)state;
    static const char *const types[] = {"BOOL", "U8", "I8", "F4_X"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char header[256];
        snprintf(header, sizeof header,
                 "{\"a.weight\":{\"dtype\":\"%s\",\"shape\":[4],\"data_offsets\":[0,4]},"
                 "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
                 types[i]);
        const char *path = put("types.safetensors", header, 8);
        weights *w;
        weight *one;
        assert_works(weights_open_file(path, &w, &err), &err);
        assert_fails(weights_get(w, "a.weight", SHAPE(4), &one, &err), LECO_UNSUPPORTED, &err, path, "\"a.weight\" is ",
                     types[i], "can't read yet", "[4]");
        assert_true(weights_has(w, "a.weight"));
        assert_works(weights_get(w, "b.weight", SHAPE(1), &one, &err), &err);
        assert_fails(weights_get(w, "c.weight", SHAPE(4), &one, &err), LECO_FORMAT, &err, "c.weight", "is missing");
        weights_close(w);
    }
    const char *path =
        put("dims.safetensors", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4);
    weights *w;
    weight *one;
    assert_works(weights_open_file(path, &w, &err), &err);
    assert_fails(weights_get(w, "a", SHAPE(1), &one, &err), LECO_FORMAT, &err, path, "[1]", "7 dimensions");
    weights_close(w);
}

/* Eight bits become bfloat16, which holds all of their values. */
static void small_floats_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        unsigned char bytes[8];
        float values[8];
    } cases[] = {
        {"F8_E4M3", {0x38, 0xc0, 0x01, 0x7e, 0, 0x80, 0x07, 0x08}, {1, -2, 0x1p-9f, 448, 0, -0.0f, 0x7p-9f, 0x1p-6f}},
        {"F8_E5M2",
         {0x3c, 0xc0, 0x01, 0x7b, 0, 0x80, 0x03, 0x04},
         {1, -2, 0x1p-16f, 57344, 0, -0.0f, 0x3p-16f, 0x1p-14f}}};
    for (size_t i = 0; i < 2; i++) {
        char header[256], file[512];
        snprintf(header, sizeof header, "{\"a\":{\"dtype\":\"%s\",\"shape\":[2,4],\"data_offsets\":[0,8]}}",
                 cases[i].type);
        const uint64_t length = strlen(header);
        memcpy(file, &length, 8);
        memcpy(file + 8, header, length);
        memcpy(file + 8 + length, cases[i].bytes, 8);
        const char *path = test_path("small.safetensors");
        test_write(path, file, 16 + length);
        weights *w;
        weight *one;
        assert_works(weights_open_file(path, &w, &err), &err);
        assert_works(weights_get(w, "a", SHAPE(2, 4), &one, &err), &err);
        assert_int_equal(one->type, DTYPE_BF16);
        for (int k = 0; k < 8; k++) assert_true(bf16_to_f32(((const bf16 *)one->data)[k]) == cases[i].values[k]);
        assert_works(weights_check_values(w, &err), &err);
        weights_close(w);
        file[8 + length] = 0x7f; /* NaN */
        test_write(path, file, 16 + length);
        assert_works(weights_open_file(path, &w, &err), &err);
        assert_works(weights_get(w, "a", SHAPE(2, 4), &one, &err), &err);
        assert_fails(weights_check_values(w, &err), LECO_FORMAT, &err, "\"a\": element 0");
        weights_close(w);
    }
}

/* ComfyUI's: a number beside a weight that its values are multiplied by. */
static const char *put_scaled(const char *type, const char *scale_name, const char *scale_shape, float scale,
                              const unsigned char values[8], size_t bytes)
{
    char all[512];
    const float scales[] = {scale, scale};
    const size_t of_scale = strcmp(scale_shape, "[2]") == 0 ? 8 : 4;
    snprintf(all + 8, sizeof all - 8,
             "{\"a.weight\":{\"dtype\":\"%s\",\"shape\":[2,2],\"data_offsets\":[0,%zu]},"
             "\"%s\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[%zu,%zu]},"
             "\"scaled_fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[0],\"data_offsets\":[%zu,%zu]}}",
             type, bytes, scale_name, scale_shape, bytes, bytes + of_scale, bytes + of_scale, bytes + of_scale);
    const uint64_t length = strlen(all + 8);
    memcpy(all, &length, 8);
    memcpy(all + 8 + length, values, bytes);
    memcpy(all + 8 + length + bytes, scales, of_scale);
    const char *path = test_path("scaled.safetensors");
    test_write(path, all, 8 + length + bytes + of_scale);
    return path;
}

static void scales_are_multiplied_in(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        size_t bytes;
        unsigned char values[8];
    } cases[] = {{"F8_E4M3", 4, {0x38, 0xc0, 0x7e, 0}},                 /* 1, -2, 448, 0 */
                 {"F8_E5M2", 4, {0x3c, 0xc0, 0x5f, 0}},                 /* 1, -2, 448, 0 */
                 {"BF16", 8, {0x80, 0x3f, 0, 0xc0, 0xe0, 0x43, 0, 0}}}; /* 1, -2, 448, 0 */
    static const char *const names[] = {"a.scale_weight", "a.weight_scale"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 2; k++) {
            const float scale = k == 0 ? 0.3f : 1e-3f, wanted[] = {scale, -2 * scale, 448 * scale, 0};
            const char *path =
                put_scaled(cases[i].type, names[k], k ? "[1]" : "[]", scale, cases[i].values, cases[i].bytes);
            weights *w;
            weight *one, *again;
            assert_works(weights_open_file(path, &w, &err), &err);
            assert_works(weights_get(w, "a.weight", SHAPE(2, 2), &one, &err), &err);
            assert_int_equal(one->type, DTYPE_F32);
            for (int n = 0; n < 4; n++) assert_true(((const float *)one->data)[n] == wanted[n]);
            assert_works(weights_get(w, "a.weight", SHAPE(2, 2), &again, &err), &err);
            assert_ptr_equal(one, again);
            weights_close(w);
        }
    static const unsigned char ones[8] = {0x38, 0x38, 0x38, 0x38};
    static const struct {
        const char *shape;
        float scale;
        leco_status status;
        const char *says;
    } wrong[] = {{"[2]", 1, LECO_UNSUPPORTED, "one by one"},
                 {"[]", 0, LECO_FORMAT, "a finite number other than 0"},
                 {"[]", INFINITY, LECO_FORMAT, "a finite number other than 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        weights *w;
        weight *one;
        assert_works(
            weights_open_file(put_scaled("F8_E4M3", names[0], wrong[i].shape, wrong[i].scale, ones, 4), &w, &err),
            &err);
        assert_fails(weights_get(w, "a.weight", SHAPE(2, 2), &one, &err), wrong[i].status, &err, "a.scale_weight",
                     wrong[i].says);
        weights_close(w);
    }
    /* One says nothing: the weight stays what it is. */
    weights *w;
    weight *one;
    assert_works(weights_open_file(put_scaled("F8_E4M3", names[0], "[]", 1, ones, 4), &w, &err), &err);
    assert_works(weights_get(w, "a.weight", SHAPE(2, 2), &one, &err), &err);
    assert_int_equal(one->type, DTYPE_BF16);
    weights_close(w);
}

/* A matrix that is stored turned round is scaled, too. */
static void a_turned_matrix_is_scaled(void **state)
{
    (void)state;
    static const unsigned char values[8] = {0x38, 0x40, 0x44, 0x48}; /* 1, 2, 3, 4 */
    safetensors *file;
    weights *w;
    weight *one;
    assert_works(safetensors_open(put_scaled("F8_E4M3", "a.scale_weight", "[]", 0.5f, values, 4), &file, &err), &err);
    assert_works(weights_of(file, &w, &err), &err);
    assert_works(weights_add(w, safetensors_find_any(file, "a.weight"), "turned.weight", -1, true, &err), &err);
    assert_works(weights_get(w, "turned.weight", SHAPE(2, 2), &one, &err), &err);
    static const float wanted[] = {0.5f, 1.5f, 1, 2};
    for (int n = 0; n < 4; n++) assert_true(((const float *)one->data)[n] == wanted[n]);
    weights_close(w);
    safetensors_close(file);
}

/* The numbers of one element, and nothing else: an unknown type's size was never checked. */
static void single_numbers_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        unsigned char bytes[8];
        size_t size;
        bool is_number;
        double value;
    } cases[] = {
        {"I8", {0xfe}, 1, true, -2},
        {"U8", {0xfe}, 1, true, 254},
        {"I16", {0, 0x80}, 2, true, -32768},
        {"U16", {0, 0x80}, 2, true, 32768},
        {"I32", {0xff, 0xff, 0xff, 0xff}, 4, true, -1},
        {"U32", {0xff, 0xff, 0xff, 0xff}, 4, true, 4294967295.0},
        {"I64", {0, 0, 0, 0, 0, 0, 0, 0x80}, 8, true, -9223372036854775808.0},
        {"U64", {0, 0, 0, 0, 0, 0, 0, 0x80}, 8, true, 9223372036854775808.0},
        {"I64", {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 8, true, 9223372036854775807.0},
        {"F16", {0, 0x3c}, 2, true, 1},
        {"F64", {0, 0, 0, 0, 0, 0, 0xf0, 0xbf}, 8, true, -1},
        {"BOOL", {1}, 1, false, 0},
        {"F8_E4M3", {0x38}, 1, false, 0},
        {"I64x", {1}, 1, false, 0},
        {"U128", {1}, 1, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int count = 1; count < 3; count++) {
            unsigned char all[256] = {0};
            snprintf((char *)all + 8, 200, "{\"a\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[0,%zu]}}",
                     cases[i].type, count, (size_t)count * cases[i].size);
            const uint64_t length = strlen((char *)all + 8);
            memcpy(all, &length, 8);
            memcpy(all + 8 + length, cases[i].bytes, cases[i].size);
            const char *path = test_path("number.safetensors");
            test_write(path, all, 8 + length + (size_t)count * cases[i].size);
            safetensors *file;
            const char *name, *type;
            assert_works(safetensors_open(path, &file, &err), &err);
            const safetensors_entry *e =
                safetensors_count(file) ? safetensors_at(file, 0) : safetensors_skipped_at(file, 0, &name, &type);
            double value = 0;
            assert_string_equal(safetensors_type(e), cases[i].type);
            assert_int_equal(safetensors_number(e, &value), cases[i].is_number && count == 1);
            if (count == 1) assert_true(value == cases[i].value);
            safetensors_close(file);
        }
    }
}

/* ---- other files ---- */

#define ZIP(name_length) "PK\3\4\0\0\10\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" name_length "\0\0\0"

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *bytes;
    size_t size;
    const char *says, *too;
} strangers[] = {
    {BYTES(ZIP("\20") "archive/data.pkl...."), "PyTorch .pt/.ckpt file", "convert it to .safetensors"},
    {BYTES("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19."), "PyTorch .pt/.ckpt file", "convert it to .safetensors"},
    {BYTES("\x80\4\x95 ........"), "PyTorch .pt/.ckpt file", "convert it to .safetensors"},
    {BYTES(ZIP("\10") "mimetype............"), "a zip archive", "no safetensors file"},
    {BYTES(ZIP("\377") "archive/data.pkl"), "a zip archive", "no safetensors file"}, /* a name longer than the file */
    {BYTES("PK\3\4\1\1\1\1\1\1\1\1"), "a zip archive", "no safetensors file"},
    {BYTES("GGUF\3\0\0\0...."), "GGUF", "no safetensors file"},
    {BYTES("version https://git-lfs.github.com/spec/v1\noid"), "Git LFS pointer", "git lfs pull"},
    {BYTES("<!DOCTYPE html><html>"), "web page", "no safetensors file"},
    {BYTES("<html><head></head>"), "web page", "no safetensors file"},
    {BYTES("{\"metadata\": {}}"), "JSON", "no safetensors file"},
    {BYTES("\x89PNG\r\n\x1a\n............"), "PNG", "no safetensors file"},
    {BYTES("target: red\npositive: r\xc3\xb6t\n"), "a text", "no safetensors file"},
    {BYTES("...........\1........"), "no safetensors file", "the length of its header"},
};

static void strangers_are_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++) {
        const char *path = test_path("stranger.safetensors");
        test_write(path, strangers[i].bytes, strangers[i].size);
        safetensors *file;
        assert_fails(safetensors_open(path, &file, &err), LECO_FORMAT, &err, path, strangers[i].says, strangers[i].too);
    }
    /* A header may be as long as these bytes say; this is no zip. */
    static const char header[] = "PK\3\4\0\0\0\0";
    test_write(test_path("long.safetensors"), header, 8);
    safetensors *file;
    assert_fails(safetensors_open(test_path("long.safetensors"), &file, &err), LECO_FORMAT, &err, "zip archive");
}

static void files_are_no_models(void **state)
{
    (void)state;
    model *m;
    static const struct {
        const char *tensor, *says;
    } cases[] = {
        {"model.diffusion_model.out.2.bias", "without the beginning of its U-Net"},
        {"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight", "--lora"},
        {"unet.mid_block.attentions.0.proj_in.lora_A.weight", "--lora"},
        {"down_blocks.0.resnets.0.conv1.bias", "model_index.json"},
        {"text_model.embeddings.token_embedding.weight", "model_index.json"},
        {"emb_params", "textual-inversion"},
        {"x", "without the names of a model"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static const char *const types[] = {"F32", "F8_E4M3"};
        for (int k = 0; k < 2; k++) {
            char all[512];
            snprintf(all, sizeof all, "{\"%s\":{\"dtype\":\"%s\",\"shape\":[%d],\"data_offsets\":[0,4]}}",
                     cases[i].tensor, types[k], k == 0 ? 1 : 4);
            const char *path = put("single.safetensors", all, 4);
            assert_fails(model_open(path, &m, &err), LECO_UNSUPPORTED, &err, path, "is no model", cases[i].says);
            assert_null(m);
        }
    }
    for (size_t i = 0; i < 3; i++) { /* the pickles */
        const char *path = test_path("single.ckpt");
        test_write(path, strangers[i].bytes, strangers[i].size);
        assert_fails(model_open(path, &m, &err), LECO_FORMAT, &err, path,
                     i == 0 ? "a zip archive" : "a damaged pickle");
    }
    test_write(test_path("nothing"), "....", 4);
    assert_fails(model_open(test_path("nothing"), &m, &err), LECO_UNSUPPORTED, &err, "is no model", "a text");
    test_write(test_path("nothing"), "..\1.", 4);
    assert_fails(model_open(test_path("nothing"), &m, &err), LECO_IO, &err, "nothing", "is no model");
}

/* ---- folders ---- */

static void folders_say_what_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *files[4];
        leco_status status;
        const char *says, *too;
    } cases[] = {
        {{"config.json"}, LECO_IO, "no weights here", "diffusion_pytorch_model.safetensors"},
        {{"pytorch_model.bin"}, LECO_FORMAT, "/pytorch_model.bin", "0 bytes"},
        {{"diffusion_pytorch_model.fp16.bin"}, LECO_FORMAT, "/diffusion_pytorch_model.fp16.bin", "0 bytes"},
        {{"model.ckpt"}, LECO_IO, "found model.ckpt", "expected"},
        {{"b.bin", "a.bin", "c.bin"}, LECO_IO, "found a.bin", "expected"},
        {{"model.safetensors.index.json"}, LECO_FORMAT, "/model.safetensors.index.json:1", ""},
        {{"model.safetensors.index.fp16.json", "pytorch_model.bin"},
         LECO_FORMAT,
         "/model.safetensors.index.fp16.json",
         ""},
        {{"model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"},
         LECO_IO,
         "(model-00001-of-00002.safetensors)",
         "no index"},
        {{"diffusion_pytorch_model.fp16-00001-of-00003.safetensors"}, LECO_IO, "fp16-00001", "no index"},
        {{"model.non_ema.safetensors", "other.bin"}, LECO_FORMAT, "/model.non_ema.safetensors", "0 bytes"},
        {{"model.non-ema.safetensors", "other.bin"}, LECO_IO, "found model.non-ema.safetensors", "expected"},
        {{"model.bf16.safetensors", "pytorch_model.bf16.bin"}, LECO_FORMAT, "/model.bf16.safetensors", "0 bytes"},
        {{"model.ema.safetensors", "model.non_ema.safetensors", "other.safetensors"},
         LECO_INVALID,
         "several variants only, model.ema.safetensors and model.non_ema.safetensors",
         "name the one you want model.safetensors"},
        {{"diffusion_pytorch_model.ema.bin", "diffusion_pytorch_model.non_ema.safetensors"},
         LECO_INVALID,
         "several variants only",
         "the one you want diffusion_pytorch_model.safetensors"},
        {{"diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.fp16.safetensors"},
         LECO_FORMAT,
         "/diffusion_pytorch_model.fp16.safetensors",
         "0 bytes"},
        {{"diffusion_pytorch_model.safetensors.index.bf16.json",
          "diffusion_pytorch_model.bf16-00001-of-00002.safetensors"},
         LECO_FORMAT,
         "/diffusion_pytorch_model.safetensors.index.bf16.json",
         ""},
        {{"diffusion_flax_model.msgpack"}, LECO_UNSUPPORTED, "Flax", "diffusion_flax_model.msgpack"},
        {{"tf_model.h5"}, LECO_UNSUPPORTED, "TensorFlow", "tf_model.h5"},
        {{"model.onnx"}, LECO_UNSUPPORTED, "ONNX", "model.onnx"},
        {{".bin"}, LECO_IO, "no weights here", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[512], path[1024], name[32];
        snprintf(name, sizeof name, "folder%zu", i);
        snprintf(folder, sizeof folder, "%s", test_path(name));
        assert_int_equal(mkdir(folder, 0755), 0);
        for (int k = 0; k < 4 && cases[i].files[k]; k++) {
            snprintf(path, sizeof path, "%s/%s", folder, cases[i].files[k]);
            test_write(path, "", 0);
        }
        weights *w;
        assert_fails(weights_open(folder, &w, &err), cases[i].status, &err, folder, cases[i].says, cases[i].too);
        assert_null(w);
    }
}

static void broken_links_are_told(void **state)
{
    (void)state;
    static const char *const names[] = {"model.safetensors", "diffusion_pytorch_model.fp16.safetensors",
                                        "pytorch_model.bin.index.json", "model.ema.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[512], path[1024], name[32];
        snprintf(name, sizeof name, "links%zu", i);
        snprintf(folder, sizeof folder, "%s", test_path(name));
        assert_int_equal(mkdir(folder, 0755), 0);
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(symlink("../../blobs/0123", path), 0);
        weights *w;
        assert_fails(weights_open(folder, &w, &err), LECO_IO, &err, path, "is a link to ../../blobs/0123",
                     "isn't there");
        snprintf(path, sizeof path, "%s/pytorch_model.fp16.bin", folder); /* what is there goes first */
        test_write(path, "", 0);
        assert_fails(weights_open(folder, &w, &err), LECO_FORMAT, &err, path, "0 bytes");
    }
}

static void memory_may_run_out(void **state)
{
    (void)state;
    char folder[512], path[1024];
    snprintf(folder, sizeof folder, "%s", test_path("pickles"));
    assert_int_equal(mkdir(folder, 0755), 0);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    test_write(path, "", 0);
    for (int i = 0; i < 2; i++) { /* a folder of weights; a file as a model */
        for (uint64_t nth = 1;; nth++) {
            weights *w = NULL;
            model *m = NULL;
            uint64_t before = mem_allocations();
            mem_fail_at(nth);
            leco_status status =
                i == 0 ? weights_open(folder, &w, &err) : model_open(FIXTURE("sd1-like/lora2.safetensors"), &m, &err);
            mem_fail_at(0);
            assert_null(w);
            assert_null(m);
            bool reached = mem_allocations() - before >= nth;
            assert_int_equal(status, reached ? LECO_MEMORY : LECO_UNSUPPORTED);
            if (!reached) break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable_weights_are_not_called_missing),
        cmocka_unit_test(small_floats_are_read),
        cmocka_unit_test(scales_are_multiplied_in),
        cmocka_unit_test(a_turned_matrix_is_scaled),
        cmocka_unit_test(single_numbers_are_read),
        cmocka_unit_test(strangers_are_named),
        cmocka_unit_test(files_are_no_models),
        cmocka_unit_test(folders_say_what_is_there),
        cmocka_unit_test(broken_links_are_told),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
