/* Folders of pictures: what is found in them, the sizes that are chosen, the objectives that a config makes of them. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "picture/png.h"
#include "test_jpeg.h"
#include "train/albums.h"
#include "train/modes.h"
#include "train/photos.h"
#include "train/source.h"

static leco_error err;

/* ---- files ---- */

static const char *folder(const char *name)
{
    const char *path = test_path(name);
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

static void put_png(const char *in, const char *name, int width, int height)
{
    char path[512];
    image img;
    snprintf(path, sizeof path, "%s/%s", in, name);
    assert_works(image_create(width, height, &img, &err), &err);
    assert_works(png_write(path, &img, NULL, &err), &err);
    image_free(&img);
}

static void put_text(const char *in, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", in, name);
    test_write(path, text, strlen(text));
}

/* ---- what is in a folder ---- */

static void pictures_are_found_with_their_captions(void **state)
{
    (void)state;
    const char *in = folder("found");
    char path[512];
    arena *memory = arena_create();
    photo_list list;
    static const uint8_t pixels[12 * 8 * 3];
    put_png(in, "b.png", 5, 3);
    put_png(in, ".hidden.png", 5, 3);
    put_png(in, "c d.PNG", 1, 1);
    put_text(in, "notes.md", "nothing");
    put_text(in, "b.txt", "\xEF\xBB\xBF\n  a {red|blue} thing \r\nmore\n");
    put_text(in, "c d.txt", "");
    put_png(in, "e.png", 5, 3);
    put_text(in, "e.caption", "kohya's");
    snprintf(path, sizeof path, "%s/a.jpeg", in);
    test_write_jpeg(path, &(test_jpeg){12, 8, pixels, TEST_JPEG_RGB, false, 8});
    assert_works(photos_find(in, "the prompt", memory, &list, &err), &err);
    assert_int_equal(list.count, 4);
    assert_string_equal(list.item[0].path[0], path);
    assert_true(list.item[0].width == 8 && list.item[0].height == 12 && !list.item[0].path[1]); /* turned */
    assert_true(list.item[1].width == 5 && list.item[1].height == 3);
    assert_string_equal(list.item[0].prompt, "the prompt");
    assert_string_equal(list.item[1].prompt, "a {red|blue} thing");
    assert_string_equal(list.item[2].prompt, "");
    assert_string_equal(list.item[3].prompt, "kohya's");
    arena_destroy(memory);
}

static void mistakes_in_folders_are_told(void **state)
{
    (void)state;
    arena *memory = arena_create();
    photo_list list;
    assert_fails(photos_find(test_path("absent"), "x", memory, &list, &err), LECO_IO, &err, "absent", "cannot read");
    const char *in = folder("mistakes");
    assert_fails(photos_find(in, "x", memory, &list, &err), LECO_INVALID, &err, in, "no pictures in it");
    put_text(in, "words.txt", "x");
    assert_fails(photos_find(in, "x", memory, &list, &err), LECO_INVALID, &err, in, "no pictures in it");
    put_png(in, "a.png", 5, 3);
    assert_works(photos_find(in, "x", memory, &list, &err), &err);
    assert_fails(photos_find(in, NULL, memory, &list, &err), LECO_INVALID, &err, "a.png: nothing says what it shows",
                 "a.txt");
    put_text(in, "a.txt", "a {red");
    assert_fails(photos_find(in, "x", memory, &list, &err), LECO_INVALID, &err, "a.txt", "{");
    put_text(in, "a.txt", "red");
    put_text(in, "b.webp", "RIFF....WEBPVP8 ");
    assert_fails(photos_find(in, "x", memory, &list, &err), LECO_UNSUPPORTED, &err, "b.webp", "is a WebP picture");
    put_text(in, "b.webp", "");
    assert_fails(photos_find(in, "x", memory, &list, &err), LECO_FORMAT, &err, "b.webp", "is empty");
    arena_destroy(memory);
}

static void pairs_have_names_and_sizes_in_common(void **state)
{
    (void)state;
    const char *before = folder("before"), *after = folder("after");
    arena *memory = arena_create();
    photo_list list;
    put_png(before, "a.png", 6, 4);
    put_png(before, "a-b.png", 5, 5);
    put_png(after, "a.jpg", 6, 4); /* the bytes decide what it is */
    put_png(after, "a-b.png", 5, 5);
    assert_works(photos_find_pairs(before, after, memory, &list, &err), &err);
    assert_int_equal(list.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_non_null(strstr(list.item[i].path[0], i == 0 ? "before/a-b.png" : "before/a.png"));
        assert_non_null(strstr(list.item[i].path[1], i == 0 ? "after/a-b.png" : "after/a.jpg"));
        assert_null(list.item[i].prompt);
    }
    assert_true(list.item[1].width == 6 && list.item[1].height == 4);
    put_png(after, "aa.png", 5, 5);
    assert_fails(photos_find_pairs(before, after, memory, &list, &err), LECO_INVALID, &err, "after/aa.png",
                 "has no partner of that name in", "before");
    put_png(before, "aa.png", 5, 6);
    assert_fails(photos_find_pairs(before, after, memory, &list, &err), LECO_INVALID, &err, "after/aa.png is 5 x 5",
                 "before/aa.png is 5 x 6");
    put_png(before, "aa.png", 5, 5);
    put_png(before, "0.png", 5, 5);
    assert_fails(photos_find_pairs(before, after, memory, &list, &err), LECO_INVALID, &err, "before/0.png",
                 "has no partner");
    arena_destroy(memory);
}

/* ---- sizes ---- */

static void the_nearest_shape_is_chosen(void **state)
{
    (void)state;
    static const struct {
        int64_t width, height, asked_width, asked_height, unit, bucket_width, bucket_height;
    } cases[] = {
        {3000, 3000, 512, 512, 64, 512, 512}, {1920, 1080, 512, 512, 64, 640, 384},
        {1080, 1920, 512, 512, 64, 384, 640}, {4000, 3000, 512, 512, 64, 576, 448},
        {5000, 100, 512, 512, 64, 1024, 256}, {1, 1, 512, 512, 64, 512, 512},
        {300, 200, 64, 64, 16, 80, 48},       {100, 101, 64, 64, 16, 64, 64},
        {500, 500, 8, 8, 64, 8, 8},           {800, 480, 80, 48, 16, 80, 48},
        {640, 480, 500, 500, 64, 576, 384},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const photo p = {.width = cases[i].width, .height = cases[i].height};
        const picture_size asked = {3, cases[i].asked_height, cases[i].asked_width};
        const picture_size got = photo_bucket(&p, asked, cases[i].unit);
        if (got.batch != 3 || got.width != cases[i].bucket_width || got.height != cases[i].bucket_height)
            fail_msg("%zu: %d x %d", i, (int)got.width, (int)got.height);
    }
}

/* ---- configs ---- */

static leco_status read_text(const char *text, train_config *out)
{
    char all[2000];
    const char *path = test_path("images.yaml");
    snprintf(all, sizeof all,
             "pretrained_model: {name_or_path: \"" LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like\"}\n%s", text);
    test_write(path, all, strlen(all));
    return train_config_read(path, NULL, 0, out, &err);
}

#define assert_refused(text, status, ...)                                                                              \
    do {                                                                                                               \
        train_config refused_ = {0};                                                                                   \
        assert_fails(read_text(text, &refused_), status, &err, __VA_ARGS__);                                           \
    } while (0)

static void mistakes_in_configs_are_told(void **state)
{
    (void)state;
    folder("some");
    test_write(test_path("a_file"), "x", 1);
    assert_refused("images: some\n", LECO_INVALID, "images.yaml:2", "images", "path: FOLDER");
    assert_refused("images: {prompt: x}\n", LECO_INVALID, "images.path is missing");
    assert_refused("images: {path: nowhere}\n", LECO_IO, "images.path", "there is no", "nowhere");
    assert_refused("images: {path: a_file}\n", LECO_INVALID, "images.path", "a_file is not a folder");
    assert_refused("images: {path: some, promt: x}\n", LECO_INVALID, "images.promt", "did you mean \"prompt\"");
    assert_refused("images: {path: some, prompt: 'a {b'}\n", LECO_INVALID, "images.prompt");
    assert_refused("images: {path: some, regularisation: {path: nowhere}}\n", LECO_IO, "images.regularisation.path");
    assert_refused("images: {path: some, regularization: {path: some}}\n", LECO_INVALID, "images.regularization",
                   "regularisation");
    assert_refused("images: {path: some, regularisation: {path: some}}\npreserve: [a]\n", LECO_INVALID,
                   "images.regularisation and preserve do the same work");
    assert_refused("prompts: [{target: a, images: {before: some, after: some}}]\n", LECO_INVALID, "prompts.images",
                   "action: slider");
    assert_refused("prompts: [{target: a, action: slider, images: {before: some}}]\n", LECO_INVALID,
                   "prompts.images.after is missing");
    assert_refused("prompts: [{target: a, action: slider, positive: b, images: {before: some, after: some}}]\n",
                   LECO_INVALID, "prompts.positive says nothing beside prompts.images");
    assert_refused("prompts: [{target: a, action: slider, images: [some]}]\n", LECO_INVALID, "prompts.images",
                   "{before: FOLDER, after: FOLDER}");
    assert_refused("train: {lr: 1}\n", LECO_INVALID, "no prompts");
}

static void make(const char *text, train_config *c, arena *memory, objective_list *list)
{
    model *m;
    assert_works(read_text(text, c), &err);
    assert_works(model_open(c->model, &m, &err), &err);
    assert_works(objectives_of_config(c, memory, list, &err), &err);
    assert_works(albums_add(c, m, memory, list, &err), &err);
    model_close(m);
}

/* The model's pictures are 32 x 32, in steps of 16. */
static void pictures_become_an_objective_a_size(void **state)
{
    (void)state;
    const char *in = folder("album"), *other = folder("others");
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d.png", i);
        put_png(in, name, 40, 40);
        put_png(other, name, 40, 40);
    }
    put_png(in, "wide.png", 90, 30);
    train_config c;
    objective_list list;
    arena *memory = arena_create();
    make("images: {path: album, prompt: a thing, repeats: 5, batch_size: 2, weight: 0.5}\npreserve: [a circle]\n", &c,
         memory, &list);
    assert_true(list.count == 3 && list.held == 1);
    const objective *o = list.item;
    assert_true(o[0].source.row == &source_photographs && o[0].source.photo_count == 3 && o[0].tickets == 15);
    assert_true(o[0].size.width == 32 && o[0].size.height == 32 && o[0].size.batch == 2);
    assert_true(o[1].source.photo_count == 1 && o[1].tickets == 5 && o[1].size.width == 48 && o[1].size.height == 16);
    assert_true(o[0].branch_count == 1 && o[0].branches->added_noise && !o[0].branches->prompt);
    assert_true(o[0].branches->weight == 0.5 && o[0].branches->multiplier == 1 && o[0].branches->terms.count == 0);
    assert_true(o[2].source.row == &source_trajectory && o[2].branches->multiplier == 1 && o[2].branch_count == 1);
    assert_true(objectives_probability(&list, 0) == 0.5 * 15 / 20);
    assert_false(objective_is_still(&o[0]));
    train_config_free(&c);

    make("images: {path: album, prompt: a thing, weight: 0.5, guidance_scale: 4}\n", &c, memory, &list);
    assert_true(list.count == 2 && list.item[1].branch_count == 2);
    const branch *without = &list.item[1].branches[1];
    assert_string_equal(without->prompt, "");
    assert_true(without->added_noise && without->weight == 0.5 * 0.75 && without->terms.count == 0);
    train_config_free(&c);

    make("prompts: [{target: a, positive: b}]\nimages: {path: album, prompt: a thing, buckets: false, regularisation: "
         "{path: others, prompt: things, share: 0.25, weight: 2}}\n",
         &c, memory, &list);
    assert_true(list.count == 3 && list.held == 1 && list.held_share == 0.25);
    assert_true(list.item[0].source.row == &source_trajectory && list.item[1].source.photo_count == 4);
    assert_true(list.item[1].size.width == 32 && list.item[2].source.photo_count == 3);
    assert_string_equal(list.item[2].source.photos[0].prompt, "things");
    assert_true(list.item[2].branches->weight == 2);
    assert_true(objectives_probability(&list, 1) == 0.75 * 4 / 5);
    train_config_free(&c);
    arena_destroy(memory);
}

static void pairs_become_a_slider(void **state)
{
    (void)state;
    const char *before = folder("plain"), *after = folder("striped");
    put_png(before, "a.png", 40, 40);
    put_png(after, "a.png", 40, 40);
    put_png(before, "b.png", 90, 30);
    put_png(after, "b.png", 90, 30);
    train_config c;
    objective_list list;
    arena *memory = arena_create();
    make("prompts: [{action: slider, target: x, multiplier: 0.25, images: {before: plain, after: striped}}]\n", &c,
         memory, &list);
    assert_true(list.count == 2 && list.held == 0);
    const objective *o = &list.item[1];
    assert_true(o->size.width == 48 && o->source.photo_count == 1 && o->branch_count == 2);
    assert_non_null(strstr(o->source.photos->path[0], "plain/b.png"));
    assert_non_null(strstr(o->source.photos->path[1], "striped/b.png"));
    for (size_t i = 0; i < 2; i++) {
        const branch *b = &o->branches[i];
        assert_true(b->multiplier == (i == 0 ? 0.25 : -0.25) && b->view == 1 - i && !b->added_noise);
        assert_true(b->terms.count == 1 && b->terms.item[0].weight == 1 && b->terms.item[0].view == i);
        assert_string_equal(b->prompt, "x");
        assert_string_equal(b->terms.item[0].prompt, "x");
    }
    train_config_free(&c);

    /* Half of the way; and none: then each is pulled to what it sees itself. */
    make("prompts:\n- {action: slider, target: x, guidance_scale: 0.5, images: {before: plain, after: striped}}\n"
         "- {action: slider, target: x, guidance_scale: 0, images: {before: plain, after: striped}}\n",
         &c, memory, &list);
    assert_int_equal(list.count, 4);
    assert_int_equal(list.item[0].branches[0].terms.count, 2);
    assert_true(!objective_is_still(&list.item[0]) && objective_is_still(&list.item[2]));
    train_config_free(&c);
    arena_destroy(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_found_with_their_captions),
        cmocka_unit_test(mistakes_in_folders_are_told),
        cmocka_unit_test(pairs_have_names_and_sizes_in_common),
        cmocka_unit_test(the_nearest_shape_is_chosen),
        cmocka_unit_test(mistakes_in_configs_are_told),
        cmocka_unit_test(pictures_become_an_objective_a_size),
        cmocka_unit_test(pairs_become_a_slider),
    };
    return cmocka_run_group_tests_name("unit/photos", tests, NULL, NULL);
}
