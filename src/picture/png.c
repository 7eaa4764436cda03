#include "picture/png.h"

#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

#define MAX_TEXT_BYTES (8u << 20) /* that a packed text chunk may unpack to */
#define PARAMETERS "parameters"

static uint8_t *row_of(const image *img, int y)
{
    return img->rgb + (size_t)y * (size_t)img->width * 3;
}

/* ---- libpng's errors and memory ----
 *
 * libpng reports an error by a jump to the setjmp of its caller. Everything that has to be released lives in a `job`,
 * outside the functions that the jump leaves, so that no local variable is needed after it. */

typedef struct job {
    const char *path;
    leco_error *err;
    leco_status status;
    size_t missing; /* bytes of an allocation that failed; 0: none did */
    png_structp png;
    png_infop info;
    /* writing */
    file_writer *writer; /* or, where that is NULL, */
    uint8_t *bytes;      /* [room], `used` so far */
    size_t used, room;
    const image *source;
    /* reading */
    file_map map;
    size_t position;
    const uint8_t *exif; /* the data of the chunk eXIf; NULL: there is none */
    size_t exif_size;
    bool animated;
    image result;
    uint8_t *rgba; /* of one with transparent pixels */
    char *text;
} job;

static void on_error(png_structp png, png_const_charp message)
{
    job *j = png_get_error_ptr(png);
    if (j->status == LECO_OK) j->status = error_set(j->err, LECO_FORMAT, "%s: %s", j->path, message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    const job *j = png_get_error_ptr(png);
    log_message(LOG_WARNING, "%s: %s", j->path, message);
}

static png_voidp allocate(png_structp png, png_alloc_size_t size)
{
    job *j = png_get_mem_ptr(png);
    void *block = mem_realloc(NULL, size, 1); /* libpng zeroes what it needs zeroed */
    if (!block) j->missing = size;
    return block;
}

static void release(png_structp png, png_voidp block)
{
    (void)png;
    mem_free(block);
}

/* Where memory runs out libpng may go on without a text chunk, or blame the file. */
static leco_status job_status(const job *j)
{
    return j->missing > 0 ? error_memory(j->err, j->missing, j->path) : j->status;
}

/* ---- writing ---- */

static void keep_bytes(job *j, const uint8_t *data, size_t size)
{
    if (j->used + size > j->room) {
        const size_t wanted = 2 * (j->used + size);
        uint8_t *grown = mem_realloc(j->bytes, wanted, 1);
        if (!grown) j->missing = wanted;
        if (!grown) png_error(j->png, "no memory");
        j->bytes = grown;
        j->room = wanted;
    }
    memcpy(j->bytes + j->used, data, size);
    j->used += size;
}

static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    job *j = png_get_io_ptr(png);
    if (!j->writer) {
        keep_bytes(j, data, size);
        return;
    }
    j->status = file_writer_write(j->writer, data, size, j->err);
    if (j->status != LECO_OK) png_error(png, "cannot write");
}

static void flush_nothing(png_structp png)
{
    (void)png;
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80) return false;
    return true;
}

static void write_steps(job *j, const char *parameters)
{
    png_set_write_fn(j->png, j, write_bytes, flush_nothing);
    png_set_user_limits(j->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(j->png, j->info, (png_uint_32)j->source->width, (png_uint_32)j->source->height, 8, PNG_COLOR_TYPE_RGB,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (parameters) {
        char keyword[] = PARAMETERS;
        png_text text = {.compression = is_ascii(parameters) ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE,
                         .key = keyword,
                         .text = (png_charp)(uintptr_t)parameters}; /* libpng copies it; its struct knows no const */
        png_set_text(j->png, j->info, &text, 1);
    }
    png_write_info(j->png, j->info);
    for (int y = 0; y < j->source->height; y++) png_write_row(j->png, row_of(j->source, y));
    png_write_end(j->png, j->info);
}

static void write_guarded(job *j, const char *parameters)
{
    j->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, j, on_error, on_warning, j, allocate, release);
    if (j->png) j->info = png_create_info_struct(j->png);
    if (!j->info) {
        if (j->status == LECO_OK) j->status = error_set(j->err, LECO_INTERNAL, "%s: cannot start libpng", j->path);
    } else if (setjmp(png_jmpbuf(j->png)) == 0) {
        write_steps(j, parameters);
    }
    png_destroy_write_struct(&j->png, &j->info);
}

leco_status png_write(const char *path, const image *img, const char *parameters, leco_error *err)
{
    job j = {.path = path, .err = err, .source = img};
    LECO_TRY(file_writer_open(path, &j.writer, err));
    write_guarded(&j, parameters);
    leco_status status = job_status(&j);
    if (status == LECO_OK) return file_writer_commit(j.writer, err);
    file_writer_abort(j.writer);
    return status;
}

leco_status png_encode(const char *what, const image *img, uint8_t **bytes, size_t *size, leco_error *err)
{
    job j = {.path = what, .err = err, .source = img};
    write_guarded(&j, NULL);
    leco_status status = job_status(&j);
    *bytes = status == LECO_OK ? j.bytes : NULL;
    *size = status == LECO_OK ? j.used : 0;
    if (status != LECO_OK) mem_free(j.bytes);
    return status;
}

/* ---- reading ---- */

static void read_bytes(png_structp png, png_bytep data, size_t size)
{
    job *j = png_get_io_ptr(png);
    if (size > j->map.size - j->position) png_error(png, "the file ends too early");
    memcpy(data, j->map.data + j->position, size);
    j->position += size;
}

/* libpng makes room for a chunk as long as the chunk says it is, up to 2 GiB, and only then reads it. So the lengths
 * are compared with the file's before libpng sees it. */
static leco_status check_chunks(job *j)
{
    size_t at = 8;
    if (j->map.size < at || png_sig_cmp(j->map.data, 0, at) != 0)
        return error_set(j->err, LECO_FORMAT, "%s: is not a PNG file", j->path);
    for (;;) {
        size_t rest = j->map.size - at;
        const unsigned char *chunk = j->map.data + at; /* length, type, data, checksum */
        if (rest < 12 || png_get_uint_32(chunk) > rest - 12)
            return error_set(j->err, LECO_FORMAT, "%s: ends inside the chunk that begins at byte %zu", j->path, at);
        const size_t length = png_get_uint_32(chunk);
        if (memcmp(chunk + 4, "IEND", 4) == 0) return LECO_OK;
        if (memcmp(chunk + 4, "acTL", 4) == 0) j->animated = true;
        if (memcmp(chunk + 4, "eXIf", 4) == 0) {
            j->exif = chunk + 8;
            j->exif_size = length;
        }
        at += 12 + length;
    }
}

/* Latin-1 to UTF-8: every byte of 0x80 and above becomes two. */
static char *utf8_of_latin1(const char *text)
{
    char *result = mem_calloc(strlen(text) + 1, 2), *out = result;
    if (!result) return NULL;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p >= 0x80) *out++ = (char)(0xc0 | *p >> 6);
        *out++ = (char)(*p >= 0x80 ? 0x80 | (*p & 0x3f) : *p);
    }
    return result;
}

static void find_parameters(job *j)
{
    png_textp texts;
    int count = 0;
    png_get_text(j->png, j->info, &texts, &count);
    for (int i = 0; i < count && !j->text; i++) {
        if (strcmp(texts[i].key, PARAMETERS) != 0) continue;
        const char *text = texts[i].text ? texts[i].text : "";
        bool utf8 = texts[i].compression >= PNG_ITXT_COMPRESSION_NONE;
        j->text = utf8 ? mem_strdup(text) : utf8_of_latin1(text);
        if (!j->text) j->missing = strlen(text) + 1;
    }
}

/* What isn't opaque lies on white. */
static void lay_on_white(const uint8_t *rgba, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, rgba += 4, rgb += 3)
        for (int k = 0; k < 3; k++) {
            const unsigned sum = rgba[k] * (unsigned)rgba[3] + 255u * (255u - rgba[3]);
            rgb[k] = (uint8_t)((sum + 127) / 255);
        }
}

/* All rows into pixels, `channels` bytes each. */
static void read_rows(job *j, uint8_t *pixels, size_t channels)
{
    const size_t stride = (size_t)j->result.width * channels;
    const int passes = png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
    if (png_get_rowbytes(j->png, j->info) != stride) png_error(j->png, "cannot be turned into RGB");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < j->result.height; y++) png_read_row(j->png, pixels + (size_t)y * stride, NULL);
    png_read_end(j->png, j->info);
}

static void read_steps(job *j)
{
    png_set_read_fn(j->png, j, read_bytes);
    png_set_user_limits(j->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* the check is below, with a better message */
    png_set_chunk_malloc_max(j->png, MAX_TEXT_BYTES);
    png_read_info(j->png, j->info);
    const png_uint_32 width = png_get_image_width(j->png, j->info), height = png_get_image_height(j->png, j->info);
    j->status = image_check_size(j->path, width, height, j->err);
    if (j->status != LECO_OK) return;
    const bool alpha = (png_get_color_type(j->png, j->info) & PNG_COLOR_MASK_ALPHA) != 0 ||
                       png_get_valid(j->png, j->info, PNG_INFO_tRNS) != 0;
    png_set_expand(j->png);
    png_set_scale_16(j->png);
    png_set_gray_to_rgb(j->png);
    j->status = image_create((int)width, (int)height, &j->result, j->err);
    if (j->status != LECO_OK) return;
    const size_t pixels = (size_t)width * height;
    if (alpha) {
        j->rgba = mem_calloc(pixels, 4);
        if (!j->rgba) j->missing = 4 * pixels;
        if (!j->rgba) return;
        read_rows(j, j->rgba, 4);
        lay_on_white(j->rgba, j->result.rgb, pixels);
    } else {
        read_rows(j, j->result.rgb, 3);
    }
    find_parameters(j);
}

static void read_guarded(job *j)
{
    j->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, j, on_error, on_warning, j, allocate, release);
    if (j->png) j->info = png_create_info_struct(j->png);
    if (!j->info) {
        if (j->status == LECO_OK) j->status = error_set(j->err, LECO_INTERNAL, "%s: cannot start libpng", j->path);
    } else if (setjmp(png_jmpbuf(j->png)) == 0) {
        read_steps(j);
    }
    png_destroy_read_struct(&j->png, &j->info, NULL);
}

static int orientation_of(const job *j)
{
    return j->exif ? image_exif_orientation(j->exif, j->exif_size) : 1;
}

leco_status png_read(const char *path, image *out, char **parameters, leco_error *err)
{
    job j = {.path = path, .err = err};
    *out = (image){0};
    if (parameters) *parameters = NULL;
    LECO_TRY(file_map_open(path, &j.map, err));
    j.status = check_chunks(&j);
    if (j.status == LECO_OK && j.animated)
        log_message(LOG_WARNING, "%s: is animated; only its still picture is read", path);
    if (j.status == LECO_OK) read_guarded(&j);
    mem_free(j.rgba);
    leco_status status = job_status(&j);
    if (status == LECO_OK) status = image_orient(&j.result, orientation_of(&j), err);
    file_map_close(&j.map);
    if (status != LECO_OK) {
        image_free(&j.result);
        mem_free(j.text);
        return status;
    }
    *out = j.result;
    if (parameters)
        *parameters = j.text;
    else
        mem_free(j.text);
    return LECO_OK;
}

leco_status png_size(const char *path, int *width, int *height, leco_error *err)
{
    job j = {.path = path, .err = err};
    LECO_TRY(file_map_open(path, &j.map, err));
    leco_status status = check_chunks(&j);
    if (status == LECO_OK && (png_get_uint_32(j.map.data + 8) != 13 || memcmp(j.map.data + 12, "IHDR", 4) != 0))
        status = error_set(err, LECO_FORMAT, "%s: doesn't begin with its header", path);
    if (status == LECO_OK) {
        const bool turned = orientation_of(&j) > 4;
        const png_uint_32 w = png_get_uint_32(j.map.data + 16), h = png_get_uint_32(j.map.data + 20);
        status = image_check_size(path, w, h, err);
        if (status == LECO_OK) *width = (int)(turned ? h : w);
        if (status == LECO_OK) *height = (int)(turned ? w : h);
    }
    file_map_close(&j.map);
    return status;
}
