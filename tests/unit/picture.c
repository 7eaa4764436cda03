/* Pictures as people have them: every sort of JPEG, orientations, other formats, and what they are scaled to. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "picture/jpeg.h"
#include "picture/picture.h"
#include "picture/png.h"
#include "picture/resample.h"
#include "test_jpeg.h"

static leco_error err;

/* ---- JPEG ---- */

enum { WIDTH = 24, HEIGHT = 16 };

/* Two halves of one colour each: what JPEG keeps to within a few of 255. */
static void halves(uint8_t *pixels, int components, const uint8_t *left, const uint8_t *right)
{
    for (int i = 0; i < WIDTH * HEIGHT; i++)
        memcpy(pixels + i * components, i % WIDTH < WIDTH / 2 ? left : right, (size_t)components);
}

static void assert_near(const image *img, int x, int y, const uint8_t *expected)
{
    const uint8_t *at = img->rgb + 3 * (y * img->width + x);
    for (int c = 0; c < 3; c++)
        if (abs(at[c] - expected[c]) > 3)
            fail_msg("(%d, %d) is %d %d %d, expected %d %d %d", x, y, at[0], at[1], at[2], expected[0], expected[1],
                     expected[2]);
}

static void every_kind_of_jpeg_becomes_rgb(void **state)
{
    (void)state;
    static const struct {
        test_jpeg_kind kind;
        int components;
        uint8_t left[4], right[4];
        uint8_t expected[2][3];
    } cases[] = {
        {TEST_JPEG_RGB, 3, {200, 30, 60}, {10, 120, 250}, {{200, 30, 60}, {10, 120, 250}}},
        {TEST_JPEG_GREY, 1, {40}, {220}, {{40, 40, 40}, {220, 220, 220}}},
        /* Inks, inverted: cyan's 51 of 255 under a key of 204: 51 * 204 / 255. */
        {TEST_JPEG_CMYK, 4, {51, 255, 255, 204}, {255, 255, 255, 0}, {{41, 204, 204}, {0, 0, 0}}},
        {TEST_JPEG_YCCK, 4, {51, 255, 255, 204}, {255, 255, 255, 255}, {{41, 204, 204}, {255, 255, 255}}},
    };
    static uint8_t pixels[WIDTH * HEIGHT * 4];
    const char *path = test_path("kind.jpg");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int progressive = 0; progressive < 2; progressive++) {
            image img;
            int width = 0, height = 0;
            halves(pixels, cases[i].components, cases[i].left, cases[i].right);
            test_write_jpeg(path, &(test_jpeg){WIDTH, HEIGHT, pixels, cases[i].kind, progressive, 0});
            assert_works(picture_read(path, &img, &err), &err);
            assert_int_equal(img.width, WIDTH);
            assert_int_equal(img.height, HEIGHT);
            for (int y = 0; y < HEIGHT; y += 5) {
                assert_near(&img, 2, y, cases[i].expected[0]);
                assert_near(&img, WIDTH - 2, y, cases[i].expected[1]);
            }
            assert_works(picture_measure(path, &width, &height, &err), &err);
            assert_true(width == WIDTH && height == HEIGHT);
            image_free(&img);
        }
}

/* As Pillow's ImageOps.exif_transpose turns the pixels 0 1 2 / 3 4 5. */
static const uint8_t turned[8][6] = {{0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0}, {3, 4, 5, 0, 1, 2},
                                     {0, 3, 1, 4, 2, 5}, {3, 0, 4, 1, 5, 2}, {5, 2, 4, 1, 3, 0}, {2, 5, 1, 4, 0, 3}};

static void all_orientations_are_respected(void **state)
{
    (void)state;
    for (int o = 1; o <= 8; o++) {
        image img;
        assert_works(image_create(3, 2, &img, &err), &err);
        for (int i = 0; i < 18; i++) img.rgb[i] = (uint8_t)i;
        assert_works(image_orient(&img, o, &err), &err);
        assert_int_equal(img.width, o > 4 ? 2 : 3);
        assert_int_equal(img.height, o > 4 ? 3 : 2);
        for (int i = 0; i < 6; i++)
            for (int c = 0; c < 3; c++) assert_int_equal(img.rgb[3 * i + c], 3 * turned[o - 1][i] + c);
        image_free(&img);
    }
}

static void a_photograph_is_turned_the_right_way_up(void **state)
{
    (void)state;
    static const uint8_t left[] = {250, 0, 0}, right[] = {0, 0, 250};
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    const char *path = test_path("turned.jpg");
    halves(pixels, 3, left, right);
    test_write_jpeg(path, &(test_jpeg){WIDTH, HEIGHT, pixels, TEST_JPEG_RGB, false, 6});
    image img;
    int width = 0, height = 0;
    assert_works(picture_measure(path, &width, &height, &err), &err);
    assert_true(width == HEIGHT && height == WIDTH);
    assert_works(jpeg_read(path, &img, &err), &err);
    assert_true(img.width == HEIGHT && img.height == WIDTH);
    assert_near(&img, 3, 2, left); /* what was left is on top after a quarter turn to the right */
    assert_near(&img, 3, WIDTH - 2, right);
    image_free(&img);
}

static void exif_data_is_not_trusted(void **state)
{
    (void)state;
    static const uint8_t big[] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 8, 0, 0};
    uint8_t data[sizeof big];
    assert_int_equal(image_exif_orientation(big, sizeof big), 8);
    for (size_t size = 0; size < sizeof big; size++) assert_int_equal(image_exif_orientation(big, size), 1);
    const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 'X'}, {4, 0xff}, {7, 200}, {13, 4}, {18, 1}, {19, 0}, {19, 9}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        memcpy(data, big, sizeof big);
        data[wrong[i].at] = wrong[i].value;
        assert_int_equal(image_exif_orientation(data, sizeof data), 1);
    }
}

static void damaged_jpegs_are_refused(void **state)
{
    (void)state;
    static uint8_t pixels[WIDTH * HEIGHT * 3];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * i * 31);
    const char *path = test_path("damaged.jpg");
    for (int progressive = 0; progressive < 2; progressive++) {
        test_write_jpeg(path, &(test_jpeg){WIDTH, HEIGHT, pixels, TEST_JPEG_RGB, progressive, 0});
        size_t size;
        unsigned char *data = test_read(path, &size);
        image img;
        test_write(path, data, size / 2);
        assert_fails(picture_read(path, &img, &err), LECO_FORMAT, &err, path, "ends too early");
        assert_null(img.rgb);
        memset(data + size - 200, 0xff, 100); /* fill bytes, then whatever marker follows */
        test_write(path, data, size);
        assert_fails(picture_read(path, &img, &err), LECO_FORMAT, &err, path);
        assert_null(img.rgb);
        free(data);
    }
}

/* A size that the header claims, with no more data than before. */
static const char *claim(unsigned width, unsigned height)
{
    static uint8_t pixels[8 * 8 * 3];
    const char *path = test_path("claim.jpg");
    test_write_jpeg(path, &(test_jpeg){8, 8, pixels, TEST_JPEG_RGB, false, 0});
    size_t size;
    unsigned char *data = test_read(path, &size);
    size_t at = 0;
    while (!(data[at] == 0xff && data[at + 1] == 0xc0)) at++;
    data[at + 5] = (unsigned char)(height >> 8);
    data[at + 6] = (unsigned char)height;
    data[at + 7] = (unsigned char)(width >> 8);
    data[at + 8] = (unsigned char)width;
    test_write(path, data, size);
    free(data);
    return path;
}

static void sizes_are_limited(void **state)
{
    (void)state;
    image img;
    int width, height;
    const char *path = claim(20000, 8);
    assert_fails(picture_read(path, &img, &err), LECO_UNSUPPORTED, &err, path, "20000 x 8", "16384 a side");
    assert_fails(picture_measure(path, &width, &height, &err), LECO_UNSUPPORTED, &err, path, "20000 x 8");
    path = claim(16000, 16000);
    assert_fails(picture_read(path, &img, &err), LECO_UNSUPPORTED, &err, path, "160 million");
    path = claim(0, 8);
    assert_fails(picture_read(path, &img, &err), LECO_FORMAT, &err, path);
    path = claim(3000, 3000);
    assert_fails(picture_read(path, &img, &err), LECO_FORMAT, &err, path);
    assert_null(img.rgb);
}

/* ---- other formats ---- */

static void other_formats_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *part;
        size_t size;
        leco_status status;
    } cases[] = {
        {"GIF89a......", "is a GIF", 12, LECO_UNSUPPORTED},
        {"RIFF\1\2\3\4WEBPVP8 ", "is a WebP picture", 16, LECO_UNSUPPORTED},
        {"\0\0\0\x1c"
         "ftypavif",
         "is an AVIF picture", 12, LECO_UNSUPPORTED},
        {"\0\0\0\x1c"
         "ftypheic",
         "is a HEIC picture", 12, LECO_UNSUPPORTED},
        {"II*\0....", "is a TIFF picture", 8, LECO_UNSUPPORTED},
        {"", "is empty", 0, LECO_FORMAT},
        {"RIFF", "is not a picture", 4, LECO_FORMAT},
        {"hello", "is not a picture", 5, LECO_FORMAT},
    };
    const char *path = test_path("other.jpg");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image img;
        int width, height;
        test_write(path, cases[i].bytes, cases[i].size);
        assert_fails(picture_read(path, &img, &err), cases[i].status, &err, path, cases[i].part);
        assert_fails(picture_measure(path, &width, &height, &err), cases[i].status, &err, path, cases[i].part);
        assert_null(img.rgb);
    }
    assert_true(picture_named("a.PNG") && picture_named("b.c.jpeg") && picture_named("d.webp"));
    assert_false(picture_named("a.txt") || picture_named("png") || picture_named("a.png.txt"));
}

/* The name says one thing, the bytes another: they decide. */
static void names_dont_matter(void **state)
{
    (void)state;
    static uint8_t rgb[5 * 3 * 3] = {1, 2, 3};
    const char *path = test_path("really_a_png.jpg");
    const image img = {5, 3, rgb};
    image back;
    int width = 0, height = 0;
    assert_works(png_write(path, &img, "words", &err), &err);
    assert_works(picture_read(path, &back, &err), &err);
    assert_memory_equal(back.rgb, rgb, sizeof rgb);
    image_free(&back);
    assert_works(picture_measure(path, &width, &height, &err), &err);
    assert_true(width == 5 && height == 3);
}

/* ---- scaling ---- */

static image noise(int width, int height)
{
    image img;
    assert_works(image_create(width, height, &img, &err), &err);
    uint32_t word = 1;
    for (int i = 0; i < width * height * 3; i++) {
        word = word * 1664525u + 1013904223u;
        img.rgb[i] = (uint8_t)(word >> 24);
    }
    return img;
}

static uint64_t hash(const image *img)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < img->width * img->height * 3; i++) h = (h ^ img->rgb[i]) * 0x100000001b3u;
    return h;
}

/* Pillow 12's ImageOps.fit(picture, (width, height), Image.LANCZOS) of the same noise, as FNV-1a hashes. */
static void scaling_is_pillows(void **state)
{
    (void)state;
    static const struct {
        int width, height, to_width, to_height;
        uint64_t hash;
    } cases[] = {
        {5, 4, 3, 2, 0xd0ba3d4e884bb3aau},       {7, 5, 7, 5, 0xe6d7fe360d06050eu},
        {97, 61, 32, 48, 0x3b7bb0b3cf9f30a1u},   {97, 61, 61, 97, 0xd48a3afa056a961bu},
        {20, 30, 64, 64, 0x8b18f04b804df169u},   {1, 1, 8, 8, 0x5709e8ae4e763565u},
        {640, 481, 48, 80, 0xba4c648c5527ababu}, {64, 64, 64, 64, 0x9fb6c6c1cf946b73u},
        {1000, 7, 16, 16, 0xeb9c7151caf0d041u},
    };
    static const uint8_t first[] = {192, 115, 91, 121, 89,  85,  103, 146, 152,
                                    184, 124, 78, 123, 210, 160, 86,  107, 153};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image from = noise(cases[i].width, cases[i].height), to;
        assert_works(image_fit(&from, cases[i].to_width, cases[i].to_height, &to, &err), &err);
        assert_true(to.width == cases[i].to_width && to.height == cases[i].to_height);
        if (i == 0) assert_memory_equal(to.rgb, first, sizeof first);
        if (hash(&to) != cases[i].hash)
            fail_msg("%d x %d to %d x %d: %016llx", cases[i].width, cases[i].height, to.width, to.height,
                     (unsigned long long)hash(&to));
        image_free(&from);
        image_free(&to);
    }
    image from = noise(2, 2), to;
    assert_fails(image_fit(&from, 0, 3, &to, &err), LECO_INVALID, &err, "0 x 3");
    image_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_jpeg_becomes_rgb),
        cmocka_unit_test(all_orientations_are_respected),
        cmocka_unit_test(a_photograph_is_turned_the_right_way_up),
        cmocka_unit_test(exif_data_is_not_trusted),
        cmocka_unit_test(damaged_jpegs_are_refused),
        cmocka_unit_test(sizes_are_limited),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(names_dont_matter),
        cmocka_unit_test(scaling_is_pillows),
    };
    return cmocka_run_group_tests_name("unit/picture", tests, NULL, NULL);
}
