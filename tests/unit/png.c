#include "test_support.h"

#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "picture/png.h"

static leco_error err;

static void fill(image *img)
{
    uint32_t word = 1;
    for (int i = 0; i < img->width * img->height * 3; i++) {
        word = word * 1664525u + 1013904223u;
        img->rgb[i] = (uint8_t)(word >> 24);
    }
}

static void images_are_black_and_bounded(void **state)
{
    (void)state;
    image img;
    assert_works(image_create(3, 2, &img, &err), &err);
    for (int i = 0; i < 18; i++) assert_int_equal(img.rgb[i], 0);
    image_free(&img);
    assert_null(img.rgb);
    image_free(&img);
    assert_fails(image_create(0, 2, &img, &err), LECO_INVALID, &err, "0 x 2");
    assert_null(img.rgb);
    assert_fails(image_create(2, -1, &img, &err), LECO_INVALID, &err, "2 x -1");
}

static void an_image_comes_back(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 1}, {1, 7}, {7, 1}, {5, 3}, {64, 64}, {513, 2}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        image img, back;
        char *text = NULL;
        assert_works(image_create(sizes[i][0], sizes[i][1], &img, &err), &err);
        fill(&img);
        const char *path = test_path("image.png");
        assert_works(png_write(path, &img, NULL, &err), &err);
        assert_works(png_read(path, &back, &text, &err), &err);
        assert_null(text);
        assert_int_equal(back.width, img.width);
        assert_int_equal(back.height, img.height);
        assert_memory_equal(back.rgb, img.rgb, (size_t)img.width * (size_t)img.height * 3);
        image_free(&img);
        image_free(&back);
    }
}

static bool contains(const char *path, const char *bytes)
{
    size_t size, length = strlen(bytes);
    unsigned char *data = test_read(path, &size);
    bool found = false;
    for (size_t i = 0; !found && i + length <= size; i++) found = memcmp(data + i, bytes, length) == 0;
    free(data);
    return found;
}

static void parameters_travel_in_the_file(void **state)
{
    (void)state;
    static char large[100001];
    memset(large, 'p', sizeof large - 1);
    const char *const texts[] = {"a red star\nNegative prompt: blue\nSteps: 25, Seed: 1", "",
                                 "ein rotes \xc3\xa4 \xe6\x98\x9f", large};
    const char *const chunks[] = {"tEXtparameters", "tEXtparameters", "iTXtparameters", "tEXtparameters"};
    const char *path = test_path("text.png");
    for (size_t i = 0; i < 4; i++) {
        image img, back;
        char *text;
        assert_works(image_create(2, 2, &img, &err), &err);
        assert_works(png_write(path, &img, texts[i], &err), &err);
        assert_true(contains(path, chunks[i]));
        assert_works(png_read(path, &back, &text, &err), &err);
        assert_string_equal(text, texts[i]);
        mem_free(text);
        image_free(&back);
        assert_works(png_read(path, &back, NULL, &err), &err);
        image_free(&back);
        image_free(&img);
    }
}

/* A PNG that leco would not write: any colour type, depth and interlacing; 4 x 4 pixels of one colour. */
static const char *put(int type, int depth, int interlace, const unsigned char *pixel, size_t pixel_bytes)
{
    const char *path = test_path("foreign.png");
    FILE *file = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, file);
    png_set_IHDR(png, info, 4, 4, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    const png_color palette[] = {{1, 2, 3}, {200, 100, 50}};
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 2);
    char key[] = "parameters", value[] = "caf\xe9";
    png_text text = {.compression = PNG_TEXT_COMPRESSION_NONE, .key = key, .text = value};
    if (depth != 8) png_set_text(png, info, &text, 1); /* before the pixels, or behind them */
    png_write_info(png, info);
    if (depth == 8) png_set_text(png, info, &text, 1);
    unsigned char row[64];
    size_t row_bytes = png_get_rowbytes(png, info);
    for (size_t i = 0; i < row_bytes; i++) row[i] = pixel[i % pixel_bytes];
    int passes = png_set_interlace_handling(png);
    for (int i = 0; i < passes * 4; i++) png_write_row(png, row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(file);
    return path;
}

static void every_kind_of_png_becomes_rgb(void **state)
{
    (void)state;
    static const struct {
        int type, depth;
        unsigned char pixel[8];
        size_t pixel_bytes;
        unsigned char expected[3];
    } cases[] = {
        {PNG_COLOR_TYPE_GRAY, 8, {77}, 1, {77, 77, 77}},
        {PNG_COLOR_TYPE_GRAY, 1, {0xff}, 1, {255, 255, 255}},
        {PNG_COLOR_TYPE_GRAY, 16, {0x80, 0x80}, 2, {128, 128, 128}},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 8, {77, 255}, 2, {77, 77, 77}},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 8, {77, 51}, 2, {219, 219, 219}},
        {PNG_COLOR_TYPE_PALETTE, 1, {0xff}, 1, {200, 100, 50}},
        {PNG_COLOR_TYPE_PALETTE, 8, {0}, 1, {1, 2, 3}},
        {PNG_COLOR_TYPE_RGB, 8, {9, 8, 7}, 3, {9, 8, 7}},
        {PNG_COLOR_TYPE_RGB_ALPHA, 8, {9, 8, 7, 0}, 4, {255, 255, 255}},
        {PNG_COLOR_TYPE_RGB_ALPHA, 16, {0xff, 0xff, 0, 0, 0x40, 0x40, 0xff, 0xff}, 8, {255, 0, 64}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int interlace = PNG_INTERLACE_NONE; interlace <= PNG_INTERLACE_ADAM7; interlace++) {
            const char *path = put(cases[i].type, cases[i].depth, interlace, cases[i].pixel, cases[i].pixel_bytes);
            image img;
            char *text;
            assert_works(png_read(path, &img, &text, &err), &err);
            assert_int_equal(img.width, 4);
            assert_int_equal(img.height, 4);
            for (size_t k = 0; k < 16; k++) assert_memory_equal(img.rgb + 3 * k, cases[i].expected, 3);
            assert_string_equal(text, "caf\xc3\xa9"); /* Latin-1 in the file */
            mem_free(text);
            image_free(&img);
        }
    }
}

static void put_number(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* Claims a size in the header of a good file, with the right checksum. */
static const char *put_sized(uint32_t width, uint32_t height)
{
    const unsigned char pixel[3] = {0};
    const char *path = put(PNG_COLOR_TYPE_RGB, 8, PNG_INTERLACE_NONE, pixel, 3);
    size_t size;
    unsigned char *data = test_read(path, &size);
    put_number(data + 16, width);
    put_number(data + 20, height);
    uint32_t crc = 0xffffffff; /* of "IHDR" and its 13 bytes */
    for (size_t i = 12; i < 29; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    put_number(data + 29, ~crc);
    test_write(path, data, size);
    free(data);
    return path;
}

static void lying_files_are_refused(void **state)
{
    (void)state;
    image img;
    char *text;
    const char *path = put_sized(16385, 4);
    assert_fails(png_read(path, &img, &text, &err), LECO_UNSUPPORTED, &err, path, "16385 x 4", "16384");
    assert_null(img.rgb);
    assert_null(text);
    path = put_sized(4, 0x7fffffff);
    assert_fails(png_read(path, &img, &text, &err), LECO_UNSUPPORTED, &err, path, "4 x 2147483647");
    path = put_sized(4, 0);
    assert_fails(png_read(path, &img, &text, &err), LECO_FORMAT, &err, path);
    path = put_sized(4, 5); /* one row more than there is */
    assert_fails(png_read(path, &img, &text, &err), LECO_FORMAT, &err, path);
    assert_null(img.rgb);

    path = test_path("other.png");
    test_write(path, "GIF89a, not a PNG at all", 24);
    assert_fails(png_read(path, &img, &text, &err), LECO_FORMAT, &err, path, "not a PNG");
    test_write(path, "", 0);
    assert_fails(png_read(path, &img, &text, &err), LECO_FORMAT, &err, path, "not a PNG");
    assert_fails(png_read(test_path("absent"), &img, &text, &err), LECO_IO, &err, "absent", "cannot open");
}

/* Without a check of our own, libpng would ask for 2 GB here. */
static void a_chunk_longer_than_the_file_is_refused(void **state)
{
    (void)state;
    const char *path = test_path("long.png");
    image img;
    assert_works(image_create(2, 2, &img, &err), &err);
    assert_works(png_write(path, &img, "text", &err), &err);
    image_free(&img);
    size_t size;
    unsigned char *data = test_read(path, &size);
    assert_memory_equal(data + 37, "tEXt", 4); /* right behind the header */
    put_number(data + 33, 0x7ffffff0);
    test_write(path, data, size);
    free(data);
    assert_fails(png_read(path, &img, NULL, &err), LECO_FORMAT, &err, path, "begins at byte 33");
}

static int warnings;

static void count_warnings(void *user, log_level level, const char *message)
{
    (void)user;
    assert_int_equal(level, LOG_WARNING);
    assert_non_null(strstr(message, "packed.png"));
    warnings++;
}

/* A text of a few thousand bytes that would unpack to 20 MB. */
static void a_packed_text_is_bounded(void **state)
{
    (void)state;
    static char large[20000001];
    memset(large, 'x', sizeof large - 1);
    const char *path = test_path("packed.png");
    const size_t lengths[] = {1000000, 20000000};
    log_set_callback(count_warnings, NULL);
    for (int i = 0; i < 2; i++) {
        large[lengths[i]] = '\0';
        FILE *file = fopen(path, "wb");
        png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
        png_infop info = png_create_info_struct(png);
        png_init_io(png, file);
        png_set_IHDR(png, info, 1, 1, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                     PNG_FILTER_TYPE_DEFAULT);
        char key[] = "parameters";
        png_text text = {.compression = PNG_TEXT_COMPRESSION_zTXt, .key = key, .text = large};
        png_set_text(png, info, &text, 1);
        png_write_info(png, info);
        png_write_row(png, (const unsigned char[]){1, 2, 3});
        png_write_end(png, info);
        png_destroy_write_struct(&png, &info);
        fclose(file);
        large[lengths[i]] = 'x';
        image img;
        char *found;
        assert_works(png_read(path, &img, &found, &err), &err);
        assert_int_equal(img.rgb[2], 3);
        if (i == 0)
            assert_int_equal(strlen(found), lengths[0]);
        else
            assert_null(found); /* left out, with a warning in the log */
        assert_int_equal(warnings, i);
        mem_free(found);
        image_free(&img);
    }
    log_set_callback(NULL, NULL);
}

static void an_unwritable_place_is_named(void **state)
{
    (void)state;
    image img;
    assert_works(image_create(2, 2, &img, &err), &err);
    assert_fails(png_write(test_path("no/such.png"), &img, NULL, &err), LECO_IO, &err, "no/such.png", "cannot create");
    image_free(&img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_are_black_and_bounded),  cmocka_unit_test(an_image_comes_back),
        cmocka_unit_test(parameters_travel_in_the_file), cmocka_unit_test(every_kind_of_png_becomes_rgb),
        cmocka_unit_test(lying_files_are_refused),       cmocka_unit_test(a_chunk_longer_than_the_file_is_refused),
        cmocka_unit_test(a_packed_text_is_bounded),      cmocka_unit_test(an_unwritable_place_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
