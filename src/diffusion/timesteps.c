#include "diffusion/timesteps.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const char *const names[] = {
    [SPACING_LEADING] = "leading", [SPACING_LINSPACE] = "linspace", [SPACING_TRAILING] = "trailing"};

const char *spacing_name(timestep_spacing spacing)
{
    return names[spacing];
}

leco_status spacing_parse(const char *name, timestep_spacing *out, leco_error *err)
{
    for (size_t i = SPACING_LEADING; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (timestep_spacing)i;
        return LECO_OK;
    }
    return error_set(err, LECO_INVALID,
                     "spacing \"%s\" is not known; there are \"leading\", \"linspace\" and \"trailing\"", name);
}

/* ---- timesteps ---- */

/* numpy.arange(T, 0, -T / steps), of which there may be one too many by rounding: diffusers visits timestep -1 then. */
static double trailing_at(int64_t all, int64_t steps, int64_t i)
{
    const double first = (double)all, second = first - first / (double)steps;
    return rint(first + (double)i * (second - first)) - 1;
}

/* numpy.linspace(0, all - 1, count)[i]: a single one is 0. */
static double linspace_at(int64_t all, int64_t count, int64_t i)
{
    if (count == 1) return 0;
    return i + 1 == count ? (double)(all - 1) : (double)i * ((double)(all - 1) / (double)(count - 1));
}

leco_status schedule_timesteps(const noise_schedule *s, timestep_spacing spacing, timestep_grid grid, int64_t steps,
                               double *timestep, leco_error *err)
{
    const int64_t all = s->train_timesteps, count = grid == GRID_OPEN ? steps + 1 : steps;
    for (int64_t i = 0; i < steps; i++) {
        const int64_t above = count - 1 - i; /* of the last one, on the grid */
        if (spacing == SPACING_TRAILING)
            timestep[i] = trailing_at(all, steps, i);
        else if (spacing == SPACING_LINSPACE && grid == GRID_BETWEEN)
            timestep[i] = (double)(float)linspace_at(all, count, above);
        else if (spacing == SPACING_LINSPACE)
            timestep[i] = rint(linspace_at(all, count, above));
        else
            timestep[i] = (double)(above * (all / count) + s->steps_offset);
    }
    if (timestep[0] > (double)(all - 1))
        return error_set(err, LECO_INVALID,
                         "%lld denoising steps with a steps_offset of %lld pass the noise schedule's end",
                         (long long)steps, (long long)s->steps_offset);
    for (int64_t i = 1; i < steps; i++)
        if (timestep[i] >= timestep[i - 1])
            return error_set(err, LECO_INVALID,
                             "%lld denoising steps with \"%s\" spacing visit timestep %g twice: this scheduler takes "
                             "fewer",
                             (long long)steps, spacing_name(spacing), timestep[i]);
    return LECO_OK;
}

/* ---- sigmas ---- */

static float sigma_at(const noise_schedule *s, int64_t timestep)
{
    const float a = s->alpha_bar[timestep] > 0 ? s->alpha_bar[timestep] : 0x1p-24f;
    return sqrtf((1.0f - a) / a);
}

float schedule_sigma(const noise_schedule *s, double timestep)
{
    const int64_t below = (int64_t)timestep;
    const double part = timestep - (double)below, low = (double)sigma_at(s, below);
    if (part == 0) return (float)low;
    return (float)(low + part * ((double)sigma_at(s, below + 1) - low));
}

double schedule_timestep_of(const noise_schedule *s, double sigma)
{
    const double wanted = log(fmax(sigma, 1e-10));
    int64_t low = 0, high = s->train_timesteps - 1; /* what is sought lies from low to high, if anywhere */
    if (high == 0) return 0;
    while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        *((double)logf(sigma_at(s, middle)) <= wanted ? &low : &high) = middle;
    }
    const double from = (double)logf(sigma_at(s, low)), to = (double)logf(sigma_at(s, high));
    const double part = fmin(fmax((from - wanted) / (from - to), 0), 1);
    return (1 - part) * (double)low + part * (double)high;
}

void schedule_karras(const noise_schedule *s, double first, double last, int64_t steps, float *sigma, double *timestep)
{
    const double rho = 7;
    const double from = pow((double)schedule_sigma(s, first), 1 / rho),
                 to = pow((double)schedule_sigma(s, last), 1 / rho);
    for (int64_t i = 0; i < steps; i++) {
        const double along = steps > 1 ? (double)i / (double)(steps - 1) : 0;
        const double exact = pow(from + along * (to - from), rho);
        sigma[i] = (float)exact;
        timestep[i] = schedule_timestep_of(s, exact);
    }
}
