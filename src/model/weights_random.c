/* Weights without files: made up from a seed, or blank. */
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/weights_internal.h"

static weights *without_file(bool random, uint64_t seed)
{
    weights *w = mem_calloc(1, sizeof *w);
    if (!w) return NULL;
    w->random = random;
    w->seed = seed;
    return w;
}

weights *weights_random(uint64_t seed)
{
    return without_file(true, seed);
}

weights *weights_blank(void)
{
    return without_file(false, 0);
}

#define NOISE_DEVIATION 0.02f
#define NOISE_PERIOD 65536 /* values drawn; the pool repeats them */

static weights_pool_kind pool_of(const char *name, const shape *s)
{
    const char *last = strrchr(name, '.');
    if (last && strcmp(last, ".bias") == 0) return POOL_ZEROS;
    return s->rank == 1 ? POOL_ONES : POOL_NOISE;
}

static void fill_noise(bf16 *data, size_t count, uint64_t seed, float *draw)
{
    rng r;
    rng_seed(&r, RNG_CPU, seed);
    rng_normal(&r, draw, NOISE_PERIOD);
    for (size_t i = 0; i < count; i++) data[i] = bf16_from_f32(NOISE_DEVIATION * draw[i % NOISE_PERIOD]);
}

/* Makes the pool hold at least `count` values. Weights of its kind point to its new memory afterwards. */
static leco_status grow_pool(weights *w, weights_pool_kind kind, size_t count, leco_error *err)
{
    weights_pool *p = &w->pools[kind];
    if (count <= p->count) return LECO_OK;
    size_t bytes;
    if (!mem_mul(count, sizeof *p->data, &bytes)) return error_memory(err, SIZE_MAX, "random weights");
    bf16 *data = mem_aligned(bytes);
    float *draw = kind == POOL_NOISE ? mem_calloc(NOISE_PERIOD, sizeof *draw) : NULL;
    if (!data || (kind == POOL_NOISE && !draw)) {
        mem_free_aligned(data);
        mem_free(draw);
        return error_memory(err, bytes, "random weights");
    }
    if (kind == POOL_NOISE)
        fill_noise(data, count, w->seed, draw);
    else
        for (size_t i = 0; i < count; i++) data[i] = bf16_from_f32(kind == POOL_ONES ? 1.0f : 0.0f);
    mem_free(draw);
    for (size_t i = 0; i < w->count; i++) {
        weight *other = &w->slots[i]->w;
        if (pool_of(other->name, &other->shape) == kind) other->data = data;
    }
    mem_free_aligned(p->data);
    *p = (weights_pool){data, count};
    return LECO_OK;
}

leco_status weights_make_up(weights *w, const char *name, shape s, size_t at, weight **out, leco_error *err)
{
    weights_pool_kind kind = pool_of(name, &s);
    if (w->random) LECO_TRY(grow_pool(w, kind, (size_t)shape_count(&s), err));
    weights_slot *made = weights_insert(w, at, name);
    if (!made) return error_memory(err, sizeof *made, "the table of weights");
    made->w.type = DTYPE_BF16;
    made->w.shape = s;
    made->w.data = w->pools[kind].data;
    made->w.keep_out_of_place = true;
    made->used = true;
    *out = &made->w;
    return LECO_OK;
}
