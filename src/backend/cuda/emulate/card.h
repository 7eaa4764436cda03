/* The stand-in for a card on the host: what runs on its stream is done at once, or kept while it is recorded. */
#ifndef LECO_CUDA_EMULATE_CARD_H
#define LECO_CUDA_EMULATE_CARD_H

#include <stddef.h>

#ifdef __cplusplus
#include <functional>

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
