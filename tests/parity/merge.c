/* LoRAs that were joined, put into a model, and taken out of it again: what the model predicts with them is what it
 * predicts with the LoRAs side by side, and their products are the same, layer by layer. */
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "leco/leco.h"
#include "model/kinds.h"
#include "model/model.h"
#include "solve/change.h"

#define SD1 FIXTURES "sd1-like"

static leco_error err;

/* Of all sorts: on linear layers and 1x1 convolutions, on 3x3 ones, on the text encoder; at odd weights. */
static const leco_lora plain[] = {{SD1 "/lora.safetensors", 1},
                                  {SD1 "/lora_c3lier.safetensors", -0.4},
                                  {SD1 "/lora2.safetensors", 0.7},
                                  {SD1 "/lora_text.safetensors", 1.3}};
enum { PLAIN = sizeof plain / sizeof *plain };

/* ---- what the model predicts ---- */

typedef struct predictions {
    safetensors *unet, *text;
} predictions;

/* A batch of two: noise of a fixture, tokens that are words. */
static void write_inputs(void)
{
    safetensors *cases;
    assert_works(safetensors_open(SD1 "/lora_cases.safetensors", &cases, &err), &err);
    safetensors_entry entries[3];
    static const char *const names[] = {"sample", "timestep", "encoder_hidden_states"};
    for (int i = 0; i < 3; i++) {
        const safetensors_entry *e = safetensors_find(cases, names[i]);
        assert_non_null(e);
        entries[i] = *e;
    }
    assert_works(safetensors_write(test_path("in.safetensors"), entries, 3, NULL, 0, &err), &err);
    safetensors_close(cases);
}

static predictions predict(const char *model_path, const leco_lora *loras, size_t count, const char *name)
{
    const leco_model_options options = {.device = "cpu", .precision = "float32"};
    leco_model *m;
    predictions p;
    char image[600], text[600];
    snprintf(image, sizeof image, "%s-unet.safetensors", test_path(name));
    snprintf(text, sizeof text, "%s-text.safetensors", test_path(name));
    assert_works(leco_model_open(model_path, &options, &m, &err), &err);
    for (size_t i = 0; i < count; i++)
        assert_works(leco_model_add_lora(m, loras[i].path, (float)loras[i].weight, &err), &err);
    assert_works(leco_run(m, "unet", test_path("in.safetensors"), NULL, image, &err), &err);
    assert_works(leco_run(m, "text-encoder", NULL, "a red circle on a blue square", text, &err), &err);
    leco_model_close(m);
    assert_works(safetensors_open(image, &p.unet, &err), &err);
    assert_works(safetensors_open(text, &p.text, &err), &err);
    return p;
}

static void predictions_free(predictions *p)
{
    safetensors_close(p->unet);
    safetensors_close(p->text);
}

/* Largest difference over largest magnitude. */
static double apart(const safetensors *a, const safetensors *b, const char *name)
{
    const safetensors_entry *x = safetensors_find(a, name), *y = safetensors_find(b, name);
    assert_true(x && y && x->count == y->count && x->type == DTYPE_F32);
    double error = 0, size = 0;
    for (size_t i = 0; i < x->count; i++) {
        const double u = (double)((const float *)x->data)[i], v = (double)((const float *)y->data)[i];
        error = fmax(error, fabs(u - v));
        size = fmax(size, fabs(v));
    }
    return error / size;
}

static void check_same(const char *what, const predictions *a, const predictions *b, double bound)
{
    const double noise = apart(a->unet, b->unet, "noise_pred"), text = apart(a->text, b->text, "last_hidden_state");
    printf("  %s: %.1e, text %.1e\n", what, noise, text);
    assert_true(noise <= bound && text <= bound);
}

/* ---- what they add to the layers' weights ---- */

typedef struct loaded {
    model *m;
    adapter_layers layers;
    trainable *t[8];
    change_source sources[8];
    arena *memory;
    change_list changes;
} loaded;

static void load(loaded *l, const leco_lora *loras, size_t count)
{
    *l = (loaded){.memory = arena_create()};
    assert_works(model_open(SD1, &l->m, &err), &err);
    assert_works(model_adapter_layers(l->m, &l->layers, &err), &err);
    for (size_t i = 0; i < count; i++) {
        assert_works(trainable_load(loras[i].path, &l->layers, DTYPE_F64, &l->t[i], &err), &err);
        l->sources[i] = (change_source){loras[i].path, l->t[i], loras[i].weight};
    }
    assert_works(changes_collect(&l->layers, l->sources, count, l->memory, &l->changes, &err), &err);
}

static void loaded_free(loaded *l)
{
    for (size_t i = 0; i < 8; i++) trainable_destroy(l->t[i]);
    model_close(l->m);
    arena_destroy(l->memory);
}

static double *matrix_of(const change *c)
{
    arena *scratch = arena_create();
    double *a = calloc((size_t)(c->rows * c->columns), sizeof *a);
    assert_works(change_add(c, NULL, a, scratch, &err), &err);
    arena_destroy(scratch);
    return a;
}

typedef struct distance {
    double worst;            /* of a layer: |difference| / |change|, Frobenius */
    double difference, norm; /* over all layers */
} distance;

/* Of what `a` does from what `b` does. */
static distance compare(const leco_lora *a, size_t a_count, const leco_lora *b, size_t b_count)
{
    loaded one, two;
    load(&one, a, a_count);
    load(&two, b, b_count);
    distance d = {0};
    assert_int_equal(one.changes.count, two.changes.count);
    for (size_t i = 0; i < one.changes.count; i++) {
        const change *x = &one.changes.at[i], *y = &two.changes.at[i];
        assert_string_equal(x->layer->path, y->layer->path);
        double *u = matrix_of(x), *v = matrix_of(y), off = 0, size = 0;
        for (int64_t k = 0; k < x->rows * x->columns; k++) {
            off += (u[k] - v[k]) * (u[k] - v[k]);
            size += v[k] * v[k];
        }
        d.worst = fmax(d.worst, sqrt(off / size));
        d.difference += off;
        d.norm += size;
        free(u);
        free(v);
    }
    loaded_free(&one);
    loaded_free(&two);
    d.difference = sqrt(d.difference);
    d.norm = sqrt(d.norm);
    return d;
}

/* ---- the tests ---- */

static void joined_they_do_what_they_did_side_by_side(void **state)
{
    (void)state;
    static const struct {
        const char *precision;
        double products, predicted;
    } cases[] = {{"float32", 1e-6, 1e-5}, {"float16", 1e-3, 1e-2}, {"bfloat16", 8e-3, 1e-1}};
    predictions apart_ = predict(SD1, plain, PLAIN, "side");
    for (size_t i = 0; i < 3; i++) {
        const leco_merge_options o = {.precision = cases[i].precision};
        leco_merge_report report = {0};
        char path[600];
        snprintf(path, sizeof path, "%s.safetensors", test_path(cases[i].precision));
        assert_works(leco_merge(plain, PLAIN, path, &o, &report, &err), &err);
        const leco_lora joined = {path, 1};
        const distance d = compare(&joined, 1, plain, PLAIN);
        printf("  %s: products %.1e\n", cases[i].precision, d.worst);
        assert_true(d.worst <= cases[i].products);
        predictions p = predict(SD1, &joined, 1, cases[i].precision);
        check_same(cases[i].precision, &p, &apart_, cases[i].predicted);
        predictions_free(&p);
        assert_true(report.layers_unet > 100 && report.layers_text_encoder == 24 && report.lost_unet == 0);
        assert_null(report.most_lost_layer);
        leco_merge_report_free(&report);
    }
    predictions bare = predict(SD1, NULL, 0, "bare");
    assert_true(apart(bare.unet, apart_.unet, "noise_pred") > 0.05); /* they do something */
    predictions_free(&bare);
    predictions_free(&apart_);
}

/* Each tensor of `a` is one of `b`, bit for bit; which are counted. */
static size_t same_tensors(const char *a, const char *b, size_t *count)
{
    safetensors *x, *y;
    size_t same = 0;
    assert_works(safetensors_open(a, &x, &err), &err);
    assert_works(safetensors_open(b, &y, &err), &err);
    *count = safetensors_count(x);
    for (size_t i = 0; i < *count; i++) {
        const safetensors_entry *e = safetensors_at(x, i), *f = safetensors_find(y, e->name);
        assert_true(f && e->type == f->type && e->count == f->count);
        same += memcmp(e->data, f->data, e->count * dtype_size(e->type)) == 0;
    }
    safetensors_close(x);
    safetensors_close(y);
    return same;
}

/* Its scales are alpha / rank = 1/4, 1/2, ...: powers of two, so nothing is rounded. */
static void a_file_alone_stays_as_it_is(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "%s", test_path("alone.safetensors"));
    const leco_merge_options o = {.precision = "float32"};
    size_t count;
    assert_works(leco_merge(plain, 1, path, &o, NULL, &err), &err);
    const size_t same = same_tensors(path, plain[0].path, &count);
    printf("  %zu of %zu tensors are the same\n", same, count);
    assert_int_equal(same, count);
}

static void what_a_rank_loses_is_what_is_told(void **state)
{
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "%s", test_path("ranked.safetensors"));
    static const leco_lora all[] = {{SD1 "/lora.safetensors", 1}, {SD1 "/loha_c3lier.safetensors", 0.5}};
    for (int64_t rank = 1; rank <= 4; rank += 3) {
        const leco_merge_options o = {.model = SD1, .precision = "float32", .rank = rank};
        leco_merge_report report = {0};
        assert_works(leco_merge(all, 2, path, &o, &report, &err), &err);
        const leco_lora joined = {path, 1};
        const distance d = compare(&joined, 1, all, 2);
        printf("  rank %d: lost %.4f, most %.4f in %s\n", (int)rank, report.lost_unet, report.most_lost,
               report.most_lost_layer);
        assert_true(fabs(d.difference / d.norm - report.lost_unet) < 1e-5);
        assert_true(fabs(d.worst - report.most_lost) < 1e-5 && report.rank == rank);
        assert_true(isnan(report.lost_text_encoder));
        leco_merge_report_free(&report);
    }
    /* with all the rank that a layer can have, a LoHa comes out exact, too */
    const leco_merge_options o = {.model = SD1, .precision = "float32", .rank = 24};
    assert_works(leco_merge(all, 2, path, &o, NULL, &err), &err);
    const leco_lora joined = {path, 1};
    assert_true(compare(&joined, 1, all, 2).worst < 1e-6);
}

/* A rank that no layer has is as none: side by side. What can't stand so comes as near as the layers' sides allow. */
static void a_rank_above_all_leaves_out_nothing(void **state)
{
    (void)state;
    static const leco_lora both[] = {{SD1 "/lora.safetensors", 1}, {SD1 "/lora_c3lier.safetensors", 0.5}};
    static const leco_lora loha[] = {{SD1 "/lora.safetensors", 1}, {SD1 "/loha_c3lier.safetensors", 0.5}};
    char path[2][600];
    size_t count;
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s", test_path(i ? "above.safetensors" : "exact.safetensors"));
        const leco_merge_options o = {.precision = "float32", .rank = i ? 1000 : 0};
        assert_works(leco_merge(both, 2, path[i], &o, NULL, &err), &err);
    }
    const size_t same = same_tensors(path[0], path[1], &count);
    assert_int_equal(same, count);
    leco_merge_report report = {0};
    const leco_merge_options o = {.model = SD1, .precision = "float32", .rank = 1000};
    assert_works(leco_merge(loha, 2, path[0], &o, &report, &err), &err);
    const leco_lora joined = {path[0], 1};
    assert_true(compare(&joined, 1, loha, 2).worst < 1e-6 && report.rank == 24);
    leco_merge_report_free(&report);
}

static void check_untouched_files(const char *into)
{
    static const char *const files[] = {"model_index.json",
                                        "tokenizer/vocab.json",
                                        "tokenizer/merges.txt",
                                        "vae/diffusion_pytorch_model.safetensors",
                                        "unet/config.json",
                                        "text_encoder/config.json",
                                        "scheduler/scheduler_config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[1200], to[1200];
        size_t size, other;
        snprintf(from, sizeof from, SD1 "/%s", files[i]);
        snprintf(to, sizeof to, "%s/%s", into, files[i]);
        unsigned char *a = test_read(from, &size), *b = test_read(to, &other);
        assert_int_equal(size, other);
        assert_memory_equal(a, b, size);
        free(a);
        free(b);
    }
}

static void in_the_model_and_out_of_it_again(void **state)
{
    (void)state;
    char into[600], path[600];
    snprintf(into, sizeof into, "%s", test_path("into"));
    snprintf(path, sizeof path, "%s", test_path("extracted.safetensors"));
    leco_merge_report report = {0};
    assert_works(leco_merge_into(SD1, plain, PLAIN, into, NULL, &report, &err), &err);
    assert_true(report.layers_unet > 100 && report.layers_text_encoder == 24);
    leco_merge_report_free(&report);
    predictions side = predict(SD1, plain, PLAIN, "side"), in_it = predict(into, NULL, 0, "in");
    check_same("into", &in_it, &side, 1e-5);
    check_untouched_files(into);
    assert_int_equal(test_count_files(into), 6);

    /* The rank is that of all of them together in a layer. */
    const leco_extract_options o = {.rank = 16, .precision = "float32"};
    assert_works(leco_extract(SD1, into, path, &o, &report, &err), &err);
    assert_true(report.lost_unet < 1e-6 && report.lost_text_encoder < 1e-6 && report.others == 0);
    leco_merge_report_free(&report);
    const leco_lora extracted = {path, 1};
    const distance d = compare(&extracted, 1, plain, PLAIN);
    printf("  extracted: products %.1e\n", d.worst);
    assert_true(d.worst < 1e-5);
    predictions again = predict(SD1, &extracted, 1, "again");
    check_same("extracted", &again, &side, 1e-5);
    predictions_free(&side);
    predictions_free(&in_it);
    predictions_free(&again);
}

/* Those that say themselves what they change: in a model as beside it. What a DoRA's file changes depends on the model.
 */
static void other_kinds_in_the_model(void **state)
{
    (void)state;
    static const leco_lora kinds[] = {{SD1 "/lokr.safetensors", -0.7},
                                      {SD1 "/lokr_thin.safetensors", 0.5},
                                      {SD1 "/dora.safetensors", -0.7},
                                      {SD1 "/dora_in.safetensors", 1},
                                      {SD1 "/loha_c3lier.safetensors", 1}};
    char into[600], path[600];
    snprintf(path, sizeof path, "%s", test_path("kinds.safetensors"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char name[32];
        snprintf(name, sizeof name, "kind%zu", i);
        snprintf(into, sizeof into, "%s", test_path(name));
        assert_works(leco_merge_into(SD1, &kinds[i], 1, into, NULL, NULL, &err), &err);
        predictions side = predict(SD1, &kinds[i], 1, "beside"), in_it = predict(into, NULL, 0, "inside");
        check_same(kinds[i].path, &in_it, &side, 1e-5);
        predictions_free(&side);
        predictions_free(&in_it);
    }
    const leco_merge_options o = {.model = SD1, .precision = "float32", .rank = 24};
    assert_works(leco_merge(kinds, 2, path, &o, NULL, &err), &err);
    const leco_lora joined = {path, 1};
    predictions apart_ = predict(SD1, kinds, 2, "apart"), one = predict(SD1, &joined, 1, "one");
    check_same("two LoKrs as a LoRA", &one, &apart_, 1e-5);
    predictions_free(&apart_);
    predictions_free(&one);
    assert_fails(leco_merge(&kinds[2], 1, path, &o, NULL, &err), LECO_UNSUPPORTED, &err, "dora.safetensors", "--into");
}

/* One LoRA, at its own rank. */
static void a_known_lora_comes_back(void **state)
{
    (void)state;
    static const struct {
        leco_lora lora;
        int64_t rank;
        const char *part;
    } cases[] = {{{SD1 "/lora.safetensors", 1}, 4, "unet"},
                 {{SD1 "/lora_c3lier.safetensors", 1}, 4, "both"},
                 {{SD1 "/lora_text.safetensors", -2}, 4, NULL}};
    for (size_t i = 0; i < 3; i++) {
        char into[600], path[640], name[32];
        snprintf(name, sizeof name, "known%zu", i);
        snprintf(into, sizeof into, "%s", test_path(name));
        snprintf(path, sizeof path, "%s.safetensors", into);
        const leco_extract_options o = {.rank = cases[i].rank, .part = cases[i].part, .precision = "float32"};
        assert_works(leco_merge_into(SD1, &cases[i].lora, 1, into, NULL, NULL, &err), &err);
        assert_works(leco_extract(SD1, into, path, &o, NULL, &err), &err);
        const leco_lora extracted = {path, 1};
        const distance d = compare(&extracted, 1, &cases[i].lora, 1);
        printf("  %s: %.1e\n", cases[i].lora.path + strlen(SD1 "/"), d.worst);
        assert_true(d.worst < 1e-5);
    }
}

static bool stop(void *user, const leco_progress *p)
{
    int *calls = user;
    assert_true(p->total > 0 && p->done <= p->total && p->seconds >= 0 && p->seconds_left >= 0);
    return --*calls > 0;
}

static void stopped_it_writes_nothing(void **state)
{
    (void)state;
    int files = test_count_files(test_folder()), calls = 3;
    const leco_merge_options o = {.progress = stop, .user = &calls};
    assert_fails(leco_merge(plain, PLAIN, test_path("never.safetensors"), &o, NULL, &err), LECO_INTERRUPTED, &err,
                 "stopped after 3 of");
    calls = 5;
    assert_fails(leco_merge_into(SD1, plain, PLAIN, test_path("never"), &o, NULL, &err), LECO_INTERRUPTED, &err,
                 "stopped after 5 of");
    assert_int_equal(test_count_files(test_folder()), files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joined_they_do_what_they_did_side_by_side),
        cmocka_unit_test(a_file_alone_stays_as_it_is),
        cmocka_unit_test(what_a_rank_loses_is_what_is_told),
        cmocka_unit_test(a_rank_above_all_leaves_out_nothing),
        cmocka_unit_test(in_the_model_and_out_of_it_again),
        cmocka_unit_test(other_kinds_in_the_model),
        cmocka_unit_test(a_known_lora_comes_back),
        cmocka_unit_test(stopped_it_writes_nothing),
    };
    write_inputs();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
