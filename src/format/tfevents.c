#include "format/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/date.h"
#include "base/file.h"
#include "base/mem.h"

enum { HEADER = 12, TAIL = 4, LARGEST_RECORD = 1 << 28 };

struct tfevents {
    char *path;
    int file;
    off_t end;      /* of the last whole record */
    uint8_t *bytes; /* [room] of the record in the making, `used` so far */
    size_t used, room;
    bool failed; /* no memory for it */
};

/* ---- checksums ---- */

/* CRC-32C (Castagnoli), four bits at a time. */
static uint32_t crc32c(const void *data, size_t size)
{
    static const uint32_t table[16] = {0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u,
                                       0x61c69362u, 0x7198540du, 0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u,
                                       0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u};
    const uint8_t *byte = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= byte[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

uint32_t tfevents_masked_crc(const void *data, size_t size)
{
    const uint32_t crc = crc32c(data, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint64_t get_little(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | from[i];
    return value;
}

static void put_little(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

/* ---- a message in the making ---- */

static void put_bytes(tfevents *e, const void *data, size_t size)
{
    if (e->used + size > e->room) {
        const size_t wanted = 2 * (e->used + size);
        uint8_t *grown = mem_realloc(e->bytes, wanted, 1);
        if (!grown) {
            e->failed = true;
            return;
        }
        e->bytes = grown;
        e->room = wanted;
    }
    if (size > 0) memcpy(e->bytes + e->used, data, size);
    e->used += size;
}

static void put_varint(tfevents *e, uint64_t value)
{
    uint8_t text[10];
    size_t length = 0;
    do {
        text[length++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        value >>= 7;
    } while (value);
    put_bytes(e, text, length);
}

/* Fields of a message: their number, then what they are. */
enum { WIRE_VARINT = 0, WIRE_EIGHT = 1, WIRE_LENGTH = 2, WIRE_FOUR = 5 };

static void put_key(tfevents *e, unsigned field, unsigned wire)
{
    put_varint(e, field << 3 | wire);
}

static void put_whole(tfevents *e, unsigned field, int64_t value)
{
    put_key(e, field, WIRE_VARINT);
    put_varint(e, (uint64_t)value);
}

static void put_double(tfevents *e, unsigned field, double value)
{
    uint64_t bits;
    uint8_t bytes[8];
    memcpy(&bits, &value, sizeof bits);
    put_little(bytes, bits, 8);
    put_key(e, field, WIRE_EIGHT);
    put_bytes(e, bytes, 8);
}

static void put_float(tfevents *e, unsigned field, float value)
{
    uint32_t bits;
    uint8_t bytes[4];
    memcpy(&bits, &value, sizeof bits);
    put_little(bytes, bits, 4);
    put_key(e, field, WIRE_FOUR);
    put_bytes(e, bytes, 4);
}

static void put_string(tfevents *e, unsigned field, const void *data, size_t size)
{
    put_key(e, field, WIRE_LENGTH);
    put_varint(e, size);
    put_bytes(e, data, size);
}

/* A message within one says its length first: it is made behind, and then the length moves in before it. */
static size_t begin_inner(tfevents *e, unsigned field)
{
    put_key(e, field, WIRE_LENGTH);
    return e->used;
}

static void end_inner(tfevents *e, size_t begun)
{
    const size_t size = e->used - begun;
    put_varint(e, size);
    const size_t moved = e->used - begun - size;
    if (e->failed) return;
    uint8_t length[10];
    memcpy(length, e->bytes + begun + size, moved);
    memmove(e->bytes + begun + moved, e->bytes + begun, size);
    memcpy(e->bytes + begun, length, moved);
}

static void put_picture(tfevents *e, const tfevents_value *v)
{
    const size_t inner = begin_inner(e, 4);
    put_whole(e, 1, v->height);
    put_whole(e, 2, v->width);
    put_whole(e, 3, 3); /* RGB */
    put_string(e, 4, v->png, v->png_size);
    end_inner(e, inner);
}

static void put_value(tfevents *e, const tfevents_value *v)
{
    const size_t inner = begin_inner(e, 1);
    put_string(e, 1, v->tag, strlen(v->tag));
    if (v->png)
        put_picture(e, v);
    else
        put_float(e, 2, (float)v->number);
    end_inner(e, inner);
}

/* ---- records ---- */

static void begin_event(tfevents *e, double wall_time, int64_t step)
{
    static const uint8_t header[HEADER] = {0};
    e->used = 0;
    e->failed = false;
    put_bytes(e, header, HEADER);
    put_double(e, 1, wall_time);
    put_whole(e, 2, step);
}

static leco_status write_all(tfevents *e, leco_error *err)
{
    size_t done = 0;
    while (done < e->used) {
        const ssize_t now = pwrite(e->file, e->bytes + done, e->used - done, e->end + (off_t)done);
        if (now < 0 && errno == EINTR) continue;
        if (now <= 0) {
            const int why = now < 0 ? errno : ENOSPC;
            if (ftruncate(e->file, e->end) != 0) done = 0; /* a reader waits at half a record for ever, no worse */
            return error_errno(err, e->path, "cannot write", why);
        }
        done += (size_t)now;
    }
    e->end += (off_t)e->used;
    return LECO_OK;
}

static leco_status end_event(tfevents *e, leco_error *err)
{
    uint8_t tail[TAIL];
    const size_t size = e->used - HEADER;
    if (!e->failed) put_little(tail, tfevents_masked_crc(e->bytes + HEADER, size), TAIL);
    put_bytes(e, tail, e->failed ? 0 : TAIL);
    if (e->failed) return error_memory(err, e->used, e->path);
    put_little(e->bytes, size, 8);
    put_little(e->bytes + 8, tfevents_masked_crc(e->bytes, 8), 4);
    return write_all(e, err);
}

leco_status tfevents_write(tfevents *e, int64_t step, double wall_time, const tfevents_value *values, size_t count,
                           leco_error *err)
{
    begin_event(e, wall_time, step);
    const size_t summary = begin_inner(e, 5);
    for (size_t i = 0; i < count; i++) put_value(e, &values[i]);
    end_inner(e, summary);
    return end_event(e, err);
}

/* ---- opening ---- */

static leco_status write_version(tfevents *e, leco_error *err)
{
    static const char version[] = "brain.Event:2";
    begin_event(e, date_seconds(), 0);
    put_string(e, 3, version, strlen(version));
    return end_event(e, err);
}

static leco_status write_start(tfevents *e, int64_t from, leco_error *err)
{
    begin_event(e, date_seconds(), from);
    const size_t inner = begin_inner(e, 7);
    put_whole(e, 1, 1); /* START */
    end_inner(e, inner);
    return end_event(e, err);
}

/* Where the whole records at the start of `map` end. */
static size_t whole_records(const file_map *map)
{
    size_t at = 0;
    while (map->size - at >= HEADER + TAIL) {
        const uint8_t *record = map->data + at;
        const uint64_t size = get_little(record, 8), rest = map->size - at - HEADER - TAIL;
        if (get_little(record + 8, 4) != tfevents_masked_crc(record, 8) || size > rest || size > LARGEST_RECORD) break;
        if (get_little(record + HEADER + size, TAIL) != tfevents_masked_crc(record + HEADER, size)) break;
        at += HEADER + (size_t)size + TAIL;
    }
    return at;
}

/* The records that are there; 0 of a file that is empty, or isn't there. */
static leco_status look(const char *path, size_t *whole, leco_error *err)
{
    file_map map;
    *whole = 0;
    if (!file_exists(path)) return LECO_OK;
    LECO_TRY(file_map_open(path, &map, err));
    *whole = whole_records(&map);
    const bool strange = *whole == 0 && map.size > 0;
    file_map_close(&map);
    return strange ? error_set(err, LECO_FORMAT, "%s: is no file of events, so nothing can be added to it", path)
                   : LECO_OK;
}

static leco_status open_file(tfevents *e, const char *path, int64_t from, leco_error *err)
{
    size_t whole = 0;
    if (from >= 0) LECO_TRY(look(path, &whole, err));
    if (from < 0 && unlink(path) != 0 && errno != ENOENT) return error_errno(err, path, "cannot replace", errno);
    if (!(e->path = mem_strdup(path))) return error_memory(err, strlen(path), "a path");
    e->file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (e->file < 0) return error_errno(err, path, "cannot write", errno);
    e->end = (off_t)whole;
    if (ftruncate(e->file, e->end) != 0) return error_errno(err, path, "cannot write", errno);
    return whole > 0 ? write_start(e, from, err) : write_version(e, err);
}

leco_status tfevents_open(const char *path, int64_t from, tfevents **out, leco_error *err)
{
    *out = NULL;
    tfevents *e = mem_calloc(1, sizeof *e);
    if (!e) return error_memory(err, sizeof *e, "a file of events");
    e->file = -1;
    leco_status status = open_file(e, path, from, err);
    if (status == LECO_OK)
        *out = e;
    else
        tfevents_close(e);
    return status;
}

void tfevents_close(tfevents *e)
{
    if (!e) return;
    if (e->file >= 0) close(e->file);
    mem_free(e->bytes);
    mem_free(e->path);
    mem_free(e);
}
