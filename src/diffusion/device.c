#include "diffusion/device.h"

#include <stdio.h>

#include "base/cpu.h"
#include "base/log.h"
#include "model/model.h"

leco_status device_precision(const char *name, dtype *out, leco_error *err)
{
    dtype type;
    if (!dtype_find(name, &type) || !dtype_is_float(type))
        return error_set(err, LECO_INVALID, "precision \"%s\" is not known; there are float32, bfloat16 and float16",
                         name);
    *out = type;
    return LECO_OK;
}

/* "float32, bfloat16" */
static void list_precisions(const backend *b, char *out, size_t size)
{
    static const dtype types[] = {DTYPE_F64, DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof types / sizeof *types && used < size; i++)
        if (b->supports(types[i]))
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", dtype_name(types[i]));
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
    if (!d.backend->supports(d.compute)) {
        char others[64];
        list_precisions(d.backend, others, sizeof others);
        return error_set(err, LECO_UNSUPPORTED, "device \"%s\" can't compute in %s on this machine; it has %s",
                         d.backend->name, dtype_name(d.compute), others);
    }
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

leco_status device_narrow(const device *d, struct model *m, leco_error *err)
{
    if (!memory_is_host(d->backend->memory))
        return error_set(err, LECO_UNSUPPORTED, "weights are kept as int8 by --device cpu only, not by %s",
                         d->backend->name);
    m->narrow = true;
    for (int part = 0; part < PART_COUNT; part++)
        if (m->weights[part] && part != PART_VAE) weights_narrow(m->weights[part]);
    return LECO_OK;
}
