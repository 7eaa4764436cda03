#include "picture/jpeg.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

/* A progressive picture may repeat its data as often as it likes, at a few bytes a time; encoders make about ten scans.
 */
enum { MOST_SCANS = 200 };

/* libjpeg reports an error by a jump out of its callback. As in png.c all that has to be released is in here, outside
 * of the functions that the jump leaves. */
typedef struct job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    const char *path;
    leco_error *err;
    leco_status status;
    bool only_size;
    int orientation;
    file_map map;
    image result;
    uint8_t *cmyk; /* a row */
} job;

_Noreturn static void leave(job *j, leco_status status, const char *what)
{
    if (status == LECO_MEMORY)
        j->status = error_memory(j->err, 0, j->path);
    else
        j->status = error_set(j->err, status, "%s: %s", j->path, what);
    longjmp(j->out, 1);
}

static void on_error(j_common_ptr info)
{
    char text[JMSG_LENGTH_MAX];
    info->err->format_message(info, text);
    leave(info->client_data, info->err->msg_code == JERR_OUT_OF_MEMORY ? LECO_MEMORY : LECO_FORMAT, text);
}

/* Level -1 are warnings: some mean that what follows isn't the picture any more. */
static void on_message(j_common_ptr info, int level)
{
    job *j = info->client_data;
    char text[JMSG_LENGTH_MAX];
    if (level >= 0) return;
    switch (info->err->msg_code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        leave(j, LECO_FORMAT, "the picture's data is damaged");
    default:
        info->err->format_message(info, text);
        log_message(LOG_WARNING, "%s: %s", j->path, text);
    }
}

static void on_progress(j_common_ptr info)
{
    job *j = info->client_data;
    if (j->jpeg.input_scan_number > MOST_SCANS) leave(j, LECO_UNSUPPORTED, "the picture comes in too many scans");
}

/* ---- bytes ---- */

static void nothing(j_decompress_ptr jpeg)
{
    (void)jpeg;
}

/* All of the file is there from the start. */
static boolean no_more(j_decompress_ptr jpeg)
{
    leave(jpeg->client_data, LECO_FORMAT, "the file ends too early");
}

static void skip(j_decompress_ptr jpeg, long count)
{
    if (count <= 0) return;
    if ((size_t)count > jpeg->src->bytes_in_buffer) no_more(jpeg);
    jpeg->src->next_input_byte += count;
    jpeg->src->bytes_in_buffer -= (size_t)count;
}

/* ---- the picture ---- */

static int orientation_of(const job *j)
{
    static const uint8_t head[] = {'E', 'x', 'i', 'f', 0, 0};
    for (jpeg_saved_marker_ptr m = j->jpeg.marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length > sizeof head && memcmp(m->data, head, sizeof head) == 0)
            return image_exif_orientation(m->data + sizeof head, m->data_length - sizeof head);
    return 1;
}

/* Inks as Adobe writes them: 255 is none. */
static void inks_to_rgb(const uint8_t *cmyk, uint8_t *rgb, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++, cmyk += 4, rgb += 3)
        for (int k = 0; k < 3; k++) rgb[k] = (uint8_t)((cmyk[k] * (unsigned)cmyk[3] + 127) / 255);
}

static void read_rows(job *j)
{
    struct jpeg_decompress_struct *jpeg = &j->jpeg;
    const bool inks = jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK;
    const size_t width = jpeg->image_width;
    jpeg->out_color_space = inks ? JCS_CMYK : JCS_RGB;
    if (inks) {
        j->cmyk = mem_calloc(width, 4);
        if (!j->cmyk) leave(j, LECO_MEMORY, "");
    }
    jpeg_start_decompress(jpeg);
    if (jpeg->output_components != (inks ? 4 : 3)) leave(j, LECO_UNSUPPORTED, "cannot be turned into RGB");
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *row = j->result.rgb + (size_t)jpeg->output_scanline * width * 3, *at = inks ? j->cmyk : row;
        jpeg_read_scanlines(jpeg, &at, 1);
        if (inks) inks_to_rgb(j->cmyk, row, width);
    }
    jpeg_finish_decompress(jpeg);
}

static void read_steps(job *j)
{
    struct jpeg_decompress_struct *jpeg = &j->jpeg;
    jpeg_create_decompress(jpeg);
    jpeg->progress = &j->progress;
    jpeg->src = &j->source;
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(jpeg, TRUE);
    j->orientation = orientation_of(j);
    j->status = image_check_size(j->path, jpeg->image_width, jpeg->image_height, j->err);
    if (j->status != LECO_OK) return;
    if (j->only_size) {
        j->result.width = (int)jpeg->image_width;
        j->result.height = (int)jpeg->image_height;
        return;
    }
    j->status = image_create((int)jpeg->image_width, (int)jpeg->image_height, &j->result, j->err);
    if (j->status == LECO_OK) read_rows(j);
}

static leco_status read_guarded(job *j)
{
    LECO_TRY(file_map_open(j->path, &j->map, j->err));
    j->jpeg.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    j->progress.progress_monitor = on_progress;
    j->source = (struct jpeg_source_mgr){.next_input_byte = j->map.data,
                                         .bytes_in_buffer = j->map.size,
                                         .init_source = nothing,
                                         .fill_input_buffer = no_more,
                                         .skip_input_data = skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = nothing};
    j->jpeg.client_data = j;
    if (setjmp(j->out) == 0) read_steps(j);
    jpeg_destroy_decompress(&j->jpeg);
    mem_free(j->cmyk);
    file_map_close(&j->map);
    return j->status;
}

leco_status jpeg_read(const char *path, image *out, leco_error *err)
{
    job j = {.path = path, .err = err};
    *out = (image){0};
    leco_status status = read_guarded(&j);
    if (status == LECO_OK) status = image_orient(&j.result, j.orientation, err);
    if (status != LECO_OK) {
        image_free(&j.result);
        return status;
    }
    *out = j.result;
    return LECO_OK;
}

leco_status jpeg_size(const char *path, int *width, int *height, leco_error *err)
{
    job j = {.path = path, .err = err, .only_size = true};
    LECO_TRY(read_guarded(&j));
    const bool turned = j.orientation > 4;
    *width = turned ? j.result.height : j.result.width;
    *height = turned ? j.result.width : j.result.height;
    return LECO_OK;
}
