#!/bin/bash
# The embedded models draw what they are asked for, as the embedded probe sees it; and every example config fits them.
. "$(dirname "$0")/support.sh"
needs_shapes
probe=("$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" --count 24 --guidance-scale 4 --batch 12 -q --json)

mostly() { # SHARE: everything as asked at least this often
    local all
    all=$(sed -n 's/.*"all": \([0-9.]*\).*/\1/p' stdout)
    awk -v a="$all" -v b="$1" 'BEGIN { exit !(a >= b) }' || complain "only a share of $all is as asked"
}
run 0 "${probe[@]}" -m "$SOURCE/models/shapes"
mostly 0.75
run 0 "${probe[@]}" -m "$SOURCE/models/shapes" --precision float32 --rng cuda
mostly 0.75
run 0 "${probe[@]}" -m "$SOURCE/models/shapes-v" --donor
mostly 0.75
run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" -p 'a red circle' --count 4 --guidance-scale 4 -q
prints 'color as asked' 'shape as asked'
run 2 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --require color=rot
says "'color=rot' is not WHAT=WORD"
run 1 "$LECO_PROBE" --probe nowhere -m "$SOURCE/models/shapes"
says 'nowhere'

for example in "$SOURCE"/examples/*.yaml; do
    if grep -q '^pretrained_model:' "$example"; then # the others are lists of prompts
        run 0 "$LECO" train "$example" --dry-run
        prints 'peak memory'
    fi
done
finish
