#include "model/clip_merges.h"

/* LECO_CLIP_MERGES is the file's path: half a megabyte that no compiler need read. */
__asm__(".section .rodata\n"
        ".globl clip_merges\n"
        ".hidden clip_merges\n"
        ".type clip_merges, %object\n"
        "clip_merges:\n"
        ".incbin \"" LECO_CLIP_MERGES "\"\n"
        ".byte 0\n"
        ".size clip_merges, . - clip_merges\n"
        ".text\n");
