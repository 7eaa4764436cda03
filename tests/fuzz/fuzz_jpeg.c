#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include "base/mem.h"
#include "picture/picture.h"
#include "picture/resample.h"

const char *const fuzz_words[] = {"\xff\xd8", "\xff\xc0", "\xff\xc2", "\xff\xc4", "\xff\xda", "\xff\xd9", "\xff\xe1",
                                  "\xff\xee", "\xff\xdd", "Exif",     "Adobe",    "II*",      "MM",       NULL};

/* Any frame header that claims more than 511 pixels a side: a few bytes may claim a picture of 480 MB, which would only
 * cost time here. */
static bool too_large(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i + 9 < size; i++) {
        const uint8_t marker = data[i + 1];
        const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
        if (data[i] == 0xff && frame && (data[i + 5] > 1 || data[i + 7] > 1)) return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0}, other = {0};
    image img, fitted;
    int width = 0, height = 0;
    fuzz_accepted = false;
    if (too_large(data, size)) return 0;
    const char *path = fuzz_path(data, size);
    leco_status status = picture_read(path, &img, &err), sized = picture_measure(path, &width, &height, &other);
    fuzz_accepted = status == LECO_OK;
    if (sized != LECO_OK) FUZZ_REFUSED(sized, &other);
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!img.rgb);
        return 0;
    }
    FUZZ_CHECK(sized == LECO_OK && width == img.width && height == img.height);
    FUZZ_CHECK(width > 0 && width <= IMAGE_LARGEST_SIDE && height > 0 && height <= IMAGE_LARGEST_SIDE);
    FUZZ_CHECK(image_fit(&img, 8, 5, &fitted, &err) == LECO_OK);
    image_free(&fitted);
    image_free(&img);
    return 0;
}

/* RGB, grey, inks; baseline and progressive; with EXIF data. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const uint8_t exif[] = {'E',  'x', 'i', 'f', 0, 0, 'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0,
                                   0x12, 1,   3,   0,   1, 0, 0,   0,   6,   0, 0, 0, 0, 0, 0, 0};
    static const J_COLOR_SPACE spaces[] = {JCS_RGB, JCS_GRAYSCALE, JCS_CMYK};
    static const int components[] = {3, 1, 4};
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    uint8_t row[11 * 4];
    JSAMPROW rows = row;
    if (index >= 6) return false;
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file);
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = 11;
    jpeg.image_height = 9;
    jpeg.input_components = components[index % 3];
    jpeg.in_color_space = spaces[index % 3];
    jpeg_set_defaults(&jpeg);
    if (index >= 3) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    if (index % 2) jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    for (unsigned y = 0; y < 9; y++) {
        for (unsigned i = 0; i < sizeof row; i++) row[i] = (uint8_t)(i * y * (index + 3));
        jpeg_write_scanlines(&jpeg, &rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
    return true;
}
