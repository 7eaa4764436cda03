#!/bin/bash
# Runs what docs/merging.md tells people to run, and the examples of the same commands' --help, in a copy of the tree
# with the LoRAs that README.md's commands have trained (readme.sh).
. "$(dirname "$0")/support.sh"
needs_shapes
exists "$TRAINED"/{erase_red,enhance_blue}.safetensors
mkdir -p tree/out bin
(cd "$SOURCE" && tar cf - models docs examples) | tar xf - -C tree
cp "$TRAINED"/*.safetensors tree/out
ln -s "$LECO" bin/leco
try() { # NAME: runs the commands in the file of that name
    exists "$1"
    checks=$((checks + 1))
    (cd tree && PATH=$work/bin:$PATH bash -eux "../$1") >stdout 2>stderr </dev/null || complain "a command fails: $(cat "$1")"
}
awk '/^```sh$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$SOURCE/docs/merging.md" >commands
try commands
prints '^out/both\.safetensors$' '^out/small\.safetensors$' '% of the change lost$' '^out/shapes-without-red$' '^out/extracted\.safetensors$'
is_png tree/out/baked.png

rm -rf tree/out/shapes-without-red
"$LECO" merge --help | sed -n '/^Examples$/,/^$/{s/^  //p}' | grep -v '^cp -r' >merge.commands
"$LECO" extract --help | sed -n '/^Examples$/,/^$/{s/^  //p}' | grep -v '^cp -r' >extract.commands
try merge.commands
try extract.commands
prints '"lost_unet": 0\.[0-9]*' '"lost_text_encoder": null' '"rank": 1,'
finish
