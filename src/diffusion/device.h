/* Where and in what precision models run. */
#ifndef LECO_DIFFUSION_DEVICE_H
#define LECO_DIFFUSION_DEVICE_H

#include "backend/session.h"

typedef struct device {
    const backend *backend;
    dtype compute;        /* of activations and frozen weights; float32 for a VAE where it is float16 (runner.c) */
    workspace *workspace; /* shared by all sessions on it: they never run at the same time */
} device;

/* name: of a backend, NULL: backend_default; precision: "float32", "bfloat16", "float16" (NVIDIA cards), "float64" (ref
 * only), or NULL: what the backend prefers. Anything else is LECO_INVALID, a precision that the backend or processor
 * can't run LECO_UNSUPPORTED. */
leco_status device_open(const char *name, const char *precision, device *out, leco_error *err);
void device_close(device *d); /* safe on a zeroed one */

/* The dtype of a precision's name, as device_open takes it and p1atdev writes it ("fp32", "bf16", ...). */
leco_status device_precision(const char *name, dtype *out, leco_error *err);

struct model;
/* Has the model's matrices kept as int8 (model.narrow), which kernels of the CPU can. To be called before anything is
 * planned over them. Another device is LECO_UNSUPPORTED. */
leco_status device_narrow(const device *d, struct model *m, leco_error *err);

#endif
