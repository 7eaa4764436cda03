#!/bin/bash
# leco-probe as a person runs it, and every example config, on the embedded model.
. "$(dirname "$0")/support.sh"
needs_shapes
run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" -p 'a red circle' --count 4 --guidance-scale 4 -q
prints 'color as asked' 'shape as asked'
run 0 "$LECO_PROBE" -m "$SOURCE/models/shapes" -p 'a red circle' --count 1 -q # which finds the probe itself
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

# The config to start from of examples/README.md.
mkdir examples
ln -s "$SOURCE/models" models
awk '/^```yaml$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$SOURCE/examples/README.md" >examples/start.yaml
run 0 "$LECO" train examples/start.yaml --set train.iterations=4 -q
prints '^out/start.safetensors$'
exists out/start.safetensors
finish
