/* Schedule-free AdamW: what is trained is y, what is given is the average x. In step n, with b2's correction
 * k = 1 - b2^n, rate r = lr (times n / warmup_steps, as long as that is less), and the weight w = n^r0 (largest rate so
 * far)^weight_lr_power of which c is the share in all so far:
 *
 *     v = b2 v + (1 - b2) g^2;  u = g / (sqrt(v / k) + eps) + wd y
 *     y += c (z - y) - r (1 - b1 (1 - c)) u;  z -= r u
 *     x = (y - (1 - b1) z) / b1
 *
 * Source: Defazio et al., "The road less scheduled" (2024), in the form that AdamWScheduleFree of the package
 * schedulefree 1.4 has. */
#include <math.h>

#include "train/optimizer.h"

enum { BETAS, EPS, WEIGHT_DECAY, WARMUP_STEPS, POWER, RATE_POWER };
enum { WEIGHTS, LARGEST_RATE, NUMBERS };

#define LEAST_EPS 1e-37

static leco_status check(const optimizer_options *o, leco_error *err)
{
    if (o->value[BETAS][0] == 0) return error_set(err, LECO_INVALID, "betas: the first must be above 0");
    return LECO_OK;
}

/* z of all values, then v. */
static size_t state_floats(const optimizer_options *options, const flat_params *on)
{
    (void)options;
    return 2 * on->count;
}

/* As torch has it: from the nearer end. */
static float between(float from, float to, double share)
{
    const float s = (float)share;
    return fabs(share) < 0.5 ? from + s * (to - from) : to - (to - from) * (1 - s);
}

/* torch computes scalars in double and rounds them once, when they meet f32 tensors; so do these. */
static void step(const optimizer_update *u)
{
    const double(*argument)[2] = u->options->value;
    const double b1 = argument[BETAS][0], b2 = argument[BETAS][1], n = (double)u->step;
    const double rate = u->lr * (n <= argument[WARMUP_STEPS][0] ? n / argument[WARMUP_STEPS][0] : 1);
    const double largest = u->step == 1 ? rate : fmax(rate, u->numbers[LARGEST_RATE]);
    const double counts = pow(n, argument[POWER][0]) * pow(largest, argument[RATE_POWER][0]);
    u->numbers[LARGEST_RATE] = largest;
    u->numbers[WEIGHTS] += counts;
    const double share = u->numbers[WEIGHTS] > 0 ? counts / u->numbers[WEIGHTS] : 0;

    const float beta2 = (float)b2, rest2 = (float)(1 - b2), correction = (float)(1 - pow(b2, n));
    const float eps = (float)argument[EPS][0], decay = (float)argument[WEIGHT_DECAY][0];
    const float along_y = (float)(rate * (b1 * (1 - share) - 1)), along_z = (float)rate;
    float *y = u->on.values, *z = u->state, *v = z + u->on.count;
    for (size_t i = 0; i < u->on.count; i++) {
        float g = u->grads[i] * u->scale;
        if (u->step == 1) z[i] = y[i];
        v[i] = beta2 * v[i] + rest2 * g * g;
        g = g / (sqrtf(v[i] / correction) + eps) + decay * y[i];
        y[i] = between(y[i], z[i], share) + along_y * g;
        z[i] -= along_z * g;
    }
}

static void average(const optimizer_options *options, const flat_params *on, const float *state, float *out)
{
    const double share = 1 - 1 / options->value[BETAS][0];
    for (size_t i = 0; i < on->count; i++) out[i] = between(on->values[i], state[i], share);
}

const optimizer_row optimizer_adamw_schedule_free = {
    .name = "adamwschedulefree",
    .argument = {[BETAS] = {"betas", ARGUMENT_PAIR, {0.9, 0.999}, 0, 1},
                 [EPS] = {"eps", ARGUMENT_NUMBER, {1e-8}, LEAST_EPS, 1},
                 [WEIGHT_DECAY] = {"weight_decay", ARGUMENT_NUMBER, {0}, 0, 10},
                 [WARMUP_STEPS] = {"warmup_steps", ARGUMENT_NUMBER, {0}, 0, 1e9},
                 [POWER] = {"r", ARGUMENT_NUMBER, {0}, 0, 100},
                 [RATE_POWER] = {"weight_lr_power", ARGUMENT_NUMBER, {2}, 0, 100}},
    .check = check,
    .state_floats = state_floats,
    .numbers = NUMBERS,
    .step = step,
    .average = average};
