/* A cuBLASLt that starts where STAND_IN_CUBLASLT is its version (13, 12, 11, any), or isn't set, and that nobody
 * multiplies with. */
#include <stdlib.h>
#include <string.h>

#define VERSION_TEXT_OF(number) #number
#define VERSION_TEXT(number) VERSION_TEXT_OF(number)

int cublasLtCreate(const void **out);

int cublasLtCreate(const void **out)
{
    const char *starts = getenv("STAND_IN_CUBLASLT");
    *out = VERSION_TEXT(VERSION);
    return starts == NULL || strcmp(starts, VERSION_TEXT(VERSION)) == 0 ? 0 : 1;
}

#define NEVER_CALLED(name)                                                                                             \
    int name(void);                                                                                                    \
    int name(void)                                                                                                     \
    {                                                                                                                  \
        abort();                                                                                                       \
    }
NEVER_CALLED(cublasLtMatmul)
NEVER_CALLED(cublasLtMatmulDescCreate)
NEVER_CALLED(cublasLtMatmulDescDestroy)
NEVER_CALLED(cublasLtMatmulDescSetAttribute)
NEVER_CALLED(cublasLtMatrixLayoutCreate)
NEVER_CALLED(cublasLtMatrixLayoutDestroy)
NEVER_CALLED(cublasLtMatmulPreferenceCreate)
NEVER_CALLED(cublasLtMatmulPreferenceDestroy)
NEVER_CALLED(cublasLtMatmulPreferenceSetAttribute)
NEVER_CALLED(cublasLtMatmulAlgoGetHeuristic)
