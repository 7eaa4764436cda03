#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define MT_WORDS 624
#define MT_SHIFT 397
#define TWO_PI 6.283185307179586

void rng_seed(rng *r, rng_kind kind, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->kind = kind;
    r->seed = seed;
    uint32_t word = (uint32_t)seed; /* torch's mt19937 uses the lower half only */
    for (uint32_t i = 0; i < MT_WORDS; i++) {
        r->state[i] = word;
        word = 1812433253u * (word ^ word >> 30) + i + 1;
    }
    r->next = MT_WORDS;
}

/* ---- mt19937 ---- */

static void mt_refill(rng *r)
{
    uint32_t *s = r->state;
    for (size_t i = 0; i < MT_WORDS; i++) {
        uint32_t mixed = (s[i] & 0x80000000u) | (s[(i + 1) % MT_WORDS] & 0x7fffffffu);
        s[i] = s[(i + MT_SHIFT) % MT_WORDS] ^ mixed >> 1 ^ (mixed & 1 ? 0x9908b0dfu : 0);
    }
    r->next = 0;
}

uint32_t rng_word(rng *r)
{
    assert(r->kind == RNG_CPU);
    if (r->next >= MT_WORDS) mt_refill(r);
    uint32_t word = r->state[r->next++];
    word ^= word >> 11;
    word ^= word << 7 & 0x9d2c5680u;
    word ^= word << 15 & 0xefc60000u;
    return word ^ word >> 18;
}

static uint64_t two_words(rng *r)
{
    uint64_t high = rng_word(r);
    return high << 32 | rng_word(r);
}

static float unit_f32(rng *r)
{
    return (float)(rng_word(r) & 0xffffffu) * 0x1p-24f;
}

static double unit_f64(rng *r)
{
    return (double)(two_words(r) & 0x1fffffffffffffu) * 0x1p-53;
}

void rng_uniform(rng *r, float *out, size_t count, float low, float high)
{
    float range = high - low;
    for (size_t i = 0; i < count; i++) out[i] = fmaf(unit_f32(r), range, low); /* torch is built with contraction */
}

int64_t rng_randint(rng *r, int64_t low, int64_t high)
{
    assert(low < high);
    uint64_t range = (uint64_t)high - (uint64_t)low;
    uint64_t word = range < UINT64_C(1) << 28 ? rng_word(r) : two_words(r);
    return (int64_t)((uint64_t)low + word % range);
}

/* ---- normal numbers as torch's vectorised path makes them ----
 *
 * torch carries its own logarithm, sine and cosine there (polynomials of Moshier's Cephes library in float). Libm's are
 * more accurate and so would differ in the last bit of one number in ten. Every fused multiply-add is where torch's
 * compiler puts it: with them the numbers are equal bit for bit, moved elsewhere they are not. */

static float cephes_log(float x)
{
    static const float p[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    int exponent;
    x = frexpf(x, &exponent);
    float e = (float)exponent;
    if (x < 0.707106781186547524f) {
        e -= 1.0f;
        x = x - 1.0f + x;
    } else {
        x -= 1.0f;
    }
    float z = x * x;
    float y = p[0];
    for (size_t i = 1; i < sizeof p / sizeof *p; i++) y = fmaf(y, x, p[i]);
    y = y * x;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(z, -0.5f, y);
    return fmaf(e, 0.693359375f, x + y);
}

/* For 0 <= x < 2 pi. */
static void cephes_sincos(float x, float *sine, float *cosine)
{
    uint32_t octant = ((uint32_t)(x * 1.27323954473516f) + 1) & ~1u; /* x over pi/4, to the next even number */
    float y = (float)octant;
    x = fmaf(y, -0.78515625f, x); /* pi/4 in three parts */
    x = fmaf(y, -2.4187564849853515625e-4f, x);
    x = fmaf(y, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = fmaf(fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f), z, 4.166664568298827e-2f);
    c = fmaf(c * z, z, -0.5f * z) + 1.0f;
    float s = fmaf(fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f), z, -1.6666654611e-1f);
    s = fmaf(s * z, x, x);
    int swapped = octant & 2;
    *sine = (swapped ? c : s) * (octant & 4 ? -1.0f : 1.0f);
    *cosine = (swapped ? s : c) * ((octant - 2) & 4 ? 1.0f : -1.0f);
}

/* Box-Muller over 16 uniform numbers, in place: j with j + 8. */
static void normal_block(float *block)
{
    for (int j = 0; j < 8; j++) {
        float radius = sqrtf(-2.0f * cephes_log(1.0f - block[j])), sine, cosine;
        cephes_sincos((float)TWO_PI * block[j + 8], &sine, &cosine);
        block[j] = radius * cosine;
        block[j + 8] = radius * sine;
    }
}

static void uniform_fill(rng *r, float *out, size_t count)
{
    for (size_t i = 0; i < count; i++) out[i] = unit_f32(r);
}

static void normal_blocks(rng *r, float *out, size_t count)
{
    uniform_fill(r, out, count);
    for (size_t i = 0; i + 16 <= count; i += 16) normal_block(out + i);
    if (count % 16 == 0) return;
    /* The tail doesn't fill a block: torch draws the last 16 numbers anew, over part of the block before. */
    uniform_fill(r, out + count - 16, 16);
    normal_block(out + count - 16);
}

/* ---- the scalar path ---- */

static double normal_scalar(rng *r)
{
    if (r->has_normal) {
        r->has_normal = 0;
        return r->normal;
    }
    double u1 = unit_f64(r), u2 = unit_f64(r);
    double radius = sqrt(-2.0 * log1p(-u2)), theta = TWO_PI * u1;
    r->normal = radius * sin(theta);
    r->has_normal = 1;
    return radius * cos(theta);
}

/* ---- Philox 4x32-10 ---- */

void rng_philox(uint32_t c[4], uint64_t seed)
{
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key[0], (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ key[1],
                            (uint32_t)a};
        memcpy(c, next, sizeof next);
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
}

/* One counter an element: (call, 0, element, 0). Two of its four words become one normal number, the sine branch, in
 * float as on the device. */
static void normal_philox(rng *r, float *out, size_t count)
{
    const float scale = 0x1p-32f, angle = 0x1p-32f * (float)TWO_PI;
    for (size_t i = 0; i < count; i++) {
        uint32_t c[4] = {r->offset, 0, (uint32_t)i, 0};
        rng_philox(c, r->seed);
        float u = fmaf((float)c[0], scale, scale / 2), v = fmaf((float)c[1], angle, angle / 2);
        out[i] = sqrtf(-2.0f * logf(u)) * sinf(v);
    }
    r->offset++;
}

void rng_normal(rng *r, float *out, size_t count)
{
    if (r->kind == RNG_CUDA) {
        normal_philox(r, out, count);
    } else if (count >= 16) {
        normal_blocks(r, out, count);
    } else {
        for (size_t i = 0; i < count; i++) out[i] = (float)normal_scalar(r);
    }
}

/* ---- as numbers ---- */

void rng_export(const rng *r, int64_t out[RNG_NUMBERS])
{
    int64_t *at = out;
    for (size_t i = 0; i < MT_WORDS; i++) *at++ = (int64_t)r->state[i];
    *at++ = (int64_t)r->kind;
    *at++ = (int64_t)r->next;
    *at++ = (int64_t)r->has_normal;
    memcpy(at++, &r->normal, sizeof r->normal);
    memcpy(at++, &r->seed, sizeof r->seed);
    *at = (int64_t)r->offset;
}

static bool is_word(int64_t number)
{
    return number >= 0 && number <= UINT32_MAX;
}

bool rng_import(rng *r, const int64_t numbers[RNG_NUMBERS])
{
    const int64_t *at = numbers + MT_WORDS;
    rng made = {.kind = at[0] == RNG_CUDA ? RNG_CUDA : RNG_CPU, .next = (uint32_t)at[1], .offset = (uint32_t)at[5]};
    bool good =
        at[0] == (int64_t)made.kind && at[1] >= 0 && at[1] <= MT_WORDS && (at[2] == 0 || at[2] == 1) && is_word(at[5]);
    made.has_normal = at[2] == 1;
    memcpy(&made.normal, &at[3], sizeof made.normal);
    memcpy(&made.seed, &at[4], sizeof made.seed);
    good = good && isfinite(made.normal);
    for (size_t i = 0; i < MT_WORDS; i++) {
        good = good && is_word(numbers[i]);
        made.state[i] = (uint32_t)numbers[i];
    }
    if (good) *r = made;
    return good;
}
