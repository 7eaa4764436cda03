/* What tests of training against fixtures share. */
#ifndef CURVE_SUPPORT_H
#define CURVE_SUPPORT_H

#include "parity_support.h"
#include "train/trainer.h"

/* These fail the test where the file has no such tensor. */
const safetensors_entry *curve_need(const safetensors *file, const char *name);
double curve_number(const safetensors *file, const char *name);

/* The folder of a fixture's model, with a VAE. In static storage. */
const char *curve_model(const char *fixture);

/* A trainer of a config in a file, whose adapter is the fixture's "init.*". */
typedef struct curve_run {
    train_config config;
    trainer *trainer;
} curve_run;
void curve_begin(curve_run *r, const safetensors *file, const char *config, const char *device_name);
void curve_end(curve_run *r);

/* Our [views, B,h,w,C] against "step<step>.<what>" [views, B,C,h,w]; what differs fails the test. */
void curve_compare(const safetensors *file, size_t step, const char *what, const float *ours, latent_size size,
                   size_t views);

typedef struct curve_deviation {
    double loss;          /* the worst of the losses */
    double change, whole; /* of the worst tensor's change, and of all tensors' as one vector */
} curve_deviation;

/* Compares the adapter with "final.*": all but loss. */
void curve_measure_change(const safetensors *file, trainable *l, curve_deviation *d);

/* The norm of the adapter's change since "init.*". */
double curve_moved(const safetensors *file, trainable *l);

/* Compares gradients with "grad.*": the worst tensor's error over its norm. These are `grads` [trainable_count] times
 * scale. */
double curve_measure_gradients(const safetensors *file, trainable *l, const float *grads, double scale);

#endif
