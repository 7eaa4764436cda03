/* Event files: the bytes that TensorBoard's reader expects, what a kill leaves, and what isn't one. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/tfevents.h"

static leco_error err;

/* CRC-32C has a test vector: of "123456789" it is e3069283. */
static void the_checksum_is_castagnolis_masked(void **state)
{
    (void)state;
    const uint32_t crc = 0xe3069283u;
    assert_int_equal(tfevents_masked_crc("123456789", 9), (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u));
    assert_int_equal(tfevents_masked_crc("", 0), 0xa282ead8u);
}

/* ---- reading, as a reader of the format does it ---- */

typedef struct bytes {
    const unsigned char *at, *end;
} bytes;

static uint64_t little(const unsigned char *p, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static uint64_t varint(bytes *b)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        assert_true(b->at < b->end && shift < 64);
        value |= (uint64_t)(*b->at & 127) << shift;
        if (!(*b->at++ & 128)) return value;
    }
}

/* The next record of a file, checked. */
static bytes record(bytes *file)
{
    assert_true(file->end - file->at >= 16);
    const uint64_t size = little(file->at, 8);
    assert_int_equal(little(file->at + 8, 4), tfevents_masked_crc(file->at, 8));
    assert_true(size <= (uint64_t)(file->end - file->at) - 16);
    const bytes inside = {file->at + 12, file->at + 12 + size};
    assert_int_equal(little(inside.end, 4), tfevents_masked_crc(inside.at, (size_t)size));
    file->at = inside.end + 4;
    return inside;
}

/* A field: its number, and its bytes; or its value, where it has none. */
typedef struct field {
    unsigned number, wire;
    uint64_t value;
    bytes inside;
} field;

static field next_field(bytes *b)
{
    const uint64_t key = varint(b);
    field f = {.number = (unsigned)(key >> 3), .wire = (unsigned)(key & 7)};
    if (f.wire == 0) {
        f.value = varint(b);
        return f;
    }
    const uint64_t size = f.wire == 1 ? 8 : f.wire == 5 ? 4 : varint(b);
    assert_true(f.wire == 1 || f.wire == 5 || f.wire == 2);
    assert_true(size <= (uint64_t)(b->end - b->at));
    f.inside = (bytes){b->at, b->at + size};
    if (f.wire != 2) f.value = little(b->at, (int)size);
    b->at += size;
    return f;
}

static field expect(bytes *b, unsigned number, unsigned wire)
{
    const field f = next_field(b);
    assert_int_equal(f.number, number);
    assert_int_equal(f.wire, wire);
    return f;
}

static void expect_text(bytes *b, unsigned number, const char *text)
{
    const field f = expect(b, number, 2);
    assert_int_equal(f.inside.end - f.inside.at, strlen(text));
    assert_memory_equal(f.inside.at, text, strlen(text));
}

/* The event's time and step are before what it holds. */
static int64_t expect_step(bytes *event, double wall_time)
{
    double time;
    const uint64_t bits = expect(event, 1, 1).value;
    memcpy(&time, &bits, sizeof time);
    if (wall_time > 0) assert_true(time == wall_time);
    return (int64_t)expect(event, 2, 0).value;
}

static void expect_version(bytes *file)
{
    bytes event = record(file);
    assert_int_equal(expect_step(&event, 0), 0);
    expect_text(&event, 3, "brain.Event:2");
    assert_ptr_equal(event.at, event.end);
}

static void expect_number(bytes *summary, const char *tag, float number)
{
    float found;
    field value = expect(summary, 1, 2);
    expect_text(&value.inside, 1, tag);
    const uint32_t bits = (uint32_t)expect(&value.inside, 2, 5).value;
    memcpy(&found, &bits, sizeof found);
    assert_true(found == number);
    assert_ptr_equal(value.inside.at, value.inside.end);
}

static void write_one(tfevents *e, int64_t step, double number)
{
    const tfevents_value value = {.tag = "loss", .number = number};
    assert_works(tfevents_write(e, step, 1000.5 + (double)step, &value, 1, &err), &err);
}

static void events_are_as_the_format_says(void **state)
{
    (void)state;
    tfevents *e;
    unsigned char png[300];
    for (size_t i = 0; i < sizeof png; i++) png[i] = (unsigned char)i;
    const tfevents_value values[] = {
        {.tag = "loss", .number = 0.25},
        {.tag = "a picture", .png = png, .png_size = sizeof png, .width = 200, .height = 7},
        {.tag = "lr", .number = 1e-4}};
    assert_works(tfevents_open(test_path("events"), -1, &e, &err), &err);
    assert_works(tfevents_write(e, 300, 1234.5, values, 3, &err), &err);
    tfevents_close(e);

    size_t size;
    unsigned char *all = test_read(test_path("events"), &size);
    bytes file = {all, all + size};
    expect_version(&file);
    bytes event = record(&file);
    assert_int_equal(expect_step(&event, 1234.5), 300);
    field summary = expect(&event, 5, 2);
    expect_number(&summary.inside, "loss", 0.25f);
    field value = expect(&summary.inside, 1, 2);
    expect_text(&value.inside, 1, "a picture");
    field picture = expect(&value.inside, 4, 2);
    assert_int_equal(expect(&picture.inside, 1, 0).value, 7);
    assert_int_equal(expect(&picture.inside, 2, 0).value, 200);
    assert_int_equal(expect(&picture.inside, 3, 0).value, 3);
    const field encoded = expect(&picture.inside, 4, 2);
    assert_int_equal(encoded.inside.end - encoded.inside.at, sizeof png);
    assert_memory_equal(encoded.inside.at, png, sizeof png);
    expect_number(&summary.inside, "lr", 1e-4f);
    assert_ptr_equal(summary.inside.at, summary.inside.end);
    assert_ptr_equal(event.at, event.end);
    assert_ptr_equal(file.at, file.end);
    free(all);
}

/* The records of a file: "0v 1 2 3s" of a version, two events, and a start. */
static const char *outline(const char *path)
{
    static char text[400];
    size_t size;
    unsigned char *all = test_read(path, &size);
    bytes file = {all, all + size};
    text[0] = '\0';
    while (file.at < file.end) {
        bytes event = record(&file);
        const int64_t step = expect_step(&event, 0);
        const unsigned what = next_field(&event).number;
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%lld%s", used ? " " : "", (long long)step,
                 what == 3   ? "v"
                 : what == 7 ? "s"
                             : "");
    }
    free(all);
    return text;
}

static void one_that_goes_on_keeps_what_is_whole(void **state)
{
    (void)state;
    const char *path = test_path("events");
    tfevents *e;
    size_t size;
    assert_works(tfevents_open(path, -1, &e, &err), &err);
    for (int i = 1; i <= 3; i++) write_one(e, i, i);
    tfevents_close(e);
    unsigned char *whole = test_read(path, &size);
    assert_string_equal(outline(path), "0v 1 2 3");

    /* Cut anywhere within the last record, or with a byte of it wrong, it goes; the others stay, to the byte. */
    const size_t record_size = 16 + 9 + 2 + 2 + 2 + 6 + 5; /* time, step, summary, value, tag, number */
    for (size_t cut = 1; cut <= record_size; cut += 5) {
        test_write(path, whole, size - cut);
        assert_works(tfevents_open(path, 3, &e, &err), &err);
        write_one(e, 3, 30);
        tfevents_close(e);
        assert_string_equal(outline(path), "0v 1 2 3s 3");
    }
    test_write(path, whole, size);
    assert_works(tfevents_open(path, 2, &e, &err), &err); /* steps from 2 on come again: a reader is told */
    write_one(e, 2, 20);
    tfevents_close(e);
    assert_string_equal(outline(path), "0v 1 2 3 2s 2");
    size_t longer;
    unsigned char *now = test_read(path, &longer);
    assert_memory_equal(now, whole, size);
    free(now);

    assert_works(tfevents_open(path, -1, &e, &err), &err); /* begun anew */
    tfevents_close(e);
    assert_string_equal(outline(path), "0v");
    assert_int_equal(remove(path), 0);
    assert_works(tfevents_open(path, 5, &e, &err), &err); /* lost: begun, too */
    tfevents_close(e);
    assert_string_equal(outline(path), "0v");
    free(whole);
}

static void what_is_none_is_left_alone(void **state)
{
    (void)state;
    tfevents *e;
    size_t size;
    test_write(test_path("other"), "a text of somebody's, longer than a record's header", 51);
    assert_fails(tfevents_open(test_path("other"), 4, &e, &err), LECO_FORMAT, &err, "is no file of events");
    assert_null(e);
    unsigned char *kept = test_read(test_path("other"), &size);
    assert_int_equal(size, 51);
    free(kept);
    assert_fails(tfevents_open(test_path("nowhere/events"), -1, &e, &err), LECO_IO, &err, "cannot write");
    assert_fails(tfevents_open("/dev/full/x", -1, &e, &err), LECO_IO, &err, "cannot replace");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_castagnolis_masked),
        cmocka_unit_test(events_are_as_the_format_says),
        cmocka_unit_test(one_that_goes_on_keeps_what_is_whole),
        cmocka_unit_test(what_is_none_is_left_alone),
    };
    return cmocka_run_group_tests_name("unit/tfevents", tests, NULL, NULL);
}
