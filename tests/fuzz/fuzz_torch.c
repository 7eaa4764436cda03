/* PyTorch's files: zip archives and sequences of pickles. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "format/torch.h"

const char *const fuzz_words[] = {"ctorch._utils\n_rebuild_tensor_v2\n",
                                  "ctorch\nFloatStorage\n",
                                  "ccollections\nOrderedDict\n",
                                  "cposix\nsystem\n",
                                  "cnumpy\ndtype\n",
                                  "cnumpy.core.multiarray\nscalar\n",
                                  "cnumpy.core.multiarray\n_reconstruct\n",
                                  "cnumpy.core.numeric\n_frombuffer\n",
                                  "c_codecs\nencode\n",
                                  "X\x07\0\0\0storage",
                                  "state_dict",
                                  "q\x01",
                                  "h\x01",
                                  "r\xff\xff\xff\xff",
                                  "\x80\x02",
                                  "\x8a\x0a",
                                  "((",
                                  "]q\x01h\x01"
                                  "a",
                                  "}q\x01h\x01h\x01s",
                                  "tQ",
                                  "\x87R",
                                  "PK\x01\x02",
                                  "PK\x03\x04",
                                  "PK\x05\x06",
                                  "PK\x06\x06",
                                  "\xff\xff\xff\xff",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    safetensors *file = NULL;
    leco_status status = torch_open(fuzz_path(data, size), &file, &err);
    fuzz_accepted = status == LECO_OK;
    if (!fuzz_accepted) {
        FUZZ_REFUSED(status, &err);
        FUZZ_CHECK(!file);
        return 0;
    }
    volatile unsigned char sum = 0; /* what lies outside of the file is a crash */
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const safetensors_entry *e = safetensors_at(file, i);
        FUZZ_CHECK(e->name && fuzz_is_utf8(e->name, strlen(e->name)) && safetensors_find(file, e->name) == e);
        const unsigned char *bytes = e->data;
        for (size_t k = 0; k < e->count * dtype_size(e->type); k++) sum = sum ^ bytes[k];
    }
    FUZZ_CHECK(safetensors_unchanged(file, &err) == LECO_OK);
    safetensors_close(file);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const names[] = {"plain.pt",        "old.pt",       "protocol4.pt",       "odd.pt",
                                        "checkpoint.ckpt", "embedding.pt", "learned_embeds.bin", "module.pt",
                                        "old_module.pt",   "numbers.pt",   "numbers5.pt"};
    char name[128];
    if (index >= sizeof names / sizeof *names) return false;
    snprintf(name, sizeof name, "tests/parity/fixtures/torch/%s", names[index]);
    fuzz_put_file(path, name);
    return true;
}
