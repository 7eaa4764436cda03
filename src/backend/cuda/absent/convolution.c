/* convolution.h where cuDNN's headers weren't there to build with. */
#include "backend/cuda/convolution.h"

#include "base/log.h"

leco_status gpu_convolution_plan(gpu_convolution *c, leco_error *err)
{
    static bool said;
    (void)c;
    if (!said)
        log_message(LOG_WARNING, "leco was built without cuDNN; convolutions are done as products, which is slower");
    said = true;
    return error_set(err, LECO_UNSUPPORTED, "there is no cuDNN");
}

void gpu_convolution_run(const gpu_convolution *c, const void *x, const void *w, const void *bias, const void *add,
                         void *y, void *scratch)
{
    (void)c;
    (void)x;
    (void)w;
    (void)bias;
    (void)add;
    (void)y;
    (void)scratch;
    gpu_failed("cuDNN", "leco was built without it"); /* nothing is ever planned to come here */
}

void gpu_convolution_release(gpu_convolution *c)
{
    (void)c;
}
