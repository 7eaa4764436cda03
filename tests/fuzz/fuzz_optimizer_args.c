/* train.optimizer_args; the first byte picks the optimizer. */
#include <stdlib.h>
#include <string.h>

#include "fuzz_optimizer.h"

const char *const fuzz_words[] = {"betas=(0.9,0.99)",
                                  "betas=0.9,0.999",
                                  "eps=1e-8",
                                  "weight_decay=0.01",
                                  "momentum=0.9",
                                  "dampening=0.1",
                                  "nesterov=True",
                                  "nesterov=false",
                                  "0x1p-2",
                                  "nan",
                                  "inf",
                                  "1e-400",
                                  "(",
                                  ")",
                                  "[",
                                  "]",
                                  ",",
                                  "=",
                                  " ",
                                  NULL};

/* What was read, written and read again is the same. */
static void check_again(const optimizer_options *o)
{
    leco_error err = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    FUZZ_CHECK(out);
    fuzz_put_arguments(out, o);
    fclose(out);
    optimizer_options again = optimizer_defaults(o->kind);
    FUZZ_CHECK(optimizer_parse(&again, text, &err) == LECO_OK);
    FUZZ_CHECK(again.kind == o->kind && memcmp(again.value, o->value, sizeof o->value) == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_accepted = false;
    if (size == 0) return 0;
    optimizer_options options = optimizer_defaults((optimizer_kind)(data[0] % OPTIMIZER_COUNT));
    char *text = fuzz_text(&(fuzz_part){data + 1, size - 1});
    leco_status status = optimizer_parse(&options, text, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        fuzz_check_arguments(&options);
        check_again(&options);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    free(text);
    return 0;
}

/* '0' is AdamW, '1' Adam, '2' SGD, '3' Lion. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {"0betas=(0.9,0.99) weight_decay=0.01",
                                        "1eps=1e-6 betas=[0.5,0.9] ",
                                        "1betas=0.5,0.9\teps=1e-30",
                                        "2momentum=0.9 nesterov=True\nweight_decay=0.1",
                                        "2dampening=0.5 momentum=0.3 nesterov=false",
                                        "3betas=(0.8,0.95) weight_decay=0.1"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
