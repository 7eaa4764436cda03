#include "format/file_kind.h"

#include <string.h>

#include "base/utf8.h"

static bool begins(const unsigned char *data, size_t size, const char *magic, size_t length)
{
    return size >= length && memcmp(data, magic, length) == 0;
}

/* PyTorch's archives begin with NAME/data.pkl: the name stands 30 bytes from the beginning, its length at 26. */
static bool is_torch_zip(const unsigned char *data, size_t size)
{
    static const char name[] = "/data.pkl";
    const size_t at = 30, length = sizeof name - 1;
    if (size < at) return false;
    size_t named = data[26] | (size_t)data[27] << 8;
    return named > length && named <= size - at && memcmp(data + at + named - length, name, length) == 0;
}

/* A safetensors file may begin as a pickle does, with a header of 640 bytes: its length is 80 02 00 00 00 00 00 00. */
static bool is_safetensors(const unsigned char *data, size_t size)
{
    return size > 8 && data[8] == '{' && memcmp(data + 4, "\0\0\0\0", 4) == 0;
}

/* The first opcode of a pickle, PROTO, with its version. */
static bool is_pickle(const unsigned char *data, size_t size)
{
    return size > 1 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5 && !is_safetensors(data, size);
}

/* UTF-8 without control characters, as far as tells: a safetensors file has some among its first eight bytes. */
static bool is_text(const unsigned char *data, size_t size)
{
    unsigned char text[512 + 1] = {0};
    const bool cut = size > sizeof text - 1;
    if (cut) size = sizeof text - 1;
    if (size > 0) memcpy(text, data, size);
    for (size_t i = 0; i < size;) {
        const size_t bytes = utf8_bytes(text + i);
        if (bytes == 0) return cut && i + 4 > size; /* the last character's end is elsewhere */
        if ((text[i] < ' ' && !memchr("\t\n\f\r", text[i], 4)) || text[i] == 0x7f) return false;
        i += bytes;
    }
    return size > 0;
}

file_kind file_kind_of(const void *bytes, size_t size)
{
    static const struct {
        const char *magic;
        size_t length;
        const char *is;
    } others[] = {
        {"PK\3\4", 4, "a zip archive"},
        {"GGUF", 4, "a GGUF file"},
        {"\x89PNG", 4, "a PNG picture"},
        {"\xff\xd8\xff", 3, "a JPEG picture"},
        {"\x89HDF", 4, "an HDF5 file (Keras, TensorFlow)"},
        {"\x1f\x8b", 2, "a gzip archive"},
        {"7z\xbc\xaf", 4, "a 7z archive"},
        {"Rar!", 4, "a rar archive"},
        {"version https://git-lfs", 23, "a Git LFS pointer: the file itself is not downloaded yet (git lfs pull)"},
        {"<!DOCTYPE", 9, "a web page, probably saved in place of the file"},
        {"<!doctype", 9, "a web page, probably saved in place of the file"},
        {"<html", 5, "a web page, probably saved in place of the file"},
        {"{", 1, "a JSON text"},
    };
    const unsigned char *data = bytes;
    if (is_torch_zip(data, size) && begins(data, size, "PK\3\4", 4))
        return (file_kind){"a PyTorch .pt/.ckpt file (a zip archive of pickled tensors)", true};
    if (is_pickle(data, size)) return (file_kind){"a PyTorch .pt/.ckpt file (a pickle)", true};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins(data, size, others[i].magic, others[i].length)) return (file_kind){others[i].is, false};
    return (file_kind){is_text(data, size) ? "a text" : NULL, false};
}
