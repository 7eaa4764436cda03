#!/bin/bash
# Runs what docs/merging.md tells people to run, and the examples of the same commands' --help, in a copy of the tree
# with the LoRAs that README.md's commands have trained (readme.sh).
. "$(dirname "$0")/support.sh"
needs_shapes
exists "$TRAINED"/{erase_red,enhance_blue}.safetensors
documented_tree
cp "$TRAINED"/*.safetensors tree/out
commands_of "$SOURCE/docs/merging.md" >commands
try commands
prints '^out/both\.safetensors$' '^out/small\.safetensors$' '% of the change lost$' '^out/shapes-without-red$' '^out/extracted\.safetensors$'
is_png tree/out/baked.png

rm -rf tree/out/shapes-without-red
examples_of merge >merge.commands
examples_of extract >extract.commands
try merge.commands
try extract.commands
prints '"lost_unet": 0\.[0-9]*' '"lost_text_encoder": null' '"rank": 1,'
finish
