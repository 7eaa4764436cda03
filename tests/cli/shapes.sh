#!/bin/bash
# leco-probe as a person runs it, on the embedded model.
. "$(dirname "$0")/support.sh"
needs_shapes
run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" -p 'a red circle' --count 4 --guidance-scale 4 -q
prints 'color as asked' 'shape as asked'
run 0 "$LECO_PROBE" -m "$SOURCE/models/shapes" -p 'a red circle' --count 1 -q # which finds the probe itself
run 0 "$LECO_PROBE" -m "$SOURCE/models/shapes" -p 'a red circle' -p 'a blue star' --count 4 -q --expect color=red --expect shape=circle
prints 'color is red +[0-9.]+%' 'shape is circle +[0-9.]+%' 'all of these +[0-9.]+%'
run 0 "$LECO_PROBE" -m "$SOURCE/models/shapes" -p 'a red circle' --count 1 -q --expect color=red --expect color=blue --json
prints '"color=blue"'
if grep -q together stdout; then complain 'no picture is red and blue'; fi
# Wildcards: what counts is what was drawn.
run 0 "$LECO_PROBE" -m "$SOURCE/models/shapes" -p 'a large {red|blue} {star|heart} on a {white|black} background' \
    --count 16 --steps 10 --guidance-scale 4 -q --json
at_least "$(share color 1)" 0.8 || complain "colours as asked: $(share color 1)"
at_least "$(share background 1)" 0.8 || complain "backgrounds as asked: $(share background 1)"
run 2 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --require color=rot
says "'color=rot' is not WHAT=WORD"
run 1 "$LECO_PROBE" --probe nowhere -m "$SOURCE/models/shapes"
says 'nowhere'
finish
