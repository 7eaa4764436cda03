#include "format/torch_globals.h"

#define STORAGE_GLOBAL(i, name)                                                                                        \
    {                                                                                                                  \
        "torch", name, STORAGES + i                                                                                    \
    }
#define TYPE_GLOBAL(i, name)                                                                                           \
    {                                                                                                                  \
        "torch", name, 2 * STORAGES + i                                                                                \
    }

const char *const torch_types[] = {"F32", "F16", "BF16", "F64",     "I64",     "I32", "I16",
                                   "I8",  "U8",  "BOOL", "F8_E4M3", "F8_E5M2", "C64"};

const pickle_global torch_globals[] = {
    {"collections", "OrderedDict", DICT},
    {"collections", "defaultdict", DICT},
    {"torch.nn.modules.container", "ParameterDict", DICT},
    {"torch._utils", "_rebuild_tensor", TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", TENSOR_OF_TYPE},
    {"torch._utils", "_rebuild_parameter", PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", PARAMETER},
    {"torch._tensor", "_rebuild_from_type_v2", TYPED},
    STORAGE_GLOBAL(0, "FloatStorage"),
    STORAGE_GLOBAL(1, "HalfStorage"),
    STORAGE_GLOBAL(2, "BFloat16Storage"),
    STORAGE_GLOBAL(3, "DoubleStorage"),
    STORAGE_GLOBAL(4, "LongStorage"),
    STORAGE_GLOBAL(5, "IntStorage"),
    STORAGE_GLOBAL(6, "ShortStorage"),
    STORAGE_GLOBAL(7, "CharStorage"),
    STORAGE_GLOBAL(8, "ByteStorage"),
    STORAGE_GLOBAL(9, "BoolStorage"),
    STORAGE_GLOBAL(12, "ComplexFloatStorage"),
    STORAGE_GLOBAL(UNTYPED, "UntypedStorage"),
    {"torch.storage", "UntypedStorage", STORAGES + UNTYPED},
    TYPE_GLOBAL(0, "float32"),
    TYPE_GLOBAL(1, "float16"),
    TYPE_GLOBAL(2, "bfloat16"),
    TYPE_GLOBAL(3, "float64"),
    TYPE_GLOBAL(4, "int64"),
    TYPE_GLOBAL(5, "int32"),
    TYPE_GLOBAL(6, "int16"),
    TYPE_GLOBAL(7, "int8"),
    TYPE_GLOBAL(8, "uint8"),
    TYPE_GLOBAL(9, "bool"),
    TYPE_GLOBAL(10, "float8_e4m3fn"),
    TYPE_GLOBAL(11, "float8_e5m2"),
    TYPE_GLOBAL(12, "complex64"),
    {"_codecs", "encode", BYTES_OF_TEXT},
    {"__builtin__", "bytes", BYTES_OF_TEXT}, /* of nothing: none */
    {"numpy", "dtype", NUMPY_TYPE},
    {"numpy.core.multiarray", "scalar", NUMPY_SCALAR},
    {"numpy.core.multiarray", "_reconstruct", NUMPY_ARRAY},
    {"numpy.core.numeric", "_frombuffer", NUMPY_BUFFER},
    {"numpy._core.multiarray", "scalar", NUMPY_SCALAR},
    {"numpy._core.multiarray", "_reconstruct", NUMPY_ARRAY},
    {"numpy._core.numeric", "_frombuffer", NUMPY_BUFFER},
    /* What checkpoints hold beside tensors. Called, they are nothing. */
    {"torch", "Size", PASSED_OVER},
    {"torch", "device", PASSED_OVER},
    {"torch", "Tensor", PASSED_OVER},
    {"torch.nn.parameter", "Parameter", PASSED_OVER},
    {"torch.serialization", "_get_layout", PASSED_OVER},
    {"collections", "Counter", PASSED_OVER},
    {"__builtin__", "set", PASSED_OVER},
    {"builtins", "set", PASSED_OVER},
    {"numpy", "ndarray", PASSED_OVER},
    {"pytorch_lightning.callbacks", "model_checkpoint", PASSED_OVER},
    {"pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", PASSED_OVER},
    {"pytorch_lightning.utilities.enums", NULL, PASSED_OVER},
    {"argparse", "Namespace", PASSED_OVER},
    {NULL, NULL, 0},
};
