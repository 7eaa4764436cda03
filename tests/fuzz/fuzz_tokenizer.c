/* A tokenizer's folder, and the prompt "@text" encoded by it. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"

const char *const fuzz_words[] = {"=== vocab.json\n",
                                  "=== merges.txt\n",
                                  "=== tokenizer_config.json\n",
                                  "=== special_tokens_map.json\n",
                                  "=== added_tokens.json\n",
                                  "=== tokenizer.json\n",
                                  "=== @text\n",
                                  "\"added_tokens_decoder\": {\"0\": {\"content\": \"a\"}}",
                                  "\"content\": ",
                                  "\"bos_token\": ",
                                  "\"eos_token\": ",
                                  "\"unk_token\": ",
                                  "\"pad_token\": ",
                                  "\"model_max_length\": ",
                                  "\"lstrip\": true",
                                  "<|startoftext|>",
                                  "<|endoftext|>",
                                  "<|ENDOFTEXT|>",
                                  "</w>",
                                  "\xce\xa3",
                                  "\xe4\xb8\xad",
                                  "'s",
                                  "!",
                                  NULL};

static const char *const names[] = {"vocab.json",
                                    "merges.txt",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "tokenizer.json",
                                    "@text",
                                    NULL};
enum { TEXT = 6 };

static void check_sequence(const tokenizer *t, const int32_t *ids, size_t length, size_t needed)
{
    FUZZ_CHECK(needed >= 2 && ids[0] == tokenizer_start(t));
    for (size_t i = 0; i < length; i++) FUZZ_CHECK(ids[i] >= 0 && tokenizer_token(t, ids[i]));
    size_t used = needed < length ? needed : length;
    FUZZ_CHECK(ids[used - 1] == tokenizer_end(t));
    for (size_t i = used; i < length; i++) FUZZ_CHECK(ids[i] == tokenizer_pad(t));
}

static void check_text(const tokenizer *t, const char *text, size_t size)
{
    leco_error err = {0};
    size_t length = tokenizer_length(t), needed = 0;
    int32_t *ids = malloc(length * sizeof *ids);
    FUZZ_CHECK(ids);
    leco_status status = tokenizer_encode(t, text, size, ids, &needed, &err);
    FUZZ_CHECK((status == LECO_OK) == fuzz_is_utf8(text, size));
    if (status == LECO_OK)
        check_sequence(t, ids, length, needed);
    else
        FUZZ_REFUSED(status, &err);
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_part parts[FUZZ_MAX_PARTS];
    tokenizer *t = NULL;
    fuzz_accepted = false;
    if (fuzz_has_large_id(data, size)) return 0;
    fuzz_split(data, size, names, parts);
    leco_status status = tokenizer_open(fuzz_folder(names, parts), &t, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!t);
        return 0;
    }
    const int32_t special[] = {tokenizer_start(t), tokenizer_end(t), tokenizer_pad(t)};
    FUZZ_CHECK(tokenizer_length(t) >= 3 && tokenizer_length(t) <= 4096);
    for (int i = 0; i < 3; i++)
        FUZZ_CHECK(special[i] >= 0 && (size_t)special[i] < tokenizer_vocabulary(t) && tokenizer_token(t, special[i]));
    char *text = fuzz_text(&parts[TEXT]);
    check_text(t, text ? text : "", parts[TEXT].size);
    free(text);
    tokenizer_close(t);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
#define VOCABULARY                                                                                                     \
    "{\"a\": 0, \"r\": 1, \"e\": 2, \"d</w>\": 3, \"red</w>\": 4, \"a</w>\": 5, \"!</w>\": 6, "                        \
    "\"<|startoftext|>\": 7, \"<|endoftext|>\": 8, \"<x>\": 9}\n=== merges.txt\n#version: 0.2\nr e\nre d</w>\n"
    static const char *const seeds[] = {
        VOCABULARY "=== @text\nA red<|endoftext|> RED! xyz",
        VOCABULARY "=== tokenizer_config.json\n{\"added_tokens_decoder\": {\"9\": {\"content\": \"<x>\", \"lstrip\": "
                   "false}}, \"bos_token\": \"<|startoftext|>\", \"model_max_length\": 5, \"pad_token\": \"!</w>\"}\n"
                   "=== @text\n<x>red a red<|STARTOFTEXT|> a'll",
        VOCABULARY "=== special_tokens_map.json\n{\"bos_token\": {\"content\": \"<|startoftext|>\"}, \"pad_token\": "
                   "\"<x>\", \"unk_token\": \"a\"}\n=== @text\n\xce\xa3\xce\xa3 \xe4\xb8\xad 12 caf\xc3\xa9"};
    const unsigned own = sizeof seeds / sizeof *seeds;
    if (index < own) fuzz_put(path, seeds[index]);
    if (index != own) return index < own;
    for (int i = 0; i < 4; i++) {
        fuzz_put(path, "=== ");
        fuzz_put(path, names[i]);
        fuzz_put(path, "\n");
        char name[64] = "models/shapes/tokenizer/";
        strcat(name, names[i]);
        fuzz_put_file(path, name);
    }
    fuzz_put(path, "\n=== @text\na small red star on a navy background");
    return true;
}
