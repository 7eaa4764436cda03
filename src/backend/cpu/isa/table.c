/* The kernels of this instruction set. */
#include "backend/cpu/isa/isa.h"

#define ROW(code, name) [OP_##code] = ISA(cpu_##name),

const kernel *const ISA(isa_kernels)[OP_COUNT] = {CPU_KERNELS(CPU_NOTHING, ROW)};
