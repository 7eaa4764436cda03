#include "test_jpeg.h"

#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

void test_write_jpeg(const char *path, const test_jpeg *of)
{
    static const J_COLOR_SPACE spaces[] = {JCS_RGB, JCS_GRAYSCALE, JCS_CMYK, JCS_CMYK};
    static const int components[] = {3, 1, 4, 4};
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors; /* its functions end the program */
    FILE *file = fopen(path, "wb");
    if (!file) abort();
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)of->width;
    jpeg.image_height = (JDIMENSION)of->height;
    jpeg.input_components = components[of->kind];
    jpeg.in_color_space = spaces[of->kind];
    jpeg_set_defaults(&jpeg);
    if (of->kind == TEST_JPEG_YCCK) jpeg_set_colorspace(&jpeg, JCS_YCCK);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
    if (of->kind == TEST_JPEG_YCCK) jpeg.comp_info[3].h_samp_factor = jpeg.comp_info[3].v_samp_factor = 1;
    if (of->progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    if (of->orientation) {
        const uint8_t exif[] = {'E', 'x',  'i', 'f', 0,
                                0,   'I',  'I', '*', 0,
                                8,   0,    0,   0,   1,
                                0,   0x12, 1,   3,   0,
                                1,   0,    0,   0,   (uint8_t)of->orientation,
                                0,   0,    0,   0,   0,
                                0,   0};
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, sizeof exif);
    }
    for (int y = 0; y < of->height; y++) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(of->pixels + y * of->width * components[of->kind]);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
}
