/* PyTorch's files: what torch.save writes, in both forms, and what is no such file, or wants to be more. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "format/tensors.h"
#include "format/torch.h"
#include "model/weights.h"

static leco_error err;

#define FIXTURE(name) LECO_SOURCE_DIR "/tests/parity/fixtures/torch/" name

/* Bytes of an entry of a type that leco computes with. */
static size_t bytes_of(const safetensors_entry *e)
{
    return e->count * dtype_size(e->type);
}

static void read_all(const char *path, unsigned char **bytes, size_t *size)
{
    file_map map;
    assert_works(file_map_open(path, &map, &err), &err);
    *bytes = malloc(map.size);
    assert_non_null(*bytes);
    memcpy(*bytes, map.data, map.size);
    *size = map.size;
    file_map_close(&map);
}

/* All tensors of `expected` are in the file, and are the same. */
static void assert_same(const safetensors *file, const safetensors *expected)
{
    assert_true(safetensors_count(expected) >= 10);
    for (size_t i = 0; i < safetensors_count(expected); i++) {
        const safetensors_entry *e = safetensors_at(expected, i), *found = safetensors_find(file, e->name);
        if (!found) fail_msg("%s: no tensor %s", safetensors_path(file), e->name);
        assert_int_equal(found->type, e->type);
        assert_int_equal(found->rank, e->rank);
        assert_memory_equal(found->shape, e->shape, (size_t)e->rank * sizeof *e->shape);
        assert_string_equal(safetensors_type(found), safetensors_type(e));
        if (bytes_of(e)) assert_memory_equal(found->data, e->data, bytes_of(e));
    }
}

static void what_torch_saves_is_read(void **state)
{
    (void)state;
    static const char *const names[] = {FIXTURE("plain.pt"),     FIXTURE("ordered.pt"), FIXTURE("old.pt"),
                                        FIXTURE("protocol4.pt"), FIXTURE("odd.pt"),     FIXTURE("checkpoint.ckpt")};
    safetensors *expected, *file;
    assert_works(tensors_open(FIXTURE("expected.safetensors"), &expected, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_works(tensors_open(names[i], &file, &err), &err);
        assert_same(file, expected);
        const bool odd = strstr(names[i], "odd.pt") != NULL;
        assert_int_equal(safetensors_count(file), safetensors_count(expected));
        assert_int_equal(safetensors_skipped_count(file), odd ? 3 : 0);
        if (odd) {
            const safetensors_entry *none = NULL;
            const int64_t two = 2;
            assert_fails(safetensors_require(file, "float8", 1, &two, &none, &err), LECO_UNSUPPORTED, &err, "F8_E4M3");
        }
        assert_works(safetensors_unchanged(file, &err), &err);
        safetensors_close(file);
    }
    safetensors_close(expected);
}

static void numbers_and_numpys_arrays_are_tensors(void **state)
{
    (void)state;
    static const char *const names[] = {FIXTURE("numbers.pt"), FIXTURE("numbers4.pt"), FIXTURE("numbers5.pt")};
    safetensors *expected, *file;
    assert_works(tensors_open(FIXTURE("numbers.safetensors"), &expected, &err), &err);
    assert_int_equal(safetensors_count(expected), 10);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_works(tensors_open(names[i], &file, &err), &err);
        assert_int_equal(safetensors_any_count(file), 10); /* not "loss", nor "seen" */
        assert_same(file, expected);
        safetensors_close(file);
    }
    safetensors_close(expected);
}

static void dicts_in_dicts_have_points(void **state)
{
    (void)state;
    safetensors *file;
    assert_works(tensors_open(FIXTURE("embedding.pt"), &file, &err), &err);
    assert_int_equal(safetensors_count(file), 1);
    assert_non_null(safetensors_find(file, "string_to_param.*"));
    safetensors_close(file);
    assert_works(tensors_open(FIXTURE("learned_embeds.bin"), &file, &err), &err);
    assert_non_null(safetensors_find(file, "<mine>"));
    safetensors_close(file);
    assert_works(tensors_open(FIXTURE("module.pt"), &file, &err), &err);
    assert_int_equal(safetensors_count(file), 2);
    assert_non_null(safetensors_find(file, "string_to_param.*"));
    safetensors_close(file);
}

/* A part's folder with a .bin, as diffusers wrote them by default. */
static void parts_may_be_pickles(void **state)
{
    (void)state;
    char path[512];
    unsigned char *bytes;
    size_t size;
    weights *w;
    weight *found;
    assert_int_equal(mkdir(test_path("unet"), 0755), 0);
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.bin", test_path("unet"));
    read_all(FIXTURE("plain.pt"), &bytes, &size);
    test_write(path, bytes, size);
    free(bytes);
    assert_works(weights_open(test_path("unet"), &w, &err), &err);
    assert_works(weights_get(w, "transposed", SHAPE(8, 6), &found, &err), &err);
    assert_works(weights_check_values(w, &err), &err);
    assert_string_equal(weights_path(w), path);
    weights_close(w);
}

/* ---- hostile files ---- */

static leco_status open_bytes(const void *bytes, size_t size, safetensors **out)
{
    test_write(test_path("x.pt"), bytes, size);
    return torch_open(test_path("x.pt"), out, &err);
}

static void cut_files_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {FIXTURE("odd.pt"), FIXTURE("old.pt")};
    for (int n = 0; n < 2; n++) {
        unsigned char *bytes;
        size_t size;
        safetensors *file;
        read_all(names[n], &bytes, &size);
        for (size_t length = 0; length < size; length += length < size - 400 ? 7 : 1) {
            assert_true(open_bytes(bytes, length, &file) != LECO_OK);
            assert_true(err.status == LECO_FORMAT || err.status == LECO_UNSUPPORTED);
            assert_non_null(strstr(err.message, "x.pt"));
        }
        free(bytes);
    }
}

/* Any byte may be wrong: what is read then lies in the file all the same. */
static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    static const char *const names[] = {FIXTURE("odd.pt"), FIXTURE("old.pt")};
    for (int n = 0; n < 2; n++) {
        unsigned char *bytes;
        size_t size;
        read_all(names[n], &bytes, &size);
        for (size_t i = 0; i < size; i += 3) {
            safetensors *file;
            bytes[i] ^= (unsigned char)(1u << i % 8);
            if (open_bytes(bytes, size, &file) == LECO_OK) {
                for (size_t k = 0; k < safetensors_count(file); k++) {
                    const safetensors_entry *e = safetensors_at(file, k);
                    unsigned char sum = 0;
                    for (size_t b = 0; b < bytes_of(e); b++) sum ^= ((const unsigned char *)e->data)[b];
                    (void)sum;
                }
                safetensors_close(file);
            }
            bytes[i] ^= (unsigned char)(1u << i % 8);
        }
        free(bytes);
    }
}

/* A sequence of pickles whose tree is this one. */
static size_t put_sequence(unsigned char *to, const char *tree, size_t size)
{
    static const unsigned char magic[] = "\x80\x02\x8a\x0a"
                                         "l\xfc\x9c"
                                         "F\xf9 j\xa8P\x19.";
    static const char version[] = "\x80\x02M\xe9\x03.",
                      machine[] = "\x80\x02}U\x0d"
                                  "little_endian\x88s.",
                      keys[] = "\x80\x02].";
    size_t at = 0;
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = {{magic, sizeof magic - 1},
                 {version, sizeof version - 1},
                 {machine, sizeof machine - 1},
                 {tree, size},
                 {keys, sizeof keys - 1}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(to + at, parts[i].bytes, parts[i].size);
        at += parts[i].size;
    }
    return at;
}

#define assert_tree_refused(text, status, ...)                                                                         \
    do {                                                                                                               \
        unsigned char bytes_[512];                                                                                     \
        safetensors *file_;                                                                                            \
        const size_t size_ = put_sequence(bytes_, text, sizeof(text) - 1);                                             \
        test_write(test_path("x.pt"), bytes_, size_);                                                                  \
        assert_fails(torch_open(test_path("x.pt"), &file_, &err), status, &err, "x.pt", __VA_ARGS__);                  \
        assert_null(file_);                                                                                            \
    } while (0)

#define NDARRAY                                                                                                        \
    "cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"                                                   \
    "C\1b\x87R"
#define OF_TYPE(name) "cnumpy\ndtype\nX\2\0\0\0" name "\x89\x88\x87R"
#define AS "X\7\0\0\0x.alpha" /* a key */

static void numpys_arrays_are_checked(void **state)
{
    (void)state;
    assert_tree_refused("\x80\x04}" AS NDARRAY "(K\1K\1\x85" OF_TYPE("c8") "\x89"
                                                                           "C\x08"
                                                                           "12345678tbs.",
                        LECO_UNSUPPORTED, "\"x.alpha\"", "numpy's type c8");
    assert_tree_refused("\x80\x04}" AS NDARRAY "(K\1K\1\x85" OF_TYPE("f4") "(K\3X\1\0\0\0>tb\x89"
                                                                           "C\4"
                                                                           "1234tbs.",
                        LECO_UNSUPPORTED, "\"x.alpha\"", "numpy's type >f4");
    assert_tree_refused("\x80\x04}" AS NDARRAY "(K\1K\2\x85" OF_TYPE("f4") "\x89"
                                                                           "C\4"
                                                                           "1234tbs.",
                        LECO_FORMAT, "\"x.alpha\"", "reaches beyond its data");
    assert_tree_refused("\x80\x04}" AS NDARRAY "(K\1J\xff\xff\xff\xff\x85" OF_TYPE("f4") "\x89"
                                                                                         "C\4"
                                                                                         "1234tbs.",
                        LECO_UNSUPPORTED, "\"x.alpha\"", "not told as one");
    assert_tree_refused(
        "\x80\x04}" AS NDARRAY
        "(K\1(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft" OF_TYPE(
            "f4") "\x89"
                  "C\4"
                  "1234tbs.",
        LECO_UNSUPPORTED, "\"x.alpha\"", "not told as one");
}

static void nothing_is_run(void **state)
{
    (void)state;
    assert_tree_refused("\x80\x02"
                        "cposix\nsystem\nX\x04\0\0\0true\x85R.",
                        LECO_UNSUPPORTED, "posix.system", "runs nothing");
    assert_tree_refused("\x80\x04\x8c\x08"
                        "builtins\x8c\x04"
                        "eval\x93\x8c\x01"
                        "1\x85R.",
                        LECO_UNSUPPORTED, "builtins.eval");
    assert_tree_refused("\x80\x02"
                        "c__builtin__\neval\n.",
                        LECO_UNSUPPORTED, "__builtin__.eval");
    assert_tree_refused("\x80\x02(iposix\nsystem\n.", LECO_UNSUPPORTED, "INST");
    assert_tree_refused("\x80\x02\x82\x01.", LECO_UNSUPPORTED, "EXT1");
    assert_tree_refused("\x80\x02"
                        "ctorch\nFloatStorage\n)R.",
                        LECO_UNSUPPORTED, "calls torch.FloatStorage");
    assert_tree_refused("\x80\x02"
                        "ctorch._tensor\n_rebuild_from_type_v2\nctorch._tensor\n_rebuild_from_type_v2\nN)\x87R.",
                        LECO_FORMAT, "isn't told as one");
}

static void damaged_pickles_are_told(void **state)
{
    (void)state;
    assert_tree_refused("\x80\x02.", LECO_FORMAT, "damaged");
    assert_tree_refused("\x80\x09}.", LECO_FORMAT, "protocol above 5");
    assert_tree_refused("\x80\x02}h\x05.", LECO_FORMAT, "memo");
    assert_tree_refused("\x80\x02}r\xff\xff\xff\xff.", LECO_FORMAT, "memo");
    assert_tree_refused("\x80\x02}NNe.", LECO_FORMAT, "no mark");
    assert_tree_refused("\x80\x02}(Nu.", LECO_FORMAT, "without a value");
    assert_tree_refused("\x80\x02]NNs.", LECO_FORMAT, "something else");
    assert_tree_refused("\x80\x02X\xff\xff\xff\xff"
                        "a.",
                        LECO_FORMAT, "too early");
    assert_tree_refused("\x80\x02\xfe.", LECO_FORMAT, "no opcode");
    assert_tree_refused("\x80\x02N.", LECO_UNSUPPORTED, "no dict of tensors");
    assert_tree_refused("\x80\x02(t.", LECO_UNSUPPORTED, "no dict of tensors");       /* nothing was ever pushed */
    assert_tree_refused("\x80\x02]q\0h\0a.", LECO_UNSUPPORTED, "no dict of tensors"); /* a list in itself */
    assert_tree_refused("\x80\x02}q\0X\x01\0\0\0ah\0s.", LECO_FORMAT, "nested too deeply"); /* a dict in itself */
    assert_tree_refused("\x80\x02NQ.", LECO_FORMAT, "storage that isn't told");
    static const char not_torch[] = "\x80\x02}.";
    safetensors *file;
    assert_fails(open_bytes(not_torch, 4, &file), LECO_UNSUPPORTED, &err, "not PyTorch's");
    assert_fails(open_bytes("", 0, &file), LECO_FORMAT, &err, "x.pt: is empty");
}

/* ---- several files ---- */

static void put_part(const char *name, const char *tensor_name, float value)
{
    const safetensors_entry e = {
        .name = tensor_name, .type = DTYPE_F32, .rank = 1, .shape = {1}, .count = 1, .data = &value};
    assert_works(safetensors_write(test_path(name), &e, 1, NULL, 0, &err), &err);
}

static leco_status open_index(const char *text, safetensors **out)
{
    test_write(test_path("m.safetensors.index.json"), text, strlen(text));
    return tensors_open(test_path("m.safetensors.index.json"), out, &err);
}

static void pieces_are_one(void **state)
{
    (void)state;
    safetensors *file;
    put_part("m-1.safetensors", "a", 1);
    put_part("m-2.safetensors", "b", 2);
    assert_works(open_index("{\"metadata\": {\"total_size\": 8}, \"weight_map\": {\"b\": \"m-2.safetensors\", \"a\": "
                            "\"m-1.safetensors\"}}",
                            &file),
                 &err);
    assert_int_equal(safetensors_count(file), 2);
    double value = 0;
    assert_true(safetensors_number(safetensors_find(file, "b"), &value) && value == 2);
    safetensors_close(file);

    assert_fails(open_index("{\"weight_map\": {\"a\": \"m-2.safetensors\"}}", &file), LECO_FORMAT, &err, "index.json",
                 "\"a\" is not in", "m-2.safetensors");
    assert_fails(open_index("{\"weight_map\": {\"a\": \"../m-1.safetensors\"}}", &file), LECO_FORMAT, &err, "beside it",
                 "../m-1");
    assert_fails(open_index("{\"weight_map\": {\"a\": \"/etc/passwd\"}}", &file), LECO_FORMAT, &err, "beside it");
    assert_fails(open_index("{\"weight_map\": {\"a\": \"m-3.safetensors\"}}", &file), LECO_IO, &err, "m-3.safetensors");
    assert_fails(open_index("{\"weight_map\": {\"a\": 5}}", &file), LECO_FORMAT, &err, "a file's name");
    assert_fails(open_index("{\"a\": {}}", &file), LECO_FORMAT, &err, "weight_map");
    assert_fails(open_index("{\"weight_map\": {\"a\": \"m-1.safetensors\", \"a\": \"m-2.safetensors\"}}", &file),
                 LECO_FORMAT, &err, "duplicate");
    assert_fails(open_index("{\"weight_map\"", &file), LECO_FORMAT, &err, "index.json:1");
    /* An index of itself. */
    assert_fails(open_index("{\"weight_map\": {\"a\": \"m.safetensors.index.json\"}}", &file), LECO_FORMAT, &err,
                 "index.json");
}

/* A header of 640 bytes makes a safetensors file begin with 80 02, as pickles do. */
static void safetensors_are_no_pickles(void **state)
{
    (void)state;
    for (size_t version = 2; version <= 5; version++) {
        const size_t header = version << 8 | 0x80;
        unsigned char bytes[8 + 2048] = {0x80, (unsigned char)version};
        safetensors *file;
        memset(bytes + 8, ' ', header);
        memcpy(bytes + 8, "{}", 2);
        test_write(test_path("x.safetensors"), bytes, 8 + header);
        assert_works(tensors_open(test_path("x.safetensors"), &file, &err), &err);
        assert_int_equal(safetensors_count(file), 0);
        safetensors_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_torch_saves_is_read),
        cmocka_unit_test(dicts_in_dicts_have_points),
        cmocka_unit_test(numbers_and_numpys_arrays_are_tensors),
        cmocka_unit_test(numpys_arrays_are_checked),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(nothing_is_run),
        cmocka_unit_test(damaged_pickles_are_told),
        cmocka_unit_test(pieces_are_one),
        cmocka_unit_test(parts_may_be_pickles),
        cmocka_unit_test(safetensors_are_no_pickles),
    };
    return cmocka_run_group_tests_name("unit/torch_files", tests, NULL, NULL);
}
