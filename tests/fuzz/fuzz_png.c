#include "fuzz.h"

#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "picture/png.h"

const char *const fuzz_words[] = {"IHDR", "IDAT", "IEND", "PLTE", "tRNS",       "tEXt", "zTXt",
                                  "iTXt", "gAMA", "iCCP", "eXIf", "parameters", NULL};

/* A file of a few bytes may claim a picture of 800 MB; here that would only cost time. (Up to 511 pixels a side pass.)
 */
static bool too_large(const uint8_t *data, size_t size)
{
    if (size < 24) return false;
    return data[16] || data[17] || data[18] > 1 || data[20] || data[21] || data[22] > 1;
}

/* What was read, written and read again is the same. */
static void check_again(const image *img, const char *text)
{
    leco_error err = {0};
    image again;
    char *text_again;
    FUZZ_CHECK(png_write(fuzz_result(), img, text, &err) == LECO_OK);
    FUZZ_CHECK(png_read(fuzz_result(), &again, &text_again, &err) == LECO_OK);
    FUZZ_CHECK(again.width == img->width && again.height == img->height);
    FUZZ_CHECK(memcmp(again.rgb, img->rgb, (size_t)img->width * (size_t)img->height * 3) == 0);
    FUZZ_CHECK(text ? text_again && strcmp(text, text_again) == 0 : !text_again);
    image_free(&again);
    mem_free(text_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    image img;
    char *text;
    fuzz_accepted = false;
    if (too_large(data, size)) return 0;
    leco_status status = png_read(fuzz_path(data, size), &img, &text, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!img.rgb && !text);
        return 0;
    }
    int width = 0, height = 0;
    FUZZ_CHECK(png_size(fuzz_path(data, size), &width, &height, &err) == LECO_OK);
    FUZZ_CHECK(width == img.width && height == img.height);
    FUZZ_CHECK(img.width > 0 && img.width <= 16384 && img.height > 0 && img.height <= 16384);
    check_again(&img, text);
    image_free(&img);
    mem_free(text);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static uint8_t rgb[9 * 7 * 3];
    static const char *const texts[] = {NULL, "a red star\nSteps: 25", "caf\xc3\xa9"};
    if (index >= 3) return false;
    for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * (index + 3));
    const image img = {9, 7, rgb};
    FUZZ_CHECK(png_write(path, &img, texts[index], NULL) == LECO_OK);
    return true;
}

static uint32_t number_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Every chunk's checksum, as far as the lengths lead. */
size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    (void)capacity;
    size_t at = 8;
    while (size >= 12 && at <= size - 12) {
        size_t length = number_at(data + at);
        if (length > size - at - 12) break;
        uint32_t crc = (uint32_t)crc32(0, data + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += length + 12;
    }
    return size;
}
