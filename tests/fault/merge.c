/* Allocations that fail while LoRAs are joined, put into a model and extracted, and models converted: the call says so,
 * leaks nothing (the address sanitizer watches), and writes nothing. One in so many is tried, since there are
 * thousands. */
#include "test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "leco/leco.h"

#define SD1 LECO_SOURCE_DIR "/tests/parity/fixtures/sd1-like"

static const leco_lora loras[] = {{SD1 "/lora_c3lier.safetensors", 1}, {SD1 "/lora_text.safetensors", -0.5}};
static const leco_lora with_loha[] = {{SD1 "/lora.safetensors", 1}, {SD1 "/loha.safetensors", 0.5}};

static leco_status join(leco_error *err)
{
    leco_merge_report report = {0};
    const leco_status status = leco_merge(loras, 2, test_path("w/joined.safetensors"), NULL, &report, err);
    leco_merge_report_free(&report);
    return status;
}

static leco_status reduce(leco_error *err)
{
    leco_merge_report report = {0};
    const leco_merge_options o = {.model = SD1, .rank = 2};
    const leco_status status = leco_merge(with_loha, 2, test_path("w/reduced.safetensors"), &o, &report, err);
    leco_merge_report_free(&report);
    return status;
}

static leco_status bake(leco_error *err)
{
    leco_merge_report report = {0};
    const leco_status status = leco_merge_into(SD1, loras, 2, test_path("w/baked"), NULL, &report, err);
    leco_merge_report_free(&report);
    return status;
}

static leco_status extract(leco_error *err)
{
    leco_merge_report report = {0};
    const leco_extract_options o = {.rank = 2};
    const leco_status status =
        leco_extract(SD1, test_path("tuned"), test_path("w/extracted.safetensors"), &o, &report, err);
    leco_merge_report_free(&report);
    return status;
}

static leco_status convert(leco_error *err)
{
    return leco_convert(SD1, test_path("w/converted"), NULL, err);
}

/* What a call that worked has written there. */
static void remove_all(const char *folder)
{
    char command[1200];
    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", folder, folder);
    assert_int_equal(system(command), 0);
}

enum { TRIALS = 150 };

/* The first ones one by one, then ever fewer, up to the last. */
static void exhaust(leco_status (*act)(leco_error *err))
{
    leco_error err = {0};
    char folder[512];
    snprintf(folder, sizeof folder, "%s", test_path("w"));
    const uint64_t begun = mem_allocations();
    assert_works(act(&err), &err);
    const uint64_t count = mem_allocations() - begun, step = count / TRIALS + 1;
    assert_true(count > 100);
    remove_all(folder);
    for (uint64_t nth = 1; nth <= count; nth += nth < 20 ? 1 : step) {
        mem_fail_at(nth);
        const leco_status status = act(&err);
        mem_fail_at(0);
        if (status == LECO_OK) { /* it can do without: the names of files of a killed process */
            remove_all(folder);
            continue;
        }
        if (status != LECO_MEMORY) fail_msg("allocation %d: status %d, \"%s\"", (int)nth, (int)status, err.message);
        assert_non_null(strstr(err.message, "out of memory"));
        assert_int_equal(test_count_files(folder), 0);
    }
}

#define EXHAUST(act)                                                                                                   \
    static void act##_fails_cleanly(void **state)                                                                      \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        exhaust(act);                                                                                                  \
    }
EXHAUST(join)
EXHAUST(reduce)
EXHAUST(bake)
EXHAUST(extract)
EXHAUST(convert)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(join_fails_cleanly),    cmocka_unit_test(reduce_fails_cleanly),
        cmocka_unit_test(bake_fails_cleanly),    cmocka_unit_test(extract_fails_cleanly),
        cmocka_unit_test(convert_fails_cleanly),
    };
    leco_error err;
    remove_all(test_path("w"));
    if (leco_merge_into(SD1, loras, 2, test_path("tuned"), NULL, NULL, &err) != LECO_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
