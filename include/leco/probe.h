/* The probe of leco's embedded models: a small classifier that says what a picture of models/shapes shows. It measures
 * what an adapter did; programs that only change models have no use for it. */
#ifndef LECO_PROBE_H
#define LECO_PROBE_H

#include "leco/leco.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a probe (models/shapes-probe) sees in pictures: for each picture and attribute one label. labels[i * attributes
 * + a] and attribute names are owned by the result. */
typedef struct leco_probe_result {
    size_t image_count, attribute_count;
    const char **attribute; /* [attribute_count] */
    const char **label;     /* [image_count * attribute_count] */
    void *owner;
} leco_probe_result;
LECO_API leco_status leco_probe(const char *probe_folder, const leco_image *images, size_t count,
                                leco_probe_result *result, leco_error *err);
LECO_API void leco_probe_result_free(leco_probe_result *result);

#ifdef __cplusplus
}
#endif
#endif
