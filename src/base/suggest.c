#include "base/suggest.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LONGEST 63

/* Names of other programs and ours, in small letters and with '-'. Where a word has several rows, the first counts
 * whose name is among those that are known. */
static const char *const synonyms[][2] = {
    /* drawing */
    {"cfg", "guidance-scale"},
    {"cfg-scale", "guidance-scale"},
    {"scale", "guidance-scale"},
    {"neg", "unconditional"},
    {"neg", "negative"},
    {"negative", "unconditional"},
    {"negative-prompt", "unconditional"},
    {"negative-prompt", "negative"},
    {"sampler", "scheduler"},
    {"sampler", "noise-scheduler"},
    {"sampler-name", "scheduler"},
    {"sampling-method", "scheduler"},
    {"scheduler", "noise-scheduler"},
    {"num-inference-steps", "steps"},
    {"num-inference-steps", "max-denoising-steps"},
    {"inference-steps", "steps"},
    {"inference-steps", "max-denoising-steps"},
    {"sampling-steps", "steps"},
    {"sample-steps", "steps"},
    {"ddim-steps", "steps"},
    {"ddim-steps", "max-denoising-steps"},
    {"denoising-steps", "steps"},
    {"denoising-steps", "max-denoising-steps"},
    {"num-images-per-prompt", "count"},
    {"images-per-prompt", "count"},
    {"num-images", "count"},
    {"n-samples", "count"},
    {"n-iter", "count"},
    {"batch-count", "count"},
    {"batch-size", "batch"},
    {"batch", "batch-size"},
    {"train-batch-size", "batch-size"},
    {"w", "width"},
    {"h", "height"},
    {"size", "width"},
    {"size", "resolution"},
    {"resolution", "width"},
    {"width", "resolution"},
    {"height", "resolution"},
    {"text", "prompt"},
    {"randn-source", "rng"},
    /* models, files, the machine */
    {"checkpoint", "model"},
    {"checkpoint", "name-or-path"},
    {"ckpt", "model"},
    {"ckpt", "name-or-path"},
    {"base-model", "model"},
    {"base-model", "name-or-path"},
    {"model", "name-or-path"},
    {"pretrained-model-name-or-path", "model"},
    {"pretrained-model-name-or-path", "name-or-path"},
    {"lora-weight", "lora"},
    {"lora-weights", "lora"},
    {"lora-scale", "lora"},
    {"lora-path", "lora"},
    {"network-weights", "lora"},
    {"adapter", "lora"},
    {"out", "output"},
    {"outfile", "output"},
    {"output", "out"},
    {"output", "path"},
    {"output-dir", "output"},
    {"output-dir", "path"},
    {"outdir", "output"},
    {"outdir", "path"},
    {"output-name", "name"},
    {"input", "in"},
    {"num-threads", "threads"},
    {"dtype", "precision"},
    {"mixed-precision", "precision"},
    {"save-precision", "precision"},
    {"v-parameterization", "v-pred"},
    /* samplers: A1111's labels, ComfyUI's and k-diffusion's names */
    {"euler a", "euler-a"},
    {"euler-ancestral", "euler-a"},
    {"k-euler-a", "euler-a"},
    {"dpm++", "dpmpp-2m"},
    {"dpm++ 2m", "dpmpp-2m"},
    {"dpm++-2m", "dpmpp-2m"},
    {"dpm++ 2m karras", "dpmpp-2m"},
    {"dpmsolver++", "dpmpp-2m"},
    {"dpm++ 2m sde", "dpmpp-2m-sde"},
    {"dpm++-2m-sde", "dpmpp-2m-sde"},
    {"dpm++ 2m sde karras", "dpmpp-2m-sde"},
    {"sde-dpmsolver++", "dpmpp-2m-sde"},
    {"unipc-bh2", "uni-pc"},
    /* training */
    {"timestep-spacing", "spacing"},
    {"spacing", "timestep-spacing"},
    {"karras", "karras-sigmas"},
    {"use-karras-sigmas", "karras-sigmas"},
    {"use-karras-sigmas", "karras"},
    {"karras-sigmas", "karras"},
    {"learning-rate", "lr"},
    {"unet-lr", "lr"},
    {"steps", "iterations"},
    {"max-steps", "iterations"},
    {"train-steps", "iterations"},
    {"num-train-steps", "iterations"},
    {"max-train-steps", "iterations"},
    {"epochs", "iterations"},
    {"num-epochs", "iterations"},
    {"num-train-epochs", "iterations"},
    {"max-train-epochs", "iterations"},
    {"optimizer-type", "optimizer"},
    {"lr-scheduler-type", "lr-scheduler"},
    {"warmup-steps", "lr-warmup-steps"},
    {"num-warmup-steps", "lr-warmup-steps"},
    {"lr-power", "lr-scheduler-power"},
    {"grad-accum", "gradient-accumulation-steps"},
    {"grad-accum-steps", "gradient-accumulation-steps"},
    {"accumulation-steps", "gradient-accumulation-steps"},
    {"prompts-per-step", "gradient-accumulation-steps"},
    {"gradient-clipping", "max-grad-norm"},
    {"clip-grad-norm", "max-grad-norm"},
    {"use-ema", "ema-decay"},
    {"loss-type", "loss"},
    {"loss-fn", "loss"},
    {"huber-delta", "huber-c"},
    {"dim", "rank"},
    {"network-dim", "rank"},
    {"linear", "rank"},
    {"linear-alpha", "alpha"},
    {"network-type", "kind"},
    {"snr-gamma", "min-snr-gamma"},
    {"train-snr-gamma", "min-snr-gamma"},
    {"network-rank", "rank"},
    {"lora-dim", "rank"},
    {"lora-rank", "rank"},
    {"r", "rank"},
    {"network-alpha", "alpha"},
    {"conv-rank", "conv-dim"},
    {"network-reg-dims", "ranks"},
    {"network-weights", "start-from"},
    {"network-dropout", "dropout"},
    {"target-name", "include"},
    {"target-module", "include"},
    {"include-patterns", "include"},
    {"only-if-contains", "include"},
    {"exclude-name", "exclude"},
    {"exclude-patterns", "exclude"},
    {"ignore-if-contains", "exclude"},
    {"lora-alpha", "alpha"},
    {"network-module", "type"},
    {"train-method", "training-method"},
    {"target-modules", "training-method"},
    {"prompt", "target"},
    {"prompt", "prompts"},
    {"concept", "target"},
    {"save-every", "per-steps"},
    {"save-steps", "per-steps"},
    {"save-every-n-steps", "per-steps"},
    {"checkpointing-steps", "per-steps"},
    /* commands */
    {"draw", "generate"},
    {"sample", "generate"},
    {"txt2img", "generate"},
    {"info", "inspect"},
    {"benchmark", "bench"},
};

/* In small letters and with '-'; false where the word is too long. Not tolower: a letter's case must not depend on the
 * locale. */
static bool fold(const char *word, char out[LONGEST + 1])
{
    size_t length = strlen(word);
    if (length > LONGEST) return false;
    for (size_t i = 0; i <= length; i++) {
        char c = word[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c == '_' ? '-' : c);
    }
    return true;
}

static bool fold_key(const char *known, char out[LONGEST + 1])
{
    const char *dot = strrchr(known, '.');
    return fold(dot ? dot + 1 : known, out);
}

/* Levenshtein's distance, with a swap of neighbors as one edit. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][LONGEST + 1];
    size_t m = strlen(a), n = strlen(b);
    for (size_t j = 0; j <= n; j++) rows[0][j] = j;
    for (size_t i = 1; i <= m; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i - 1) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[m % 3][n];
}

static const char *by_synonym(const char *folded, const char *const *known, size_t count)
{
    char key[LONGEST + 1];
    for (size_t s = 0; s < sizeof synonyms / sizeof *synonyms; s++) {
        if (strcmp(folded, synonyms[s][0]) != 0) continue;
        for (size_t i = 0; i < count; i++)
            if (fold_key(known[i], key) && strcmp(key, synonyms[s][1]) == 0) return known[i];
    }
    return NULL;
}

const char *suggest(const char *word, const char *const *known, size_t count)
{
    char folded[LONGEST + 1], key[LONGEST + 1];
    if (!fold(word, folded)) return NULL;
    const size_t length = strlen(folded);
    const char *nearest = NULL;
    size_t least = (length < 3 ? 1 : length / 3) + 1;
    for (size_t i = 0; i < count; i++) {
        if (!fold_key(known[i], key)) continue;
        size_t distance = edit_distance(folded, key);
        bool begins = length >= 3 && strncmp(folded, key, length) == 0; /* guidance for guidance-scale */
        if (begins && distance > 1) distance = 1;
        if (distance < least) {
            nearest = known[i];
            least = distance;
        }
    }
    const char *synonym = least > 0 ? by_synonym(folded, known, count) : NULL;
    return synonym ? synonym : nearest;
}

bool suggest_misspelt(const char *word, const char *known)
{
    char one[LONGEST + 1], other[LONGEST + 1];
    if (!fold(word, one) || !fold(known, other)) return false;
    return edit_distance(one, other) <= (strlen(other) < 10 ? 1 : 2);
}
