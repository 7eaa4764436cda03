/* Random numbers that equal PyTorch's, bit for bit where the arithmetic allows.
 *
 * RNG_CPU is torch's CPU generator: mt19937 seeded as torch.manual_seed does, its uniform, randint and both normal
 * paths (scalar with a cached second value under 16 elements; the vectorised Box-Muller in blocks of 16 otherwise).
 * RNG_CUDA is the Philox 4x32-10 stream of torch's CUDA generator, as A1111 reproduces it: randn only.
 * Source: ATen/native/cpu/DistributionTemplates.h; Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011).
 */
#ifndef LECO_BASE_RNG_H
#define LECO_BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum rng_kind { RNG_CPU, RNG_CUDA } rng_kind;

typedef struct rng {
    rng_kind kind;
    uint32_t state[624]; /* mt19937 */
    uint32_t next;       /* index of the next word in state */
    uint32_t has_normal; /* a second normal of the scalar path is cached */
    double normal;
    uint64_t seed;
    uint32_t offset; /* Philox: randn calls so far */
} rng;

void rng_seed(rng *r, rng_kind kind, uint64_t seed);
uint32_t rng_word(rng *r); /* the next 32-bit word of mt19937; RNG_CPU only, as the next three */

/* torch.Tensor.uniform_(low, high): (word & 0xffffff) * 2^-24, one word an element; scaled to [low, high) with one
 * rounding (fused), bit for bit. With 0 and 1 it is torch.rand. */
void rng_uniform(rng *r, float *out, size_t count, float low, float high);

/* torch.randint(low, high, (1,)): low <= result < high; low < high is the caller's duty. One word modulo high - low, or
 * two (64 bits) from a range of 2^28 on, as torch 2.8 does (1.13: from 2^32). */
int64_t rng_randint(rng *r, int64_t low, int64_t high);

/* torch.randn of `count` elements in one call. RNG_CPU gives the numbers of torch on processors with AVX2, bit for bit;
 * torch without AVX2 differs from itself, and so from this, by up to 2e-6. */
void rng_normal(rng *r, float *out, size_t count);

/* The whole generator as numbers, for files; and back. false, and r untouched, where they are no generator. */
#define RNG_NUMBERS (624 + 6)
void rng_export(const rng *r, int64_t out[RNG_NUMBERS]);
bool rng_import(rng *r, const int64_t numbers[RNG_NUMBERS]);

/* The block function of Philox 4x32-10: replaces `counter` by its random words under the key `seed`. */
void rng_philox(uint32_t counter[4], uint64_t seed);

#endif
