/* JPEG files for tests, as libjpeg writes them. */
#ifndef TEST_JPEG_H
#define TEST_JPEG_H

#include <stdbool.h>
#include <stdint.h>

typedef enum test_jpeg_kind { TEST_JPEG_RGB, TEST_JPEG_GREY, TEST_JPEG_CMYK, TEST_JPEG_YCCK } test_jpeg_kind;

typedef struct test_jpeg {
    int width, height;
    const uint8_t *pixels; /* [height, width, 3], 1 of grey, 4 of inks: 255 is none, as Adobe has it */
    test_jpeg_kind kind;
    bool progressive;
    int orientation; /* 0: without EXIF data */
} test_jpeg;

/* At the best quality, with colours in full resolution. */
void test_write_jpeg(const char *path, const test_jpeg *of);

#endif
