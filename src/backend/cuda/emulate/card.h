/* The stand-in for a card on the host: what runs on its stream is done at once, or kept while it is recorded. */
#ifndef LECO_CUDA_EMULATE_CARD_H
#define LECO_CUDA_EMULATE_CARD_H

#include <stddef.h>

#ifdef __cplusplus
#include <functional>
#else
#include <stdbool.h>
#include <stdint.h>

/* What kind of card it is; tests change it. Programs take it from the environment where it is opened:
 * LECO_EMULATED_CAPABILITY, LECO_EMULATED_MEMORY and LECO_EMULATED_FAILS_AT. With LECO_EMULATED_CUDNN=0 it has no
 * cuDNN, with LECO_EMULATED_CUBLASLT=0 it can't be used for want of cuBLASLt. */
typedef struct emulated_card {
    int capability;   /* 90 */
    size_t memory;    /* bytes; SIZE_MAX: without end */
    int64_t fails_at; /* it is lost at this call, and for all after it; 0: never */
    int64_t calls;    /* copies, waits and recordings so far */
    size_t watched;   /* counted as they come: uploads of so many bytes */
    int64_t uploads;
} emulated_card;
extern emulated_card emulated;
#endif

#ifdef __cplusplus

void emulated_do(std::function<void()> work);
extern "C" {
#endif

void emulated_record(void);
void *emulated_recorded(void); /* of all since emulated_record; NULL: out of memory */
void emulated_replay(void *recording);
void emulated_forget(void *recording);

#ifdef __cplusplus
}
#endif

#endif
