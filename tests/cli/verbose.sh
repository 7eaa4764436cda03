#!/bin/bash
# What --verbose and a config's logging.verbose show, and that nothing of it is shown without them.
. "$(dirname "$0")/support.sh"

config small.yaml
run 0 "$LECO" train small.yaml --dry-run
silent stderr
cp stdout plain

shows_inside() {
    says "^$model: family sd1, predicts epsilon" '^device cpu: float32, [0-9]+ threads?$' "^$model/unet: [0-9.]+ MiB of weights mapped" \
        '^adapter lora on [0-9]+ of [0-9]+ layers, [0-9]+ parameters' \
        '^the U-Net with adapters: [0-9]+ nodes in float32, arena [0-9.]+ MiB, [0-9.]+ MiB of weights packed' \
        '^  conv2d: [0-9]+ by [a-z]' '^  linear_dx: [0-9]+ by [a-z]'
    same plain stdout
}
run 0 "$LECO" train small.yaml --dry-run --verbose
shows_inside
run 0 "$LECO" train small.yaml --dry-run --set logging.verbose=true
shows_inside
run 0 "$LECO" train small.yaml --dry-run --set logging.verbose=true --quiet
silent stderr
run 0 "$LECO" train small.yaml --dry-run --device ref -v
says '^device ref: '
if grep -q '^  conv2d: ' stderr; then complain "the reference backend has nothing to choose from"; fi

run 0 "$LECO" generate -m "$model" --lora "$lora" -p x --steps 1 --precision float32 -o x.png --verbose
says "^$lora: [0-9]+ modules, [0-9]+ parameters" '^the text encoder' '^the decoder: '
run 0 "$LECO" generate -m "$model" --lora "$lora" -p x --steps 1 --precision float32 -o x.png
if grep -q '^the U-Net\|modules' stderr; then complain "debug messages are shown without --verbose"; fi
finish
