/* models/clip/merges.txt: the merges of CLIP's vocabulary, as the file has them. */
#ifndef LECO_MODEL_CLIP_MERGES_H
#define LECO_MODEL_CLIP_MERGES_H

extern const char clip_merges[]; /* NUL-terminated */

#endif
