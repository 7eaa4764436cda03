/* Truncated and bit-flipped files. A truncated file must be refused. A flipped bit may pass unseen in the data, but
 * what is read must lie within the file and nothing may crash (run it under the sanitizers). */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "picture/jpeg.h"
#include "picture/png.h"
#include "test_jpeg.h"

static leco_error err;

/* Reads a file of either kind; on success checks what came out. `size` is the file's. */
typedef leco_status reader(const char *path, size_t size);

static leco_status read_tensors(const char *path, size_t size)
{
    safetensors *file;
    LECO_TRY(safetensors_open(path, &file, &err));
    size_t total = 0;
    unsigned sum = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_entry *entry = safetensors_at(file, i);
        size_t bytes = entry->count * dtype_size(entry->type), elements = 1;
        assert_in_range(entry->rank, 0, SAFETENSORS_MAX_DIMS);
        for (int d = 0; d < entry->rank; d++) elements *= (size_t)entry->shape[d];
        assert_int_equal(elements, entry->count);
        assert_in_range(bytes, 0, size);
        for (size_t k = 0; k < bytes; k++) sum += ((const unsigned char *)entry->data)[k];
        assert_ptr_equal(safetensors_find(file, entry->name), entry);
        total += bytes;
    }
    unsigned char *whole = test_read(path, NULL);
    uint64_t header;
    memcpy(&header, whole, sizeof header);
    free(whole);
    assert_in_range(total, 0, size - sizeof header - header);
    assert_in_range(sum, 0, 255 * size); /* uses it, so that the reads above are not optimised away */
    for (size_t i = 0; i < safetensors_skipped_count(file); i++) {
        const char *name, *type;
        safetensors_skipped_at(file, i, &name, &type);
        assert_null(safetensors_find(file, name));
    }
    safetensors_close(file);
    return LECO_OK;
}

static leco_status read_image(const char *path, size_t size)
{
    (void)size;
    image img;
    char *text;
    LECO_TRY(png_read(path, &img, &text, &err));
    assert_in_range(img.width, 1, 16384);
    assert_in_range(img.height, 1, 16384);
    unsigned sum = 0;
    for (int i = 0; i < img.width * img.height * 3; i++) sum += img.rgb[i];
    assert_in_range(sum, 0, 255u * 3 * (unsigned)(img.width * img.height));
    image_free(&img);
    mem_free(text);
    return LECO_OK;
}

static leco_status read_photo(const char *path, size_t size)
{
    (void)size;
    image img;
    LECO_TRY(jpeg_read(path, &img, &err));
    unsigned sum = 0;
    for (int i = 0; i < img.width * img.height * 3; i++) sum += img.rgb[i];
    assert_in_range(sum, 0, 255u * 3 * (unsigned)(img.width * img.height));
    image_free(&img);
    return LECO_OK;
}

static leco_status read_config(const char *path, size_t size)
{
    (void)size;
    json_t *root;
    LECO_TRY(json_read_file(path, &root, &err));
    int64_t number;
    leco_status status = json_get_int(root, path, "sample_size", 1, 1, 100, &number, &err);
    if (status == LECO_OK) assert_in_range(number, 1, 100);
    json_decref(root);
    return status;
}

static const struct {
    const char *name;
    reader *read;
} kinds[] = {
    {"good.safetensors", read_tensors}, {"good.png", read_image}, {"good.jpg", read_photo}, {"good.json", read_config}};

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t size;
        unsigned char *good = test_read(test_path(kinds[k].name), &size);
        const char *path = test_path("cut");
        for (size_t length = 0; length < size; length++) {
            test_write(path, good, length);
            assert_fails(kinds[k].read(path, length), LECO_FORMAT, &err, path);
        }
        test_write(path, good, size);
        assert_works(kinds[k].read(path, size), &err);
        free(good);
    }
}

static void every_flipped_bit_is_survived(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t size, refused = 0;
        unsigned char *bytes = test_read(test_path(kinds[k].name), &size);
        const char *path = test_path("flipped");
        for (size_t bit = 0; bit < size * 8; bit++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            test_write(path, bytes, size);
            err = (leco_error){0};
            leco_status status = kinds[k].read(path, size);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            if (status == LECO_OK) continue;
            refused++;
            if (!strstr(err.message, path)) fail_msg("bit %zu: \"%s\" doesn't name the file", bit, err.message);
        }
        assert_in_range(refused, size, size * 8); /* most of the bits matter */
        free(bytes);
    }
}

/* Bytes appended: the tensors no longer cover the file. */
static void appended_bytes_are_refused(void **state)
{
    (void)state;
    size_t size;
    unsigned char *good = test_read(test_path("good.safetensors"), &size);
    const char *path = test_path("longer");
    test_write(path, good, size + 1); /* test_read adds a NUL */
    assert_fails(read_tensors(path, size + 1), LECO_FORMAT, &err, path, "1 bytes follow");
    free(good);
}

static int make_files(void **state)
{
    (void)state;
    static const float values[6] = {1, -2, 3, 4, 5, 6};
    static const int64_t whole = 7;
    const safetensors_entry entries[] = {
        {.name = "lora.down", .type = DTYPE_F32, .rank = 2, .shape = {2, 3}, .count = 6, .data = values},
        {.name = "half", .type = DTYPE_F16, .rank = 1, .shape = {3}, .count = 3, .data = values},
        {.name = "id", .type = DTYPE_I64, .rank = 0, .count = 1, .data = &whole}};
    const char *const metadata[][2] = {{"ss_network_dim", "4"}, {"title", "red"}};
    static uint8_t rgb[6 * 5 * 3];
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 37);
    const image img = {6, 5, rgb};
    test_write_jpeg(test_path("good.jpg"), &(test_jpeg){6, 5, rgb, TEST_JPEG_RGB, false, 6});
    static const char json[] = "{\"sample_size\": 64, \"block_out_channels\": [32, 64], \"act_fn\": \"silu\"}";
    test_write(test_path("good.json"), json, sizeof json - 1);
    if (safetensors_write(test_path("good.safetensors"), entries, 3, metadata, 2, &err) != LECO_OK) return -1;
    return png_write(test_path("good.png"), &img, "a red star", &err) == LECO_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_survived),
        cmocka_unit_test(appended_bytes_are_refused),
    };
    return cmocka_run_group_tests(tests, make_files, NULL);
}
