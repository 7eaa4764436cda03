/* The samplers there are. A new one: its file, its line in sampler.h and its place here. */
#include <stdio.h>
#include <string.h>

#include "diffusion/sampler.h"

static const sampler *const samplers[] = {&sampler_ddim,         &sampler_ddpm,    &sampler_lms,
                                          &sampler_euler,        &sampler_euler_a, &sampler_dpmpp_2m,
                                          &sampler_dpmpp_2m_sde, &sampler_heun,    &sampler_uni_pc};
#define SAMPLERS (sizeof samplers / sizeof *samplers)

const sampler *sampler_at(size_t index)
{
    return index < SAMPLERS ? samplers[index] : NULL;
}

const char *sampling_label(const sampling *asked, char text[SAMPLING_LABEL])
{
    snprintf(text, SAMPLING_LABEL, "%s%s", asked->sampler->label, asked->karras ? " Karras" : "");
    return text;
}

leco_status sampler_parse(const char *name, const sampler **out, leco_error *err)
{
    for (size_t i = 0; i < SAMPLERS; i++) {
        if (strcmp(samplers[i]->name, name) != 0) continue;
        *out = samplers[i];
        return LECO_OK;
    }
    char known[256] = "";
    for (size_t i = 0; i < SAMPLERS; i++) {
        const char *join = i == 0 ? "" : i + 1 < SAMPLERS ? ", " : " and ";
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s\"%s\"", join, samplers[i]->name);
    }
    return error_set(err, LECO_INVALID, "scheduler \"%s\" is not known; there %s %s", name,
                     SAMPLERS == 1 ? "is" : "are", known);
}
