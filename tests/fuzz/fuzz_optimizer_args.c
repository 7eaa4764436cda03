/* train.optimizer_args; the first byte picks the optimizer. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/optimizer.h"

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

static void check_ranges(const optimizer_options *o)
{
    FUZZ_CHECK(o->beta1 >= 0 && o->beta1 < 1 && o->beta2 >= 0 && o->beta2 < 1);
    FUZZ_CHECK(o->eps > 0 && o->eps < 1 && o->weight_decay >= 0 && o->weight_decay < 10);
    FUZZ_CHECK(o->momentum >= 0 && o->momentum < 1 && o->dampening >= 0 && o->dampening < 1);
    FUZZ_CHECK(!o->nesterov || (o->momentum > 0 && o->dampening == 0));
}

/* What was read, written and read again is the same. */
static void check_again(const optimizer_options *o)
{
    leco_error err = {0};
    char text[400];
    optimizer_options again = optimizer_defaults(o->kind);
    if (o->kind == OPTIMIZER_SGD)
        snprintf(text, sizeof text, "weight_decay=%.17g momentum=%.17g dampening=%.17g nesterov=%s", o->weight_decay,
                 o->momentum, o->dampening, o->nesterov ? "True" : "False");
    else
        snprintf(text, sizeof text, "betas=(%.17g,%.17g) eps=%.17g weight_decay=%.17g", o->beta1, o->beta2, o->eps,
                 o->weight_decay);
    FUZZ_CHECK(optimizer_parse(&again, text, &err) == LECO_OK);
    FUZZ_CHECK(again.kind == o->kind && again.beta1 == o->beta1 && again.beta2 == o->beta2 && again.eps == o->eps);
    FUZZ_CHECK(again.weight_decay == o->weight_decay && again.momentum == o->momentum);
    FUZZ_CHECK(again.dampening == o->dampening && again.nesterov == o->nesterov);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    fuzz_accepted = false;
    if (size == 0) return 0;
    optimizer_options options = optimizer_defaults((optimizer_kind)(data[0] % 3));
    char *text = fuzz_text(&(fuzz_part){data + 1, size - 1});
    leco_status status = optimizer_parse(&options, text, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        check_ranges(&options);
        check_again(&options);
    } else {
        FUZZ_REFUSED(status, &err);
    }
    free(text);
    return 0;
}

/* '0' is AdamW, '1' Adam, '2' SGD. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {"0betas=(0.9,0.99) weight_decay=0.01", "1eps=1e-6 betas=[0.5,0.9] ",
                                        "1betas=0.5,0.9\teps=1e-30", "2momentum=0.9 nesterov=True\nweight_decay=0.1",
                                        "2dampening=0.5 momentum=0.3 nesterov=false"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
