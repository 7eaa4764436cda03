/* Event files as TensorBoard reads them: scalars and pictures over steps. Knows nothing of models.
 *
 * A file is records; a record is
 *
 *     u64 length, u32 masked CRC of these 8 bytes, the bytes, u32 masked CRC of them         all little endian
 *     masked CRC = rotate right(crc32c, 15) + 0xa282ead8
 *
 * and holds a protobuf message Event {double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary =
 * 5; SessionLog session_log = 7}, Summary {repeated Value value = 1}, Value {string tag = 1; float simple_value = 2;
 * Image image = 4}, Image {int32 height = 1; width = 2; colorspace = 3; bytes encoded_image_string = 4}, SessionLog
 * {status = 1}. Source: tensorflow/core/lib/io/record_writer.cc, core/util/event.proto, core/framework/summary.proto.
 *
 *     tfevents *e;
 *     LECO_TRY(tfevents_open(path, -1, &e, err));
 *     LECO_TRY(tfevents_write(e, 100, seconds, values, count, err));
 *     tfevents_close(e); */
#ifndef LECO_FORMAT_TFEVENTS_H
#define LECO_FORMAT_TFEVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct tfevents tfevents;

/* Begins a file, which replaces one of that name; or, where `from` isn't negative, goes on with it: a record that a
 * kill left half written goes, all whole ones stay, and a reader is told to forget what they say of steps from `from`
 * on, which come again (TensorBoard's way: SessionLog START). One that isn't there is begun then. A file of that name
 * that is none of events is LECO_FORMAT. On failure *out is NULL. */
leco_status tfevents_open(const char *path, int64_t from, tfevents **out, leco_error *err);
void tfevents_close(tfevents *e); /* NULL is fine */

/* A number, or a picture where png isn't NULL. */
typedef struct tfevents_value {
    const char *tag;
    double number;
    const uint8_t *png; /* [png_size] a PNG file */
    size_t png_size;
    int width, height;
} tfevents_value;

/* One event, in one write: a reader at the same time sees all of it or, for a moment, a part that it waits for the rest
 * of. wall_time: seconds since 1970. Where writing fails the file is as it was before. */
leco_status tfevents_write(tfevents *e, int64_t step, double wall_time, const tfevents_value *values, size_t count,
                           leco_error *err);

/* The CRC that stands in the file. */
uint32_t tfevents_masked_crc(const void *data, size_t size);

#endif
