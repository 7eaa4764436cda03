/* How long a training will take: what a denoising step and an optimizer step have cost so far, times how many of each
 * are to come. */
#ifndef LECO_TRAIN_PACE_H
#define LECO_TRAIN_PACE_H

#include <stdint.h>

/* Seconds spent on each sort of work, and how much of it was done. Zero-initialise. */
typedef struct pace {
    double denoising, learning;
    int64_t denoised, learnt;
    double watching; /* what is done beside the training, */
    double watched;  /* in samples of the U-Net */
} pace;

/* Seconds for so much more work; negative before anything was done. A sort that hasn't been done yet is taken to cost
 * what it does beside the other: an optimizer step holds about three times the arithmetic of a denoising step. */
double pace_seconds(const pace *p, double denoising_steps, double learning_steps);
/* For so many more samples beside the training; 0 before there were any. */
double pace_watching(const pace *p, double samples);

/* The mean of the largest of `count` distinct whole numbers from [low, high): how many steps a trajectory takes that
 * keeps so many of its latents. */
double pace_mean_largest(int64_t low, int64_t high, int64_t count);

#endif
