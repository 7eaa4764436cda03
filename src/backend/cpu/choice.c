#include "backend/cpu/choice.h"

#include <fnmatch.h>

#define FIRST_VERSION 0
#define NO_VERSION CHOICE_VERSION(999, 0, 0)

/* Rows hold for versions with from <= version < before; the first that fits decides. What the other names of oneDNN's
 * lists are worth is in docs/kernels.md: they stand in a good order, so there are no rows for the slower ones. */
static const struct {
    const char *names; /* a pattern as the shell's */
    int from, before;
    choice_verdict verdict;
    const char *why;
} known[] = {
    {"ref*", FIRST_VERSION, NO_VERSION, CHOICE_REFERENCE, "is a reference loop"},
    /* While it generates the unrolled AMX kernel of a convolution, it looks up which row follows the last tile, and for
     * many shapes (3x3, 16 -> 16 channels, 10 x 22 pixels) that is the element behind the end of a vector. The value
     * isn't used; the read ends the program where the vector ends a page. 2.5 searched within the vector, 3.1 stops at
     * the last tile. Data gradients served by the same kernel (2.7 and later) have its name at the end of theirs.
     * Where this is listed jit:avx512_core_amx* is, too, and at least as fast. */
    {"*brgconv:avx512_core_amx*", CHOICE_VERSION(2, 6, 0), CHOICE_VERSION(3, 1, 0), CHOICE_BROKEN,
     "reads outside of its memory"},
};

choice_verdict choice_judge(const char *name, int version, const char **why)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (version < known[i].from || version >= known[i].before || fnmatch(known[i].names, name, 0) != 0) continue;
        if (why) *why = known[i].why;
        return known[i].verdict;
    }
    if (why) *why = "";
    return CHOICE_GOOD;
}

int choice_pick(const char *const *names, size_t count, int version)
{
    for (size_t i = 0; i < count; i++)
        if (choice_judge(names[i], version, NULL) == CHOICE_GOOD) return (int)i;
    return -1;
}
