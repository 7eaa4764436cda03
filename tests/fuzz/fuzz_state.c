/* States of trainings, with the checksum made right again: what is accepted can be, and is the same when it is written
 * and read once more. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "train/state.h"

#define CHECKSUM "\"sha256\":\""

const char *const fuzz_words[] = {"values",    "optimizer", "rng",
                                  "counters",  "sums",      "kept",
                                  "saved",     "\"F32\"",   "\"I64\"",
                                  "\"F64\"",   "\"BF16\"",  "\"shape\":[1260]",
                                  "[0,10080]", CHECKSUM,    "\"leco_state\":\"2\"",
                                  "is:",       "train.lr",  "train.iterations",
                                  "average",   "gathered",  "scaling",
                                  NULL};

static void check(const train_state *s)
{
    FUZZ_CHECK(s->done >= 1 && s->done <= s->iterations && s->iterations <= 1000000000 && s->threads > 0);
    FUZZ_CHECK(s->learnt >= 0 && s->learnt <= 1000 && (s->learnt > 0) == (s->kept_floats > 0));
    FUZZ_CHECK(s->learnt == 0 || (s->learnt < s->kept_count && s->kept_count <= 1000));
    FUZZ_CHECK(isfinite(s->loss) && isfinite(s->seconds) && isfinite(s->first_sum) && isfinite(s->last_sum));
    FUZZ_CHECK(s->gathered >= 0 && (s->gathered > 0) == (s->gradient_count > 0) && isfinite(s->gathered_loss));
    FUZZ_CHECK(s->rng.next <= 624 && s->drawn.next <= 624);
    FUZZ_CHECK(!s->scaled || loss_scale_valid(&s->scale));
    for (size_t i = 0; i < s->saved_count; i++) FUZZ_CHECK(s->saved[i] >= 1 && s->saved[i] <= s->done);
    rng r = s->rng;
    if (r.kind == RNG_CPU) rng_word(&r);
}

static bool same(const void *a, const void *b, size_t bytes)
{
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    train_state s, again;
    leco_status status = state_read(fuzz_path(data, size), &s, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        return 0;
    }
    check(&s);
    FUZZ_CHECK(state_write(&s, fuzz_result(), &err) == LECO_OK);
    FUZZ_CHECK(state_read(fuzz_result(), &again, &err) == LECO_OK);
    FUZZ_CHECK(again.done == s.done && again.learnt == s.learnt && again.settings.count == s.settings.count);
    FUZZ_CHECK(again.value_count == s.value_count && same(again.values, s.values, 4 * s.value_count));
    FUZZ_CHECK(again.optimizer_count == s.optimizer_count && same(again.optimizer, s.optimizer, 4 * s.optimizer_count));
    FUZZ_CHECK(again.kept_floats == s.kept_floats && same(again.kept, s.kept, 4 * s.kept_floats));
    FUZZ_CHECK(again.average_count == s.average_count && same(again.average, s.average, 4 * s.average_count));
    FUZZ_CHECK(again.gathered == s.gathered && again.gathered_loss == s.gathered_loss &&
               again.gradient_count == s.gradient_count && same(again.gradients, s.gradients, 4 * s.gradient_count));
    FUZZ_CHECK(again.scaled == s.scaled && again.scale.exponent == s.scale.exponent &&
               again.scale.good == s.scale.good);
    FUZZ_CHECK(again.saved_count == s.saved_count && same(again.saved, s.saved, 8 * s.saved_count));
    state_free(&again);
    state_free(&s);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const float values[8] = {1, 2, -0.5f};
    static const int64_t saved[] = {1, 3};
    leco_error err;
    train_state s = {.threads = 2,
                     .iterations = 9,
                     .done = 3,
                     .first_sum = 1,
                     .first_count = 1,
                     .loss = 0.5,
                     .seconds = 2,
                     .values = values,
                     .value_count = 8};
    if (index > 3) return false;
    s.drawn.next = 624;
    for (uint32_t i = 0; i < 624; i++)
        s.drawn.state[i] = i % 64; /* no braces: fuzz_repair_tensors looks for the last */
    s.rng = s.drawn;
    if (index > 0) {
        s.optimizer = values;
        s.optimizer_count = 4;
        s.saved = saved;
        s.saved_count = 2;
    }
    if (index > 1) {
        s.rng.next = 600;
        s.learnt = 1;
        s.kept_count = 2;
        s.kept = values;
        s.kept_floats = 8;
    }
    if (index > 2) {
        s.average = s.gradients = values;
        s.average_count = s.gradient_count = 8;
        s.gathered = 3;
        s.gathered_loss = 0.75;
        s.scaled = true;
        s.scale = loss_scale_start();
    }
    FUZZ_CHECK(settings_create(&s.settings, &err) == LECO_OK);
    FUZZ_CHECK(settings_add(&s.settings, "train.lr", "0.001", &err) == LECO_OK);
    FUZZ_CHECK(state_write(&s, path, &err) == LECO_OK);
    settings_free(&s.settings);
    return true;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    char sum[DIGEST_TEXT];
    safetensors *file;
    size = fuzz_repair_tensors(data, size, capacity);
    if (safetensors_open(fuzz_path(data, size), &file, NULL) != LECO_OK) return size;
    const bool known = state_checksum(file, sum);
    safetensors_close(file);
    const size_t key = strlen(CHECKSUM), room = key + DIGEST_TEXT - 1;
    for (size_t i = 0; known && i + room <= size; i++)
        if (memcmp(data + i, CHECKSUM, key) == 0) memcpy(data + i + key, sum, DIGEST_TEXT - 1);
    return size;
}
