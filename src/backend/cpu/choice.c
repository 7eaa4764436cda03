#include "backend/cpu/choice.h"

#include <fnmatch.h>

#define FIRST_VERSION 0
#define NO_VERSION CHOICE_VERSION(999, 0, 0)

/* Rows hold for versions with from <= version < before; the first that fits decides. What the other names of oneDNN's
 * lists are worth is in docs/kernels.md: they stand in a good order, so there are no rows for the slower ones. */
static const struct {
    const char *names; /* a pattern as the shell's */
    int from, before;
    int depth_rest; /* only for products whose depth leaves this when divided by 32; 0: for all */
    choice_verdict verdict;
    const char *why;
} known[] = {
    {"ref*", FIRST_VERSION, NO_VERSION, 0, CHOICE_REFERENCE, "is a reference loop"},
    /* While it generates the unrolled AMX kernel of a convolution, it looks up which row follows the last tile, and for
     * many shapes (3x3, 16 -> 16 channels, 10 x 22 pixels) that is the element behind the end of a vector. The value
     * isn't used; the read ends the program where the vector ends a page. 2.5 searched within the vector, 3.1 stops at
     * the last tile. Data gradients served by the same kernel (2.7 and later) have its name at the end of theirs.
     * Where this is listed jit:avx512_core_amx* is, too, at 0.9 to 1.8 of the speed. */
    {"*brgconv:avx512_core_amx*", CHOICE_VERSION(2, 6, 0), CHOICE_VERSION(3, 1, 0), 0, CHOICE_BROKEN,
     "reads outside of its memory"},
    /* A rest of 31 is padded to 32, looks like a whole block of the depth, and the AMX tiles are not set to the size of
     * a last, smaller block of rows or columns: an illegal instruction (77 x 63 -> 5). Other rests have tiles of their
     * own. Repaired in 2.7.4 and in 3.1. */
    {"brg:avx512_core_amx*", FIRST_VERSION, CHOICE_VERSION(2, 7, 4), 31, CHOICE_BROKEN, "uses AMX tiles of wrong size"},
    {"brg:avx512_core_amx*", CHOICE_VERSION(3, 0, 0), CHOICE_VERSION(3, 1, 0), 31, CHOICE_BROKEN,
     "uses AMX tiles of wrong size"},
};

choice_verdict choice_judge(const char *name, int version, int64_t depth, const char **why)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (version < known[i].from || version >= known[i].before) continue;
        if (known[i].depth_rest && depth % 32 != known[i].depth_rest) continue;
        if (fnmatch(known[i].names, name, 0) != 0) continue;
        if (why) *why = known[i].why;
        return known[i].verdict;
    }
    if (why) *why = "";
    return CHOICE_GOOD;
}

int choice_pick(const char *const *names, size_t count, int version, int64_t depth)
{
    for (size_t i = 0; i < count; i++)
        if (choice_judge(names[i], version, depth, NULL) == CHOICE_GOOD) return (int)i;
    return -1;
}
