#include "diffusion/decoder.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* Of a tile's edge, how much lies over the next one, at least: its fourth. */
enum { OVERLAP = 4 };

struct decoder {
    latent_size size; /* of all pictures */
    latent_size tile; /* of what is decoded at once: the same, or a part of it */
    float scaling_factor;
    int64_t factor;
    runner runner;
    const vae_config *config;
    vae_decoder net;
    size_t sample_count; /* floats of what is decoded at once */
    float *latents;      /* [tile] */
    float *sample;       /* [tile's batch, its height, its width, 3] pixels */
    float *sum;          /* of tiles: [B, H, W, 3] what they say, each times its weight there */
    float *weight;       /* of tiles: [H, W] what these come to */
};

void decoder_destroy(decoder *n)
{
    if (!n) return;
    runner_free(&n->runner);
    mem_free(n->latents);
    mem_free(n->sample);
    mem_free(n->sum);
    mem_free(n->weight);
    mem_free(n);
}

static void build(nn *c, void *user)
{
    decoder *n = user;
    n->net = vae_decoder_build(c, n->config, n->tile.batch, n->tile.height, n->tile.width);
}

static bool in_tiles(const decoder *n)
{
    return n->tile.height < n->size.height || n->tile.width < n->size.width;
}

static size_t pixels(const decoder *n)
{
    return (size_t)(n->size.height * n->size.width * n->factor * n->factor);
}

static leco_status plan(decoder *n, const device *d, const model *m, leco_error *err)
{
    const runner_spec spec = {.device = d,
                              .weights = m->weights[PART_VAE],
                              .part = PART_VAE,
                              .what = "the decoder",
                              .build = build,
                              .user = n};
    LECO_TRY(runner_plan(&spec, &n->runner, err));
    n->sample_count = (size_t)shape_count(&n->net.sample->shape);
    return LECO_OK;
}

leco_status decoder_plan(const device *d, const model *m, latent_size size, int64_t tile, decoder **out,
                         leco_error *err)
{
    *out = NULL;
    decoder *n = mem_calloc(1, sizeof *n);
    if (!n) return error_memory(err, sizeof *n, "a decoder");
    n->size = size;
    n->size.channels = m->vae.latent_channels;
    n->tile = n->size;
    if (tile && tile < size.height) n->tile.height = tile;
    if (tile && tile < size.width) n->tile.width = tile;
    n->config = &m->vae;
    n->factor = vae_factor(&m->vae);
    n->scaling_factor = m->vae.scaling_factor;
    leco_status status = plan(n, d, m, err);
    if (status != LECO_OK) {
        decoder_destroy(n);
        return status;
    }
    *out = n;
    return LECO_OK;
}

leco_status decoder_prepare(decoder *n, leco_error *err)
{
    const size_t all = (size_t)n->size.batch * pixels(n);
    LECO_TRY(runner_prepare(&n->runner, err));
    if (!n->latents) n->latents = mem_calloc(latent_count(n->tile), sizeof(float));
    if (!n->sample) n->sample = mem_calloc(n->sample_count, sizeof(float));
    if (in_tiles(n) && !n->sum) n->sum = mem_calloc(3 * all, sizeof(float));
    if (in_tiles(n) && !n->weight) n->weight = mem_calloc(pixels(n), sizeof(float));
    if (n->latents && n->sample && (!in_tiles(n) || (n->sum && n->weight))) return LECO_OK;
    return error_memory(err, (n->sample_count + 3 * all) * sizeof(float), "decoded pictures");
}

size_t decoder_arena_bytes(const decoder *n)
{
    return runner_arena_bytes(&n->runner);
}

size_t decoder_bytes(const decoder *n)
{
    const size_t tiled = in_tiles(n) ? (3 * (size_t)n->size.batch + 1) * pixels(n) : 0;
    return sizeof *n + runner_bytes(&n->runner) + (latent_count(n->tile) + n->sample_count + tiled) * sizeof(float);
}

/* ---- tiles ---- */

/* Where a tile lies: in latents, from the upper left. */
typedef struct tile_place {
    int64_t y, x;
} tile_place;

/* Along one side: how many tiles there are, and where one begins. The last one ends where the picture does, and the
 * others lie as far from each other as makes that even. */
static int64_t tiles_along(int64_t whole, int64_t tile)
{
    const int64_t step = tile - tile / OVERLAP > 0 ? tile - tile / OVERLAP : 1;
    return whole <= tile ? 1 : (whole - tile + step - 1) / step + 1;
}

static int64_t tile_at(int64_t whole, int64_t tile, int64_t index)
{
    const int64_t count = tiles_along(whole, tile);
    return count == 1 ? 0 : index * (whole - tile) / (count - 1);
}

/* What a pixel of a tile counts, along one side: all, and towards an edge behind which the picture goes on, less. */
static float share(int64_t at, int64_t tile, int64_t start, int64_t whole)
{
    const float ramp = (float)(tile / OVERLAP > 0 ? tile / OVERLAP : 1);
    const float before = start > 0 ? ((float)at + 0.5f) / ramp : 1;
    const float behind = start + tile < whole ? ((float)(tile - at) - 0.5f) / ramp : 1;
    const float least = before < behind ? before : behind;
    return least < 1 ? least : 1;
}

static void take_latents(decoder *n, const float *latents, tile_place at)
{
    const latent_size all = n->size, t = n->tile;
    float *out = n->latents;
    for (int64_t b = 0; b < t.batch; b++)
        for (int64_t y = 0; y < t.height; y++) {
            const float *row = latents + ((b * all.height + at.y + y) * all.width + at.x) * all.channels;
            for (int64_t i = 0; i < t.width * t.channels; i++) *out++ = row[i] / n->scaling_factor;
        }
}

static void add_tile(decoder *n, tile_place at)
{
    const int64_t f = n->factor, height = n->tile.height * f, width = n->tile.width * f;
    const int64_t all_height = n->size.height * f, all_width = n->size.width * f;
    const float *from = n->sample;
    for (int64_t b = 0; b < n->tile.batch; b++)
        for (int64_t y = 0; y < height; y++) {
            const float down = share(y, height, at.y * f, all_height);
            const int64_t row = (at.y * f + y) * all_width + at.x * f;
            for (int64_t x = 0; x < width; x++, from += 3) {
                const float counts = down * share(x, width, at.x * f, all_width);
                float *to = n->sum + 3 * (b * all_height * all_width + row + x);
                for (int c = 0; c < 3; c++) to[c] += counts * from[c];
                if (b == 0) n->weight[row + x] += counts;
            }
        }
}

static leco_status decode(decoder *n, leco_error *err)
{
    session *s = n->runner.session;
    LECO_TRY(session_write(s, n->net.latents, n->latents, latent_count(n->tile), err));
    LECO_TRY(session_run(s, err));
    return session_read(s, n->net.sample, n->sample, n->sample_count, err);
}

/* All tiles, one after the other, into the sum; which then is what they say together. */
static leco_status decode_tiles(decoder *n, const float *latents, leco_error *err)
{
    const latent_size all = n->size, t = n->tile;
    const size_t count = pixels(n);
    memset(n->sum, 0, 3 * (size_t)all.batch * count * sizeof *n->sum);
    memset(n->weight, 0, count * sizeof *n->weight);
    for (int64_t i = 0; i < tiles_along(all.height, t.height); i++)
        for (int64_t k = 0; k < tiles_along(all.width, t.width); k++) {
            const tile_place at = {tile_at(all.height, t.height, i), tile_at(all.width, t.width, k)};
            take_latents(n, latents, at);
            LECO_TRY(decode(n, err));
            add_tile(n, at);
        }
    for (size_t b = 0; b < (size_t)all.batch; b++)
        for (size_t i = 0; i < 3 * count; i++) n->sum[3 * b * count + i] /= n->weight[i / 3];
    return LECO_OK;
}

leco_status decoder_run(decoder *n, const float *latents, uint8_t *rgb, leco_error *err)
{
    const size_t count = 3 * (size_t)n->size.batch * pixels(n);
    const float *picture = n->sum;
    if (in_tiles(n)) {
        LECO_TRY(decode_tiles(n, latents, err));
    } else {
        take_latents(n, latents, (tile_place){0});
        LECO_TRY(decode(n, err));
        picture = n->sample;
    }
    for (size_t i = 0; i < count; i++) {
        float v = 0.5f * picture[i] + 0.5f;
        v = v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; /* NaN becomes black */
        rgb[i] = (uint8_t)lrintf(255.0f * v);
    }
    return LECO_OK;
}
