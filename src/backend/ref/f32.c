/* The reference kernels in float. */
typedef float real;
#define KERNELS ref_kernels_f32
#include "backend/ref/kernels.inc"
