#include "fuzz.h"

#include <string.h>

#include "base/mem.h"
#include "format/safetensors.h"
#include "fuzz_tensors.h"

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

static void check_entries(const safetensors *file, const uint8_t *data, size_t size)
{
    leco_error err = {0};
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
        leco_status status = safetensors_require(file, name, 0, NULL, &entry, &err);
        FUZZ_CHECK(status == LECO_UNSUPPORTED && !entry);
        FUZZ_REFUSED(status, &err);
    }
}

/* What was read, written and read again is the same. */
static void check_again(const safetensors *file)
{
    leco_error err = {0};
    size_t count = safetensors_count(file), pairs = safetensors_metadata_count(file);
    safetensors_entry *entries = mem_calloc(count, sizeof *entries);
    const char *(*metadata)[2] = mem_calloc(pairs, sizeof *metadata);
    for (size_t i = 0; i < count; i++) entries[i] = *safetensors_at(file, i);
    for (size_t i = 0; i < pairs; i++) {
        safetensors_metadata_at(file, i, &metadata[i][0], &metadata[i][1]);
        FUZZ_CHECK(safetensors_metadata(file, metadata[i][0]) == metadata[i][1]);
    }
    FUZZ_CHECK(safetensors_write(fuzz_result(), entries, count, (const char *const(*)[2])metadata, pairs, &err) ==
               LECO_OK);
    safetensors *again;
    FUZZ_CHECK(safetensors_open(fuzz_result(), &again, &err) == LECO_OK);
    FUZZ_CHECK(safetensors_count(again) == count && safetensors_metadata_count(again) == pairs);
    for (size_t i = 0; i < count; i++) {
        const safetensors_entry *old = &entries[i], *new = safetensors_find(again, old->name);
        FUZZ_CHECK(new &&new->type == old->type &&new->rank == old->rank &&new->count == old->count);
        FUZZ_CHECK(memcmp(new->shape, old->shape, (size_t)old->rank * sizeof *old->shape) == 0);
        FUZZ_CHECK(memcmp(new->data, old->data, old->count * dtype_size(old->type)) == 0);
    }
    for (size_t i = 0; i < pairs; i++)
        FUZZ_CHECK(strcmp(safetensors_metadata(again, metadata[i][0]), metadata[i][1]) == 0);
    safetensors_close(again);
    mem_free(metadata);
    mem_free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    safetensors *file;
    leco_status status = safetensors_open(fuzz_path(data, size), &file, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(file == NULL);
        return 0;
    }
    check_entries(file, data, size);
    check_again(file);
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

/* Half of the time the length of the header only, so that wrong offsets are tried, too. */
size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return size % 2 ? fuzz_repair_header(data, size) : fuzz_repair_tensors(data, size, capacity);
}
