#!/bin/bash
# leco convert: a model in another precision; what can't be, in a sentence. tests/parity/convert.c compares numbers.
. "$(dirname "$0")/support.sh"
needs_shapes

run 0 "$LECO" convert "$SOURCE/models/shapes" --precision float16 -o shapes16
prints '^shapes16$'
says 'converting [0-9]+/[0-9]+'
run 0 "$LECO" inspect shapes16
prints '^family *sd1$' 'dtype float16'
run 0 "$LECO" generate -m shapes16 -p 'a red star' --guidance-scale 4 --steps 4 -o star.png
is_png star.png
run 0 "$LECO" convert shapes16 -o again --json -q
prints '"file": "again"'
silent stderr
cmp -s shapes16/unet/diffusion_pytorch_model.safetensors again/unet/diffusion_pytorch_model.safetensors ||
    complain 'the same in another place is another'

run 1 "$LECO" convert "$SOURCE/models/shapes" -o one.safetensors
says "^leco: .*shapes: its tokenizer isn't CLIP's"
run 1 "$LECO" convert shapes16 -o again
says '^leco: again: cannot write: there is a folder with something in it'
run 1 "$LECO" convert shapes16 -o shapes16/inside
says '^leco: shapes16/inside: '
run 1 "$LECO" convert shapes16 -o x.ckpt
says '^leco: x\.ckpt: leco writes no pickles'
run 1 "$LECO" convert nowhere -o x
says '^leco: nowhere: there is no such file'
run 2 "$LECO" convert shapes16
says 'where to'
run 2 "$LECO" convert -o x
says 'MODEL'
missing one.safetensors x x.ckpt shapes16/inside
finish
