#include "diffusion/device.h"

#include "base/cpu.h"
#include "base/log.h"

leco_status device_precision(const char *name, dtype *out, leco_error *err)
{
    dtype type;
    if (!dtype_find(name, &type) || !dtype_is_float(type))
        return error_set(err, LECO_INVALID, "precision \"%s\" is not known; there are float32, bfloat16 and float16",
                         name);
    *out = type;
    return LECO_OK;
}

leco_status device_open(const char *name, const char *precision, device *out, leco_error *err)
{
    device d = {0};
    d.backend = name ? backend_find(name) : backend_default();
    if (!d.backend)
        return error_set(err, LECO_INVALID, "device \"%s\" is not known; there are %s", name, backend_names());
    leco_status status = backend_open(d.backend, err);
    if (status != LECO_OK) return error_prefix(err, status, "device \"%s\"", name);
    d.compute = d.backend->preferred_dtype();
    if (precision) LECO_TRY(device_precision(precision, &d.compute, err));
    if (!d.backend->supports(d.compute))
        return error_set(err, LECO_UNSUPPORTED, "device \"%s\" can't compute in %s on this machine", d.backend->name,
                         dtype_name(d.compute));
    d.workspace = workspace_create(d.backend->memory);
    if (!d.workspace) return error_memory(err, 0, "a workspace");
    log_message(LOG_DEBUG, "device %s: %s, %d threads", d.backend->name, dtype_name(d.compute), cpu_threads());
    *out = d;
    return LECO_OK;
}

void device_close(device *d)
{
    workspace_destroy(d->workspace);
    *d = (device){0};
}
