#include "fuzz.h"

#include <string.h>

#include "base/error.h"
#include "format/safetensors.h"

const char *const fuzz_words[] = {"\"dtype\":",
                                  "\"shape\":[",
                                  "\"data_offsets\":[",
                                  "\"__metadata__\":",
                                  "\"F32\"",
                                  "\"F64\"",
                                  "\"BF16\"",
                                  "\"U8\"",
                                  "[]",
                                  "{}",
                                  "},{",
                                  ":null",
                                  "\"a\":",
                                  "\\u0000",
                                  "-1",
                                  "0",
                                  "1.0",
                                  "9223372036854775807",
                                  "4294967296,",
                                  "1e400",
                                  NULL};

static void check_entry(const safetensors *file, const safetensors_entry *entry, const uint8_t **end, size_t *total)
{
    size_t count = 1, bytes = entry->count * dtype_size(entry->type);
    FUZZ_CHECK(entry->rank >= 0 && entry->rank <= SAFETENSORS_MAX_DIMS);
    for (int i = 0; i < entry->rank; i++) {
        FUZZ_CHECK(entry->shape[i] >= 0);
        count *= (size_t)entry->shape[i];
    }
    FUZZ_CHECK(count == entry->count);
    FUZZ_CHECK((const uint8_t *)entry->data >= *end); /* no two overlap */
    FUZZ_CHECK(safetensors_find(file, entry->name) == entry);
    *end = (const uint8_t *)entry->data + bytes;
    *total += bytes;
    if (bytes > 0) { /* touches the first and last byte: outside the map this is a crash */
        volatile uint8_t byte = ((const uint8_t *)entry->data)[0];
        byte = ((const uint8_t *)entry->data)[bytes - 1];
        (void)byte;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    safetensors *file;
    leco_status status = safetensors_open(fuzz_path(data, size), &file, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_CHECK(file == NULL && err.status == status && err.message[0]);
        return 0;
    }
    size_t total = 0, tensors = safetensors_count(file) + safetensors_skipped_count(file);
    const uint8_t *end = NULL;
    FUZZ_CHECK(tensors <= size);
    for (size_t i = 0; i < safetensors_count(file); i++) check_entry(file, safetensors_at(file, i), &end, &total);
    uint64_t header;
    memcpy(&header, data, sizeof header);
    FUZZ_CHECK(total <= size - sizeof header - header);
    for (size_t i = 0; i < safetensors_skipped_count(file); i++) {
        const char *name, *type;
        const safetensors_entry *entry;
        safetensors_skipped_at(file, i, &name, &type);
        FUZZ_CHECK(safetensors_require(file, name, 0, NULL, &entry, &err) == LECO_UNSUPPORTED);
    }
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *key, *value;
        safetensors_metadata_at(file, i, &key, &value);
        FUZZ_CHECK(safetensors_metadata(file, key) == value);
    }
    safetensors_close(file);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const float values[12] = {1, 2, 3};
    static const char *const metadata[][2] = {{"format", "pt"}, {"ss_network_dim", "4"}};
    const safetensors_entry entries[] = {
        {.name = "down.weight", .type = DTYPE_F32, .rank = 2, .shape = {2, 3}, .count = 6, .data = values},
        {.name = "up.weight", .type = DTYPE_BF16, .rank = 4, .shape = {1, 2, 1, 1}, .count = 2, .data = values},
        {.name = "alpha", .type = DTYPE_F16, .rank = 0, .count = 1, .data = values},
        {.name = "none", .type = DTYPE_I64, .rank = 1, .shape = {0}, .count = 0, .data = values}};
    static const size_t counts[] = {0, 1, 2, 4};
    if (index >= 8) return false;
    size_t pairs = index / 4 * 2;
    FUZZ_CHECK(safetensors_write(path, entries, counts[index % 4], metadata, pairs, NULL) == LECO_OK);
    return true;
}

/* The header ends at the last brace and the spaces behind it. */
void fuzz_repair(uint8_t *data, size_t size)
{
    for (size_t i = size; i > 8; i--) {
        if (data[i - 1] != '}') continue;
        while (i < size && data[i] == ' ') i++;
        uint64_t length = i - 8;
        memcpy(data, &length, sizeof length);
        return;
    }
}
