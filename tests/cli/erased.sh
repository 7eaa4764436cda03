#!/bin/bash
# What examples/README.md says of two of its configs: red is gone and the rest is there; circles come out blue.
. "$(dirname "$0")/support.sh"
needs_trained shapes
run 0 "$LECO" train "$SOURCE/examples/erase_red.yaml" --set save.path="$work"
probe=("$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes"
    --count 64 --guidance-scale 4 --batch 16 --seed 77 --json -q)
run 0 "${probe[@]}" --lora erase_red.safetensors --require color=red --expect color=red
at_least "$(share color=red 1)" 0.95 || complain 'the model itself does not draw red'
at_least 0.05 "$(share color=red 2)" || complain 'red is still there'
run 0 "${probe[@]}" --lora erase_red.safetensors --forbid color=red
at_least "$(share all 1)" 0.9 || complain 'the model itself does not draw what it is asked for'
at_least "$(share all 2)" 0.9 || complain 'more than red was erased'

run 0 "$LECO" train "$SOURCE/examples/enhance_blue.yaml" --set save.path="$work"
run 0 "${probe[@]}" --lora enhance_blue.safetensors --prompt 'a circle' --expect color=blue
at_least 0.5 "$(share color=blue 1)" || complain 'the model itself draws circles blue'
at_least "$(share color=blue 2)" 0.9 || complain 'circles are not blue'
finish
