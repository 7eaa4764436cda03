#!/bin/bash
# Runs what README.md tells people to run: every block fenced as ```sh, in order, in a copy of the tree. The programs are
# those that were built already: there, `make` builds nothing.
. "$(dirname "$0")/support.sh"
needs_shapes
mkdir -p tree/build/release bin
(cd "$SOURCE" && tar cf - --exclude=./build --exclude=./out --exclude=./.git .) | tar xf - -C tree
ln -s "$LECO" "$LECO_PROBE" tree/build/release/
ln -s "$LECO" bin/leco
printf '#!/bin/sh\nexec %s -o compile -o packages "$@"\n' "$(command -v make)" >bin/make
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
prints '^Built build/release/leco\. Next: make demo$'
cat stdout

# The config that it explains is one that leco reads.
awk '/^```yaml$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$SOURCE/README.md" >tree/examples/readme.yaml
run 0 "$LECO" train tree/examples/readme.yaml --dry-run
prints 'training +200 steps'
finish
