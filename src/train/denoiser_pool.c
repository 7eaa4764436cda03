#include "train/denoiser_pool.h"

#include <string.h>

#include "base/mem.h"

typedef struct pooled_denoiser {
    denoiser_wish of;
    denoiser *denoiser;
} pooled_denoiser;

static bool same(const denoiser_wish *a, const denoiser_wish *b)
{
    return a->model == b->model && a->tokens == b->tokens && memcmp(&a->size, &b->size, sizeof a->size) == 0 &&
           a->multiplier == b->multiplier && a->learns == b->learns;
}

static leco_status plan(const denoiser_pool *pool, const denoiser_wish *wish, denoiser **out, leco_error *err)
{
    const bool with_text = wish->multiplier != 0 && trainable_reaches_texts(pool->trainable);
    adapter_use *use = mem_calloc(1 + pool->given.count, sizeof *use);
    if (!use) return error_memory(err, (1 + pool->given.count) * sizeof *use, "the trainer's sessions");
    adapter_set adapters = {.use = use};
    if (wish->multiplier != 0) use[adapters.count++] = (adapter_use){pool->trainable, wish->multiplier};
    for (size_t i = 0; i < pool->given.count; i++) use[adapters.count++] = pool->given.use[i];
    const denoiser_options options = {.size = wish->size,
                                      .tokens = wish->tokens,
                                      .adapters = &adapters,
                                      .trainable = wish->learns,
                                      .recompute = wish->learns ? pool->recompute : 0,
                                      .huber = wish->learns && pool->huber,
                                      .dropout = pool->dropout,
                                      .scale = pool->scale,
                                      .text = with_text ? &pool->text : NULL};
    leco_status status = denoiser_plan(pool->device, wish->model, &options, out, err);
    mem_free(use);
    return status;
}

leco_status denoiser_pool_get(denoiser_pool *pool, const denoiser_wish *wish, denoiser **out, leco_error *err)
{
    for (size_t i = 0; i < pool->count; i++)
        if (same(&pool->entry[i].of, wish)) {
            *out = pool->entry[i].denoiser;
            return LECO_OK;
        }
    pooled_denoiser *grown = mem_realloc(pool->entry, pool->count + 1, sizeof *grown);
    if (!grown) return error_memory(err, (pool->count + 1) * sizeof *grown, "the trainer's sessions");
    pool->entry = grown;
    pooled_denoiser made = {*wish, NULL};
    LECO_TRY(plan(pool, wish, &made.denoiser, err));
    pool->entry[pool->count++] = made;
    *out = made.denoiser;
    return LECO_OK;
}

leco_status denoiser_pool_prepare(denoiser_pool *pool, leco_error *err)
{
    /* At once: growing from one session to the next would hold two arenas for a moment. */
    LECO_TRY(workspace_reserve(pool->device->workspace, denoiser_pool_arena_bytes(pool), err));
    for (size_t i = 0; i < pool->count; i++) LECO_TRY(denoiser_prepare(pool->entry[i].denoiser, err));
    return LECO_OK;
}

void denoiser_pool_free(denoiser_pool *pool)
{
    for (size_t i = 0; i < pool->count; i++) denoiser_destroy(pool->entry[i].denoiser);
    mem_free(pool->entry);
    pool->entry = NULL;
    pool->count = 0;
}

size_t denoiser_pool_arena_bytes(const denoiser_pool *pool)
{
    size_t largest = 0;
    for (size_t i = 0; i < pool->count; i++) {
        size_t bytes = denoiser_arena_bytes(pool->entry[i].denoiser);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

size_t denoiser_pool_bytes(const denoiser_pool *pool)
{
    size_t bytes = pool->count * sizeof *pool->entry;
    for (size_t i = 0; i < pool->count; i++) bytes += denoiser_bytes(pool->entry[i].denoiser);
    return bytes;
}
