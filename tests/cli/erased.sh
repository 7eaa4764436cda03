#!/bin/bash
# What the README says of the demo: red is gone, the rest is there.
. "$(dirname "$0")/support.sh"
needs_trained shapes
run 0 "$LECO" train "$SOURCE/examples/erase_red.yaml" --set save.path="$work"
probe=("$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --lora erase_red.safetensors
    --count 32 --guidance-scale 4 --batch 16 --seed 77 --json -q)
run 0 "${probe[@]}" --require color=red --expect color=red
at_least "$(share color=red 1)" 0.9 || complain 'the model itself does not draw red'
at_least 0.1 "$(share color=red 2)" || complain 'red is still there'
run 0 "${probe[@]}" --forbid color=red
at_least "$(share all 1)" 0.8 || complain 'the model itself does not draw what it is asked for'
at_least "$(share all 2)" 0.7 || complain 'more than red was erased'
finish
