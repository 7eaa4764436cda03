/* Closed-form edits by way of the library, on models/shapes: the same file every time, one that loads as a LoRA and
 * says what it is, and figures that hang together. */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "format/safetensors.h"
#include "leco/leco.h"
#include "model/layers.h"
#include "model/model.h"
#include "model/trainable.h"

#define SHAPES LECO_SOURCE_DIR "/models/shapes"
#define SMALL LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static leco_error err;

static leco_erase_options of(const char *const *concept, size_t count)
{
    leco_erase_options o = leco_erase_defaults();
    o.concepts = concept;
    o.concept_count = count;
    return o;
}

static const char *const red[] = {"red"};

/* Erases to test_path(name); the report's figures. */
static leco_erase_report erase(const char *folder, const leco_erase_options *o, const char *name)
{
    leco_model *opened;
    leco_erase_report report = {0};
    const leco_model_options cpu = {.device = "cpu", .precision = "float32"};
    assert_works(leco_model_open(folder, &cpu, &opened, &err), &err);
    assert_works(leco_erase(opened, o, test_path(name), &report, &err), &err);
    leco_model_close(opened);
    assert_true(report.summary && report.json);
    assert_true(isfinite(report.left) && isfinite(report.moved) && report.lost >= 0 && report.lost <= 1);
    return report;
}

static void assert_same_files(const char *one, const char *other)
{
    size_t size[2];
    unsigned char *data[2] = {test_read(test_path(one), &size[0]), test_read(test_path(other), &size[1])};
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);
    free(data[0]);
    free(data[1]);
}

static void every_time_and_with_any_threads_the_same(void **state)
{
    (void)state;
    const leco_erase_options o = of(red, 1);
    assert_int_equal(setenv("SOURCE_DATE_EPOCH", "1700000000", 1), 0); /* the date is in it, too */
    for (int i = 0; i < 3; i++) {
        char kept[16];
        cpu_set_threads(i < 2 ? 1 : 2);
        leco_erase_report report = erase(SHAPES, &o, "red.safetensors"); /* its name is in the file */
        leco_erase_report_free(&report);
        snprintf(kept, sizeof kept, "red%d", i);
        assert_int_equal(rename(test_path("red.safetensors"), test_path(kept)), 0);
    }
    cpu_set_threads(0);
    unsetenv("SOURCE_DATE_EPOCH");
    assert_same_files("red0", "red1");
    assert_same_files("red0", "red2");
}

static void check_metadata(const char *name, int rank)
{
    static const char *const known[][2] = {{"ss_output_name", "sheet"},
                                           {"modelspec.title", "sheet"},
                                           {"ss_network_module", "networks.lora"},
                                           {"ss_training_comment", "red"},
                                           {"modelspec.architecture", "stable-diffusion-v1/lora"}};
    safetensors *file;
    char number[16];
    assert_works(safetensors_open(test_path(name), &file, &err), &err);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *value = safetensors_metadata(file, known[i][0]);
        if (!value || !strstr(value, known[i][1])) fail_msg("%s is \"%s\"", known[i][0], value ? value : "");
    }
    snprintf(number, sizeof number, "%d", rank);
    assert_string_equal(safetensors_metadata(file, "ss_network_dim"), number);
    for (size_t i = 0; i < safetensors_count(file); i++) assert_int_equal(safetensors_at(file, i)->type, DTYPE_F16);
    safetensors_close(file);
}

/* Of what loads: modules of that rank on the keys and values, whose scale is 1. */
static void check_loads(const char *name, int rank)
{
    model *m;
    trainable *t;
    adapter_layers layers;
    assert_works(model_open(SHAPES, &m, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    assert_works(trainable_load(test_path(name), &layers, DTYPE_F32, &t, &err), &err);
    assert_int_equal(trainable_module_count(t), 14);
    for (size_t i = 0; i < 14; i++) {
        const trainable_module *module = trainable_module_at(t, i);
        assert_int_equal(module->rank, rank);
        assert_true(module->alpha == (float)rank);
        assert_non_null(strstr(module->layer.path, "attn2.to_"));
    }
    trainable_destroy(t);
    model_close(m);
}

static void the_file_is_a_lora(void **state)
{
    (void)state;
    const leco_erase_options o = of(red, 1);
    leco_erase_report report = erase(SHAPES, &o, "sheet.safetensors");
    assert_in_range(report.rank, 1, 32);
    assert_true(report.left < 0.5 && report.moved < 0.5 && report.lost <= 0.2);
    assert_non_null(strstr(report.summary, "red (color, "));
    assert_non_null(strstr(report.summary, "becomes \"orange\""));
    check_metadata("sheet.safetensors", report.rank);
    check_loads("sheet.safetensors", report.rank);
    leco_erase_report_free(&report);
    leco_model *opened;
    assert_works(leco_model_open(SHAPES, NULL, &opened, &err), &err);
    assert_works(leco_model_add_lora(opened, test_path("sheet.safetensors"), 1, &err), &err);
    leco_model_close(opened);
}

static void ranks_above_the_matrices_are_fine(void **state)
{
    (void)state;
    leco_erase_options o = of(red, 1);
    o.rank = 1024;
    leco_erase_report report = erase(SHAPES, &o, "whole.safetensors");
    assert_int_equal(report.rank, 128);
    assert_true(report.lost < 1e-6);
    check_loads("whole.safetensors", 128);
    leco_erase_report_free(&report);
    report = erase(SMALL, &o, "small.safetensors");
    leco_erase_report_free(&report);
}

static void ways_that_erase(void **state)
{
    (void)state;
    static const char *const two[] = {"red", "star"};
    leco_erase_options o = of(red, 1);
    o.method = "speed";
    leco_erase_report report = erase(SHAPES, &o, "speed.safetensors");
    assert_true(report.left < 0.5);
    leco_erase_report_free(&report);
    o = of(two, 2);
    report = erase(SHAPES, &o, "two.safetensors");
    assert_true(report.left < 0.6);
    assert_non_null(strstr(report.summary, "star (object, "));
    leco_erase_report_free(&report);
    o.to = (const char *const[]){"blue:2", ":1"};
    o.to_count = 2;
    report = erase(SHAPES, &o, "shares.safetensors");
    assert_non_null(strstr(report.summary, "\"blue\" (2), \"\" (1)"));
    leco_erase_report_free(&report);
    o = of(red, 1);
    o.enhance = true;
    report = erase(SHAPES, &o, "more.safetensors");
    assert_non_null(strstr(report.summary, "goes away from"));
    leco_erase_report_free(&report);
}

/* up * down of a file, some rows of each layer, as one long vector. */
static size_t added(const char *name, double *out, size_t room)
{
    model *m;
    trainable *t;
    adapter_layers layers;
    size_t count = 0;
    assert_works(model_open(SHAPES, &m, &err), &err);
    assert_works(model_adapter_layers(m, &layers, &err), &err);
    assert_works(trainable_load(test_path(name), &layers, DTYPE_F32, &t, &err), &err);
    for (size_t i = 0; i < trainable_module_count(t); i++) {
        const trainable_module *module = trainable_module_at(t, i);
        const float *down = module->param[0].value, *up = module->param[1].value;
        for (int64_t row = 0; row < module->layer.out; row += 7)
            for (int64_t k = 0; k < module->layer.in; k++) {
                double sum = 0;
                for (int64_t r = 0; r < module->rank; r++)
                    sum += (double)up[row * module->rank + r] * (double)down[r * module->layer.in + k];
                assert_true(count < room);
                out[count++] = sum * (double)module->alpha / (double)module->rank;
            }
    }
    trainable_destroy(t);
    model_close(m);
    return count;
}

/* The same change with the other sign, as far as its strength says. */
static void enhancing_is_the_other_way(void **state)
{
    (void)state;
    enum { ROOM = 1 << 18 };
    double *one = malloc(ROOM * sizeof *one), *other = malloc(ROOM * sizeof *other), off = 0, norm = 0;
    assert_true(one && other);
    leco_erase_options o = of(red, 1);
    o.to = (const char *const[]){"orange"};
    o.to_count = 1;
    o.rank = 128;
    o.precision = "float32";
    leco_erase_report report = erase(SHAPES, &o, "less.safetensors");
    leco_erase_report_free(&report);
    o.enhance = true;
    o.strength = 0.3;
    report = erase(SHAPES, &o, "more.safetensors");
    leco_erase_report_free(&report);
    const size_t count = added("less.safetensors", one, ROOM);
    assert_int_equal(added("more.safetensors", other, ROOM), count);
    for (size_t i = 0; i < count; i++) {
        off += (other[i] + 0.3 * one[i]) * (other[i] + 0.3 * one[i]);
        norm += other[i] * other[i];
    }
    assert_true(norm > 0 && sqrt(off / norm) < 1e-5);
    free(one);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_time_and_with_any_threads_the_same),
        cmocka_unit_test(the_file_is_a_lora),
        cmocka_unit_test(ranks_above_the_matrices_are_fine),
        cmocka_unit_test(ways_that_erase),
        cmocka_unit_test(enhancing_is_the_other_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
