/* The reference kernels in double, for gradient checks. */
typedef double real;
#define KERNELS ref_kernels_f64
#include "backend/ref/kernels.inc"
