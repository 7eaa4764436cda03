#include "diffusion/schedule.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

/* torch.linspace in f32: from both ends towards the middle, one rounding an element (its vectorised path is fused). */
static float linspace(float start, float end, int64_t count, int64_t i)
{
    if (count == 1) return start;
    float step = (end - start) / (float)(count - 1);
    if (i < count / 2) return fmaf(step, (float)i, start);
    return fmaf(-step, (float)(count - 1 - i), end);
}

static float beta_at(const schedule_config *config, int64_t i)
{
    if (config->beta == BETA_LINEAR)
        return linspace((float)config->beta_start, (float)config->beta_end, config->train_timesteps, i);
    float root = linspace((float)sqrt(config->beta_start), (float)sqrt(config->beta_end), config->train_timesteps, i);
    return root * root;
}

/* torch.cumprod, which accumulates f32 in double on the CPU. */
static void multiply_up(float *alpha, size_t count)
{
    double product = 1.0;
    for (size_t i = 0; i < count; i++) {
        product *= (double)alpha[i];
        alpha[i] = (float)product;
    }
}

/* Alphas to those of zero terminal SNR, by way of alpha-bar and betas: each step of diffusers rounds to f32. */
static void rescale(float *alpha, size_t count)
{
    multiply_up(alpha, count);
    const float first = sqrtf(alpha[0]), last = sqrtf(alpha[count - 1]), factor = first / (first - last);
    float before = 1.0f;
    for (size_t i = 0; i < count; i++) {
        const float root = (sqrtf(alpha[i]) - last) * factor, bar = root * root;
        const float beta = 1.0f - (i == 0 ? bar : bar / before);
        before = bar;
        alpha[i] = 1.0f - beta;
    }
}

static leco_status check(const schedule_config *config, leco_error *err)
{
    if (config->train_timesteps < 1 || config->train_timesteps > SCHEDULE_MAX_TIMESTEPS)
        return error_set(err, LECO_INVALID, "noise schedule: num_train_timesteps is %lld, expected 1 to %d",
                         (long long)config->train_timesteps, SCHEDULE_MAX_TIMESTEPS);
    if (!(config->beta_start > 0 && config->beta_start < 1 && config->beta_end > 0 && config->beta_end < 1))
        return error_set(err, LECO_INVALID, "noise schedule: beta_start %g and beta_end %g must lie between 0 and 1",
                         config->beta_start, config->beta_end);
    if (config->zero_terminal_snr && config->prediction == PREDICT_EPSILON)
        return error_set(
            err, LECO_INVALID,
            "noise schedule: rescale_betas_zero_snr leaves nothing but noise at the last timestep, of which "
            "a model that predicts epsilon can say nothing; it needs prediction_type \"v_prediction\"");
    if (config->steps_offset < 0 || config->steps_offset >= config->train_timesteps)
        return error_set(err, LECO_INVALID, "noise schedule: steps_offset is %lld, expected 0 to %lld",
                         (long long)config->steps_offset, (long long)config->train_timesteps - 1);
    return LECO_OK;
}

leco_status noise_schedule_create(const schedule_config *config, noise_schedule **out, leco_error *err)
{
    LECO_TRY(check(config, err));
    size_t count = (size_t)config->train_timesteps;
    size_t bytes = sizeof(noise_schedule) + count * sizeof(float);
    noise_schedule *s = mem_calloc(1, bytes);
    if (!s) return error_memory(err, bytes, "the noise schedule");
    s->train_timesteps = config->train_timesteps;
    s->prediction = config->prediction;
    s->steps_offset = config->steps_offset;
    for (size_t i = 0; i < count; i++) s->alpha_bar[i] = 1.0f - beta_at(config, (int64_t)i);
    if (config->zero_terminal_snr) rescale(s->alpha_bar, count);
    multiply_up(s->alpha_bar, count);
    if (!isfinite(s->alpha_bar[count - 1])) { /* the first timestep is the last, or as noisy */
        mem_free(s);
        return error_set(err, LECO_INVALID,
                         "noise schedule: rescale_betas_zero_snr needs betas that add noise from one timestep to the "
                         "next");
    }
    s->final_alpha_bar = config->set_alpha_to_one ? 1.0f : s->alpha_bar[0];
    *out = s;
    return LECO_OK;
}

/* ---- other models' schedules and predictions ---- */

double schedule_alpha_bar(const noise_schedule *s, double timestep)
{
    const double last = (double)(s->train_timesteps - 1);
    if (timestep <= 0) return (double)s->alpha_bar[0];
    if (timestep >= last) return (double)s->alpha_bar[s->train_timesteps - 1];
    const int64_t below = (int64_t)timestep;
    const double part = timestep - (double)below;
    return (1 - part) * (double)s->alpha_bar[below] + part * (double)s->alpha_bar[below + 1];
}

double schedule_same_noise(const noise_schedule *from, const noise_schedule *to, double timestep)
{
    const size_t count = (size_t)to->train_timesteps;
    if (from == to || (from->train_timesteps == to->train_timesteps &&
                       memcmp(from->alpha_bar, to->alpha_bar, count * sizeof(float)) == 0))
        return timestep;
    const double wanted = schedule_alpha_bar(from, timestep);
    if (wanted >= (double)to->alpha_bar[0]) return 0;
    if (wanted <= (double)to->alpha_bar[count - 1]) return (double)(count - 1);
    size_t low = 0, high = count - 1; /* alpha_bar[low] > wanted >= alpha_bar[high] */
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        *((double)to->alpha_bar[middle] > wanted ? &low : &high) = middle;
    }
    const double above = (double)to->alpha_bar[low], below = (double)to->alpha_bar[high];
    return (double)low + (above - wanted) / (above - below);
}

void prediction_convert(prediction from, prediction to, double alpha_bar, const float *x, float *output, size_t count)
{
    if (from == to) return;
    const float signal = (float)sqrt(alpha_bar), noise = (float)sqrt(1 - alpha_bar);
    for (size_t i = 0; i < count; i++)
        output[i] = to == PREDICT_V ? (output[i] - noise * x[i]) / signal : signal * output[i] + noise * x[i];
}
