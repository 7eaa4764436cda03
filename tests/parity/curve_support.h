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

/* The adapter becomes the fixture's "init.*". */
void curve_load_initial(const safetensors *file, trainable *l);

typedef struct curve_deviation {
    double loss;          /* the worst of the losses */
    double change, whole; /* of the worst tensor's change, and of all tensors' as one vector */
} curve_deviation;

/* Compares the adapter with "final.*": all but loss. */
void curve_measure_change(const safetensors *file, trainable *l, curve_deviation *d);

#endif
