#!/bin/bash
# The embedded models draw what they are asked for, as the embedded probe sees it.
. "$(dirname "$0")/support.sh"
needs_trained shapes shapes-v
probe=("$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" --count 48 --guidance-scale 4 --batch 12 -q --json)

mostly() { # SHARE: everything as asked at least this often
    at_least "$(share all 1)" "$1" || complain "only a share of $(share all 1) is as asked"
}
run 0 "${probe[@]}" -m "$SOURCE/models/shapes"
mostly 0.9
run 0 "${probe[@]}" -m "$SOURCE/models/shapes" --precision float32 --rng cuda
mostly 0.9
run 0 "${probe[@]}" -m "$SOURCE/models/shapes-v" --donor
mostly 0.9
finish
