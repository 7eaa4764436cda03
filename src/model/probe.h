/* The probe: a small convolutional classifier that says what a picture of models/shapes shows.
 *
 * Its folder has config.json (layers; heads with their labels) and model.safetensors. */
#ifndef LECO_MODEL_PROBE_H
#define LECO_MODEL_PROBE_H

#include "model/module.h"

#define PROBE_MAX_HEADS 16

typedef struct probe_config probe_config;

leco_status probe_config_read(const char *folder, probe_config **out, leco_error *err);
void probe_config_free(probe_config *config); /* NULL is fine */

int64_t probe_picture_size(const probe_config *config); /* pixels a side */
int64_t probe_head_count(const probe_config *config);
const char *probe_head_name(const probe_config *config, int64_t head); /* "color" */
int64_t probe_label_count(const probe_config *config, int64_t head);
const char *probe_label(const probe_config *config, int64_t head, int64_t index); /* "red" */

typedef struct probe {
    tensor *sample;                  /* input [B,H,W,3] A in [-1,1] */
    tensor *logits[PROBE_MAX_HEADS]; /* results [B,labels] A */
} probe;

probe probe_build(nn *c, const probe_config *config, int64_t batch);

#endif
