#include "diffusion/loss_scale.h"

#include <math.h>

#include "base/log.h"

loss_scale loss_scale_start(void)
{
    return (loss_scale){.exponent = LOSS_SCALE_FIRST};
}

bool loss_scale_valid(const loss_scale *s)
{
    return s->exponent >= 0 && s->exponent <= LOSS_SCALE_MOST && s->good >= 0 && s->good < LOSS_SCALE_PATIENCE;
}

float loss_scale_factor(const loss_scale *s)
{
    return ldexpf(1, s->exponent);
}

bool loss_scale_shrink(loss_scale *s)
{
    if (s->exponent == 0) return false;
    *s = (loss_scale){.exponent = s->exponent - 1};
    log_message(LOG_DEBUG, "a gradient is not finite in float16: the loss is scaled by %g from now on",
                (double)loss_scale_factor(s));
    return true;
}

void loss_scale_passed(loss_scale *s)
{
    if (++s->good < LOSS_SCALE_PATIENCE) return;
    s->good = 0;
    if (s->exponent < LOSS_SCALE_MOST) s->exponent++;
}
