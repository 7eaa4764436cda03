#!/bin/bash
# Training on photographs of every kind that people have, and on what isn't one.
. "$(dirname "$0")/support.sh"
put() { base64 -d >"$1" <<<"$2"; } # FILE BYTES: as Pillow wrote them
mkdir photos empty
put photos/pixel.png iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4IScHAAK2AQU0pnWqAAAAAElFTkSuQmCC
put photos/grey16.png iVBORw0KGgoAAAANSUhEUgAAAAQAAAAEEAAAAADcCh3hAAAAFklEQVR4nGOc48DAwMDAwMDEwICLAQAeiADkcNCv0QAAAABJRU5ErkJggg==
put photos/alpha.png iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAQAAAAD+Fb1AAAAFklEQVR4nGM0SmFgYGBgYGBiYMDFAAAU0gCejBrzDwAAAABJRU5ErkJggg==
put photos/animated.png iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAACGFjVEwAAAACAAAAAPONk3AAAAAaZmNUTAAAAAAAAAAEAAAABAAAAAAAAAAAAAAAAQAAZkfFsAAAABRJREFUeJxjZGRiZoABJgYkgJsDAAIuAA4mKvN3AAAAGmZjVEwAAAABAAAABAAAAAQAAAAAAAAAAAAAAAEAAP00L2QAAAAYZmRBVAAAAAJ4nGPk5ORkgAEmBiSAmwMABkoAIxWRbUcAAAAASUVORK5CYII=
put photos/inks.jpg /9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAoHB4jHhkoIyEjLSsoMDxkQTw3Nzx7WF1JZJGAmZaPgIyKoLTmw6Cq2q2KjMj/y9ru9f///5vB////+v/m/f/4/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABUAAQEAAAAAAAAAAAAAAAAAAAUE/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwBdATMv/9k=
put photos/grey.jpg /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AO//Z
echo 'a {small|large} circle' >photos/grey.txt
echo 'no picture' >photos/notes.md
cat >photos.yaml <<END
images: {path: photos, prompt: "a thing", batch_size: 2}
pretrained_model: {name_or_path: "$model"}
train: {precision: float32, iterations: 3, max_denoising_steps: 4}
save: {name: small, path: out}
END
run 0 "$LECO" train photos.yaml --dry-run
prints '^images +6 in 1 size$'
run 0 "$LECO" train photos.yaml --set images.guidance_scale=4
exists out/small.safetensors
says '^warning: .*photos/animated\.png: is animated; only its still picture is read' \
    '^warning: .*photos/pixel\.png: its 1 x 1 pixels are enlarged 32 times to fill 32 x 32'
[ "$(grep -c 'is animated' stderr)" = 1 ] || complain 'said more than once'
rm -r out

fails() { # PATTERN ARGUMENT...: of leco train
    local pattern=$1
    shift
    run 1 "$LECO" train photos.yaml "$@"
    says "^leco: .*$pattern"
    silent stdout
    missing out
}
bad() { # FILE PATTERN: a run with this one among the photographs
    fails "$2" -q
    rm "photos/$1"
}
fails 'images\.path: .*empty: no pictures in it' --set images.path=empty
fails 'images\.path: there is no .*nowhere' --set images.path=nowhere
fails 'images\.path: .*photos\.yaml is not a folder' --set images.path=photos.yaml
if [ "$(id -u)" -ne 0 ]; then
    chmod 0 empty
    fails 'empty: cannot read the folder' --set images.path=empty
fi
put photos/a.png R0lGODdhAgACAIEAAAAAAAAAAAAAAAAAACwAAAAAAgACAAAIBgABCAQQEAA7
bad a.png 'photos/a\.png: is a GIF; leco reads PNG and JPEG'
echo '<html>' >photos/a.jpeg
bad a.jpeg 'photos/a\.jpeg: is not a picture that leco reads: expected PNG or JPEG'
: >photos/a.jpg
bad a.jpg 'photos/a\.jpg: is empty'
head -c 150 photos/grey.jpg >photos/a.jpg
bad a.jpg 'photos/a\.jpg: the file ends too early'
head -c 60 photos/grey16.png >photos/a.png
bad a.png 'photos/a\.png: ends inside the chunk'
cp photos/grey16.png photos/a.png
overwrite photos/a.png 48 '\xff\xff\xff'
bad a.png 'photos/a\.png: '
cp photos/grey16.png photos/a.png
overwrite photos/a.png 16 '\x00\x01\x00\x00'
bad a.png 'photos/a\.png: is 65536 x 4 pixels; at most 16384 a side'
word='network={type: embedding, token: <thing>, vectors: 2}' # textual inversion, as it began
fails '"a small circle": it doesn.t hold the token "<thing>"' --set "$word" --set 'images.prompt=a <thing>' -q
echo 'a {small|large} <thing>' >photos/grey.txt
run 0 "$LECO" train photos.yaml --set "$word" --set 'images.prompt=a <thing>' -q
exists out/small.safetensors
rm -r out
echo 'a {red circle' >photos/pixel.txt
bad pixel.txt 'photos/pixel\.txt: .*\{'
sed -i 's/, prompt: "a thing"//' photos.yaml
fails 'photos/alpha\.png: nothing says what it shows: .*photos/alpha\.txt'

# Pairs.
cat >photos.yaml <<END
prompts: [{action: slider, target: "", images: {before: photos, after: after}}]
pretrained_model: {name_or_path: "$model"}
train: {precision: float32, iterations: 2}
save: {name: small, path: out}
END
fails 'prompts\.images\.after: there is no .*after'
mkdir after
cp photos/[a-f]*.png after
fails 'photos/grey\.jpg: has no partner of that name in .*after'
cp photos/*.* after
cp photos/pixel.png after/alpha.png
fails 'after/alpha\.png is 1 x 1 pixels, but .*photos/alpha\.png is 4 x 4: a pair must be alike'
cp photos/alpha.png after
run 0 "$LECO" train photos.yaml -q
exists out/small.safetensors
finish
