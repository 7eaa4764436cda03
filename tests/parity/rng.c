/* Random numbers against fixtures/rng, which PyTorch made (tools/export_fixtures.py rng; the metadata of the file say
 * what each tensor is). */
#include "test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "format/safetensors.h"

static safetensors *fixture;
static leco_error err;

static uint64_t seed_at(size_t index)
{
    const safetensors_entry *seeds = safetensors_find(fixture, "seeds");
    assert_non_null(seeds);
    uint64_t seed;
    memcpy(&seed, (const char *)seeds->data + index * sizeof seed, sizeof seed);
    return seed;
}

/* Draws what a tensor's name asks for and compares. Uniform and whole numbers must be equal; short normals go through
 * libm, the long ones of the CPU through our own polynomials; those of the GPU through its approximate sine. */
static void draw_and_compare(rng *r, const char *kind, const safetensors_entry *entry)
{
    static float found[16384], expected[16384];
    assert_in_range(entry->count, 1, 16384);
    if (strcmp(kind, "randint") == 0) {
        assert_int_equal(entry->type, DTYPE_I64);
        for (size_t i = 0; i < entry->count; i++) {
            int64_t value;
            memcpy(&value, (const char *)entry->data + i * sizeof value, sizeof value);
            assert_true(rng_randint(r, 1, 50) == value);
        }
        return;
    }
    assert_int_equal(entry->type, DTYPE_F32);
    dtype_convert(expected, DTYPE_F32, entry->data, entry->type, entry->count);
    if (strcmp(kind, "rand") == 0)
        rng_uniform(r, found, entry->count, 0, 1);
    else
        rng_normal(r, found, entry->count);
    float tolerance = strcmp(kind, "rand") == 0 ? 0 : r->kind == RNG_CUDA ? 1e-5f : 2.4e-7f;
    for (size_t i = 0; i < entry->count; i++)
        if (!(fabsf(found[i] - expected[i]) <= tolerance))
            fail_msg("%s[%zu] is %a, expected %a", entry->name, i, (double)found[i], (double)expected[i]);
}

static void single_draws(void **state)
{
    (void)state;
    int compared = 0;
    for (size_t i = 0; i < safetensors_count(fixture); i++) {
        const safetensors_entry *entry = safetensors_at(fixture, i);
        unsigned seed;
        char kind[16], size[32];
        if (sscanf(entry->name, "seed%u.%15[a-z].%31[0-9x]", &seed, kind, size) != 3) continue;
        if (strcmp(kind, "rand") != 0 && strcmp(kind, "randint") != 0 && strcmp(kind, "randn") != 0) continue;
        rng r;
        rng_seed(&r, RNG_CPU, seed_at(seed));
        draw_and_compare(&r, kind, entry);
        compared++;
    }
    assert_in_range(compared, 100, 1000);
}

static void sequences(void **state)
{
    (void)state;
    const char *items = safetensors_metadata(fixture, "sequence");
    assert_non_null(items);
    size_t seeds = safetensors_find(fixture, "seeds")->count;
    for (unsigned seed = 0; seed < seeds; seed++) {
        rng r;
        rng_seed(&r, RNG_CPU, seed_at(seed));
        int used;
        char item[32];
        unsigned position = 0;
        for (const char *p = items; sscanf(p, "%31s%n", item, &used) == 1; p += used, position++) {
            char name[96], kind[16];
            snprintf(name, sizeof name, "seed%u.sequence.%u.%s", seed, position, item);
            const safetensors_entry *entry = safetensors_find(fixture, name);
            assert_non_null(entry);
            assert_int_equal(sscanf(item, "%15[a-z]", kind), 1);
            draw_and_compare(&r, kind, entry);
        }
        assert_int_equal(position, 15);
    }
}

static void skip_uniform(rng *r, size_t count)
{
    for (size_t i = 0; i < count; i++) rng_word(r);
}

/* A LoRA's initialisation draws three tensors, of which the last is kept. */
static void lora_initialisation(void **state)
{
    (void)state;
    size_t seeds = safetensors_find(fixture, "seeds")->count;
    for (unsigned seed = 0; seed < seeds; seed++) {
        char name[96];
        float found[48], expected[48];
        const safetensors_entry *entry;
        snprintf(name, sizeof name, "seed%u.lora.down", seed);
        assert_works(safetensors_require(fixture, name, 2, (const int64_t[]){4, 12}, &entry, &err), &err);
        dtype_convert(expected, DTYPE_F32, entry->data, entry->type, entry->count);
        rng r;
        rng_seed(&r, RNG_CPU, seed_at(seed));
        skip_uniform(&r, 12 * 4 + 4 * 9);
        float bound = (float)(sqrt(3.0) * sqrt(2.0 / (1 + 5.0)) / sqrt(12.0));
        rng_uniform(&r, found, 48, -bound, bound);
        for (size_t i = 0; i < 48; i++) assert_true(found[i] == expected[i]);
    }
}

static void philox(void **state)
{
    (void)state;
    int compared = 0;
    for (size_t i = 0; i < safetensors_count(fixture); i++) {
        const safetensors_entry *entry = safetensors_at(fixture, i);
        unsigned seed, call;
        char size[32];
        if (sscanf(entry->name, "seed%u.philox.%31[0-9x].call%u", &seed, size, &call) != 3) continue;
        rng r;
        rng_seed(&r, RNG_CUDA, seed_at(seed));
        r.offset = call;
        draw_and_compare(&r, "randn", entry);
        compared++;
    }
    assert_in_range(compared, 20, 1000);
}

static int open_fixture(void **state)
{
    (void)state;
    const char *path = LECO_SOURCE_DIR "/tests/parity/fixtures/rng/rng.safetensors";
    if (safetensors_open(path, &fixture, &err) == LECO_OK) return 0;
    print_error("%s\n", err.message);
    return -1;
}

static int close_fixture(void **state)
{
    (void)state;
    safetensors_close(fixture);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_draws),
        cmocka_unit_test(sequences),
        cmocka_unit_test(lora_initialisation),
        cmocka_unit_test(philox),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
