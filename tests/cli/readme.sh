#!/bin/bash
# Runs what README.md tells people to run: every block fenced as ```sh, in order, in a copy of the tree. The programs are
# those that were built already: there, `make` builds nothing. What its commands train and print is left in the folder
# TRAINED, where it is set, for other tests: no example is trained twice.
. "$(dirname "$0")/support.sh"
if [ -n "${TRAINED:-}" ]; then rm -rf "$TRAINED"; fi
needs_shapes
mkdir -p tree/build/release bin
(cd "$SOURCE" && tar cf - --exclude=./build --exclude=./out --exclude=./.git .) | tar xf - -C tree
ln -s "$LECO" "$LECO_PROBE" tree/build/release/
printf '#!/bin/sh\nexec %s -o compile -o packages "$@"\n' "$(command -v make)" >bin/make
# The reader's own config is one that leco reads; that erasing works, the demo shows: a few steps of it are enough.
printf '#!/bin/sh\n[ "$*" != "train examples/mine.yaml" ] || set -- "$@" --set train.iterations=4\nexec %s "$@"\n' "$LECO" >bin/leco
chmod +x bin/make bin/leco
awk '/^```yaml$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$SOURCE/README.md" >tree/examples/mine.yaml
run 0 "$LECO" train tree/examples/mine.yaml --dry-run
prints 'training +500 steps'

commands_of "$SOURCE/README.md" >commands
exists commands
echo "-- commands of README.md:"
cat commands
cd tree || exit 1
checks=$((checks + 1))
PATH=$work/bin:$PATH bash -eux ../commands >../stdout 2>../stderr </dev/null || {
    cd .. && complain 'a command of README.md fails'
}
cd "$work" || exit 1
cat stdout
prints '^Built build/release/leco\. Next: make demo$'
exists tree/out/{erase_red,enhance_blue,my_lora}.safetensors
for picture in demo before after my_grid; do is_png "tree/out/$picture.png"; done
differ tree/out/before.png tree/out/after.png
if [ -n "${TRAINED:-}" ] && [ "$failures" = 0 ]; then
    mkdir -p "$TRAINED"
    cp stdout "$TRAINED/readme.out"
    cp tree/out/*.safetensors "$TRAINED"
fi

# The examples of --help, which draw with the same LoRA. (in.safetensors is the user's.)
for command in generate grid inspect run; do
    "$LECO" $command --help | sed -n '/^Examples$/,/^$/{s/^  //p}' | grep -v '^cp -r\|in\.safetensors' >"$command.examples"
done
cat generate.examples grid.examples run.examples inspect.examples >commands
cd tree || exit 1
checks=$((checks + 1))
PATH=$work/bin:$PATH bash -eux ../commands >../stdout 2>../stderr </dev/null || {
    cd .. && complain 'an example of --help fails'
}
cd "$work" || exit 1
is_png tree/faded.png
is_png tree/sheet.png
finish
