#!/bin/bash
# What examples/README.md says of two of its configs, with the LoRAs that README.md's commands have trained (readme.sh):
# red is gone and the rest is there; circles come out blue.
. "$(dirname "$0")/support.sh"
needs_trained shapes
exists "$TRAINED/readme.out" "$TRAINED/enhance_blue.safetensors"

# The demo shows it itself: how often it sees what, without and with the LoRA.
demo() { # TABLE ROW COLUMN: a figure, in percent, of one of the two tables that leco-probe printed
    awk -v table="$1" -v row="$2" -v column="$3" '
        /^[0-9]+ prompts such as/ { tables++ }
        tables == table && index($0, row) { split(substr($0, index($0, row) + length(row)), figure, /[ %]+/); print figure[column + 1] }
    ' "$TRAINED/readme.out"
}
checks=$((checks + 1))
cp "$TRAINED/readme.out" stdout
: >stderr
[ "$(grep -c '^64 prompts such as' stdout)" = 2 ] || complain 'the demo does not measure 64 prompts twice'
at_least "$(demo 1 'color is red' 1)" 95 || complain 'the model itself does not draw red'
at_least 5 "$(demo 1 'color is red' 2)" || complain 'red is still there'
at_least "$(demo 2 'all of them as asked' 1)" 90 || complain 'the model itself does not draw what it is asked for'
at_least "$(demo 2 'all of them as asked' 2)" 90 || complain 'more than red was erased'

run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --count 64 --guidance-scale 4 \
    --batch 16 --seed 77 --json -q --lora "$TRAINED/enhance_blue.safetensors" --prompt 'a circle' --expect color=blue
at_least 0.5 "$(share color=blue 1)" || complain 'the model itself draws circles blue'
at_least "$(share color=blue 2)" 0.9 || complain 'circles are not blue'
finish
