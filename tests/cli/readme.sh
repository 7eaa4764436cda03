#!/bin/bash
# Runs what README.md tells people to run: every block fenced as ```sh, in order, in a copy of the tree. The programs are
# those that were built already: there, `make` builds nothing.
. "$(dirname "$0")/support.sh"
needs_shapes
mkdir -p tree/build/release bin
(cd "$SOURCE" && tar cf - --exclude=./build --exclude=./out --exclude=./.git .) | tar xf - -C tree
ln -s "$LECO" "$LECO_PROBE" tree/build/release/
ln -s "$LECO" bin/leco
printf '#!/bin/sh\nexec %s -o build -o packages "$@"\n' "$(command -v make)" >bin/make
chmod +x bin/make

awk '/^```sh$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$SOURCE/README.md" >commands
exists commands
echo "-- commands of README.md:"
cat commands
cd tree || exit 1
# shellcheck disable=SC2034 # finish says it
checks=1
PATH=$work/bin:$PATH bash -eux ../commands >../stdout 2>../stderr </dev/null || {
    cd .. && complain 'a command of README.md fails'
}
cd "$work" || exit 1
exists tree/out/erase_red.safetensors tree/out/demo.png
is_png tree/out/demo.png
cat stdout

# And it did what the README says: red is gone, the rest is there.
cd tree || exit 1
probe=("$LECO_PROBE" -m models/shapes --lora out/erase_red.safetensors --count 32 --guidance-scale 4 --batch 16 --seed 77 --json -q)
run 0 "${probe[@]}" --require color=red --expect color=red
share() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" stdout | sed -n "$2p"; } # NAME COLUMN, of the last command
above() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a >= b) }'; }
above "$(share color=red 1)" 0.9 || complain 'the model itself does not draw red'
above 0.1 "$(share color=red 2)" || complain 'red is still there'
run 0 "${probe[@]}" --forbid color=red
above "$(share all 1)" 0.8 || complain 'the model itself does not draw what it is asked for'
above "$(share all 2)" 0.7 || complain 'more than red was erased'
cd "$work" || exit 1
finish
