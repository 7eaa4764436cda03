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
                                  "beta3=None",
                                  "d0=1e-5,growth_rate=inf",
                                  "slice_p=11",
                                  "eps=(1e-30,1e-3)",
                                  "relative_step=False",
                                  "warmup_steps=10",
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
    optimizer_options options =
        optimizer_defaults((optimizer_kind)((data[0] + OPTIMIZER_COUNT - 'A' % OPTIMIZER_COUNT) % OPTIMIZER_COUNT));
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

/* The first letter is the row's: 'A' AdamW, 'B' Adam, and so on. */
bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {"Abetas=(0.9,0.99) weight_decay=0.01",
                                        "Beps=1e-6 betas=[0.5,0.9] ",
                                        "Bbetas=0.5,0.9\teps=1e-30",
                                        "Cmomentum=0.9 nesterov=True\nweight_decay=0.1",
                                        "Cdampening=0.5 momentum=0.3 nesterov=false",
                                        "Dbetas=(0.8,0.95) weight_decay=0.1",
                                        "Ebeta3=None,d0=1e-5, growth_rate=inf,slice_p=11 safeguard_warmup=True",
                                        "Fdecouple=True use_bias_correction=True growth_rate=1.02",
                                        "Gd0=1e-4,betas=0.8, 0.95",
                                        "Heps=(1e-30,1e-3) relative_step=False scale_parameter=False beta1=0.9",
                                        "Iwarmup_steps=10 r=1,weight_lr_power=0"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}
