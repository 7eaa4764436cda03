/* leco inspect on safetensors files. */
#include "fuzz.h"

#include <jansson.h>
#include <string.h>

#include "format/safetensors.h"
#include "fuzz_tensors.h"
#include "leco/leco.h"

const char *const fuzz_words[] = {"a.lora_down.weight",
                                  "lora_te_b.lora_down.weight",
                                  "a.alpha",
                                  "\"dtype\":",
                                  "\"shape\":[]",
                                  "\"shape\":[4,1]",
                                  "\"F32\"",
                                  "\"F64\"",
                                  "\"I64\"",
                                  "\"U8\"",
                                  "\"__metadata__\":{\"a\":\"b\"},",
                                  "\\u0000",
                                  "\\ud83d\\ude00",
                                  "\\u001b",
                                  "\\u009b",
                                  "\\n",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    char *text = NULL, *for_people = NULL;
    const char *path = fuzz_path(data, size);
    leco_status status = leco_inspect(path, true, &text, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!text);
        return 0;
    }
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *lora = json_object_get(o, "lora");
    FUZZ_CHECK(json_is_string(json_object_get(o, "path")) && json_is_string(json_object_get(o, "kind")));
    FUZZ_CHECK(json_integer_value(json_object_get(o, "parameters")) >= 0);
    FUZZ_CHECK(json_is_object(json_object_get(o, "tensors")) && json_is_object(json_object_get(o, "metadata")));
    FUZZ_CHECK(!lora || (json_integer_value(json_object_get(lora, "modules")) > 0 && json_object_get(lora, "rank")));
    FUZZ_CHECK(leco_inspect(path, false, &for_people, &err) == LECO_OK);
    FUZZ_CHECK(for_people[0] && fuzz_is_tidy(for_people, true));
    leco_free(for_people);
    leco_free(text);
    json_decref(o);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const float values[12] = {1, 2, 3};
    static const char *const metadata[][2] = {{"format", "pt"},
                                              {"ss_training_comment", "caf\xc3\xa9 \xf0\x9f\x98\x80"}};
    const safetensors_entry entries[] = {
        {.name = "a.lora_down.weight", .type = DTYPE_F32, .rank = 2, .shape = {2, 3}, .count = 6, .data = values},
        {.name = "lora_te_b.lora_down.weight",
         .type = DTYPE_BF16,
         .rank = 4,
         .shape = {1, 2, 1, 1},
         .count = 2,
         .data = values},
        {.name = "a.alpha", .type = DTYPE_F16, .rank = 0, .count = 1, .data = values},
        {.name = "lora_te_b.alpha", .type = DTYPE_F64, .rank = 1, .shape = {1}, .count = 1, .data = values}};
    static const size_t counts[] = {0, 1, 4};
    if (index >= 3) return false;
    FUZZ_CHECK(safetensors_write(path, entries, counts[index], metadata, index, NULL) == LECO_OK);
    return true;
}

size_t fuzz_repair(uint8_t *data, size_t size, size_t capacity)
{
    return fuzz_repair_tensors(data, size, capacity);
}
