#include "train/pace.h"

#define LEARNING_TO_DENOISING 3.0

double pace_seconds(const pace *p, double denoising_steps, double learning_steps)
{
    if (p->denoised == 0 && p->learnt == 0) return -1;
    double denoising = p->denoised > 0 ? p->denoising / (double)p->denoised : 0;
    double learning = p->learnt > 0 ? p->learning / (double)p->learnt : LEARNING_TO_DENOISING * denoising;
    if (p->denoised == 0) denoising = learning / LEARNING_TO_DENOISING;
    return denoising_steps * denoising + learning_steps * learning;
}

double pace_mean_largest(int64_t low, int64_t high, int64_t count)
{
    return (double)low + (double)count * (double)(high - low + 1) / (double)(count + 1) - 1;
}

double pace_watching(const pace *p, double samples)
{
    return p->watched > 0 ? p->watching / p->watched * samples : 0;
}
