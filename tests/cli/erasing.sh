#!/bin/bash
# Runs what docs/erase.md tells people to run, and the examples of --help, in a copy of the tree; and looks at what the
# closed form says and does: of three words at once, of a training that begins with it.
. "$(dirname "$0")/support.sh"
needs_shapes
documented_tree
commands_of "$SOURCE/docs/erase.md" >commands
try commands
prints '^out/no_red\.safetensors$' '^out/no_stars\.safetensors$' '^out/no_stars\.png$' '^out/three\.safetensors$' '^out/dots\.safetensors$'
is_png tree/out/no_stars.png
for command in erase enhance; do
    examples_of $command >$command.commands
    try $command.commands
done
is_png tree/striped.png

# Three words at once are gone, and the rest is there.
gone() { # WORD MOST
    run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --count 16 --guidance-scale 4 --steps 12 \
        --batch 16 --seed 78 --json -q --lora tree/out/three.safetensors --weights 1 --require "$1" --expect "$1"
    at_least "$2" "$(share "$1" 1)" || complain "$1 is still there"
}
gone color=red 0.07
gone shape=star 0.07
gone style=striped 0.13
run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --count 16 --guidance-scale 4 --steps 12 --batch 16 \
    --seed 79 --json -q --lora tree/out/three.safetensors --weights 1 -p "a large blue heart on a white background, dotted style" \
    --expect color=blue --expect shape=heart --expect style=dotted
for kept in color=blue shape=heart style=dotted; do
    at_least "$(share $kept 1)" 0.85 || complain "$kept went, too"
done

# What it says: the nearest word, and all of it as JSON.
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors
prints '"concept": "red"' '"topic": "color"' '"becomes": "orange"' '"rank": [1-9]'
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x$'\xff'.safetensors # a name that is no UTF-8
prints '"file": "x\?.safetensors"'
run 0 "$LECO" inspect --json x$'\xff'.safetensors
prints '"path": "x\?.safetensors"'

# All that follows --grid is drawn, up to the next option; behind -- stand concepts.
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --grid 'a red star' 'a blue heart' --steps 1 --json -q -o sheet.safetensors -- star
prints '"concept": "red"' '"concept": "star"' '"grid": "sheet.png"'
if grep -q '"concept": "a' stdout; then complain 'a prompt was taken for a concept'; fi
[ "$(od -An -tu1 -j 22 -N 2 sheet.png | awk '{ print ($1 * 256 + $2 > 300) }')" = 1 ] || complain 'one prompt was drawn, not two'

# Two words are told from others with one of them: a red star becomes an orange one, red hearts and blue stars stay.
run 0 "$LECO" erase -m "$SOURCE/models/shapes" "red star" --json -q -o two.safetensors
prints '"topic": "color and object"' '"becomes": "orange star"'
two() { # WORD AT_LEAST AT_MOST PROMPT
    run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --count 8 --guidance-scale 4 --steps 12 \
        --batch 8 --seed 81 --json -q --lora two.safetensors --weights 1 -p "$4" --expect "$1"
    at_least "$(share "$1" 1)" "$2" || complain "$4: too few are $1"
    at_least "$3" "$(share "$1" 1)" || complain "$4: $1 is still there"
}
two color=red 0 0.3 'a red star'
two shape=star 0.87 1 'a red star'
two color=red 0.87 1 'a large red heart on a white background, flat style'
two color=blue 0.87 1 'a large blue star on a white background, flat style'
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --to orenge -q -o x.safetensors
says 'warning: "orenge" is no word of this model.s tokenizer, .*did you mean "orange"'
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --keep oragne --keep zyxw -q -o x.safetensors
says 'warning: "oragne" is no word .*did you mean "orange"'
if grep -q zyxw stderr; then complain 'a word that is like none was taken for misspelt'; fi
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --strength 0.05 -q -o x.safetensors
says 'will hardly be erased; the strength is below 1'
run 0 "$LECO" erase -m "$SOURCE/models/shapes" '(red:1.3)' -q -o x.safetensors
says 'warning: .*\(red:1\.3\)'

# An article belongs to the texts; a prompt that is to stay is no word to put into others; other texts than leco's own come
# on top of what these keep.
run 0 "$LECO" erase -m "$SOURCE/models/shapes" "a star" --to "a heart" --json -q -o x.safetensors --keep "a photo of my house"
prints '"becomes": "heart"' '"topic": "object"' '"text": "a photo of my house"' '"layers": 14' '"parameters": [1-9]'
if grep -q 'a a \|an a \|[^"]a photo of my house' stdout; then complain 'a prompt was put into a text'; fi
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors --in "a portrait of a {} cat"
prints '"text": "a (small|large) .* style"' '"text": "a portrait of an? .* cat"'
printf 'a painting of a Red star\n# red\na tired cat\nred, a red star\nred and {small|large} {}\na {} car' >prompts.txt
run 1 "$LECO" erase -m "$SOURCE/models/shapes" red -o y.safetensors --in-file prompts.txt
says 'prompts.txt:5: the context "red and (small|large) \{\}" says "red" besides'
sed -i /small/d prompts.txt
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors --in-file prompts.txt
says 'prompts.txt:[0-9]*: passed over, .*: 2$'
prints '"contexts": 2' '"text": "a painting of an? .* star"' '"text": "an? .* car"'
run 1 "$LECO" erase -m "$SOURCE/models/shapes" ring -o y.safetensors --in-file <(echo 'a {small|large} string')
says 'no line has a \{\} or says one concept once'
run 0 "$LECO" enhance -m "$SOURCE/models/shapes" dotted -o x.safetensors
says '^dotted \(style, .*goes away from "flat"'
run 0 "$LECO" inspect x.safetensors
prints 'enhances "dotted", which goes away from "flat"'
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors --max-rank 1 --save-precision float32
prints '"rank": 1'
run 0 "$LECO" inspect x.safetensors
prints 'float32'

# A long list of what is to stay doesn't crowd out what stays anyway; a text that comes twice is told once.
{ echo '# a remark'; seq 400 | sed 's/^/artist number /'; } >artists.txt
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors --keep-file artists.txt --keep blue \
    --keep 'a {small|large} \{b\}'
prints '"text": "a small \{b\}"' '"text": "a large \{b\}"' '"text": "blue"' '"text": "artist number 400"' '"text": ""'
[ -z "$(grep -o '"text": .*' stdout | sort | uniq -d)" ] || complain 'a kept text is told twice'
if grep -q remark stdout; then complain 'a remark is kept'; fi
moved=$(grep -B1 -A1 '"text": ".*orange' stdout | sed -n 's/.*"moved": \([0-9.]*\).*/\1/p' | sort -g | tail -n 1)
at_least 0.5 "$moved" || complain "orange moves by $moved"
# Of one that is longer still some stand for all; what is named by itself is among them in any case.
{ seq 2500 | sed 's/^/artist number /' && echo 'artist number 7'; } >artists.txt
run 0 "$LECO" erase -m "$SOURCE/models/shapes" red --json -q -o x.safetensors --keep-file artists.txt --keep 'number 1 of all'
says 'of the 2500 texts of --keep-file 1000 are drawn'
prints '"text": "number 1 of all"' '"text": ".*orange'
drawn=$(grep -c '"text": "artist number [0-9]*"' stdout)
[ "$drawn" = 1000 ] || complain "$drawn of 2500 texts were drawn"
[ "$(grep -c '"text": "artist number [0-9]\{1,3\}"' stdout)" -lt 600 ] || complain 'the first were drawn, not any'
printf 'prompts: [{target: red, neutral: blue}]\npreserve: [red, green]\nnetwork: {init: erase}\n' >contradiction.yaml
printf 'pretrained_model: {name_or_path: %s}\ntrain: {iterations: 1}\n' "$SOURCE/models/shapes" >>contradiction.yaml
run 0 "$LECO" train contradiction.yaml -q
says 'contradiction\.yaml: "red" is to change and to stay'
# In other words, too; what tells it apart stays.
sed -i 's/target: red, neutral: blue/target: a large red star, neutral: a large blue star/' contradiction.yaml
run 0 "$LECO" train contradiction.yaml -q
says '"red" says what is to change, and is to stay'
sed -i 's/preserve: .*/preserve: [red star, a large red star on a white background]/' contradiction.yaml
run 0 "$LECO" train contradiction.yaml -q
says '"(red star|a large red star on a white background)" says what is to change, and is to stay'
sed -i 's/preserve: .*/preserve: [a large red heart, large, star, a large green star]/' contradiction.yaml
run 0 "$LECO" train contradiction.yaml -q
if grep -q 'is to stay' stderr; then complain 'what may stay was left out'; fi

# A training that begins there has begun well: with a learning rate of nearly 0, red is gone.
run 0 "$LECO" train "$SOURCE/examples/erase_red.yaml" --set train.iterations=1 --set train.lr=1e-9 --set save.path="$work/begun"
says 'starts from a closed form of [0-9]* pairs'
run 0 "$LECO_PROBE" --probe "$SOURCE/models/shapes-probe" -m "$SOURCE/models/shapes" --count 16 --guidance-scale 4 --steps 12 --batch 16 \
    --seed 80 --json -q --lora begun/erase_red.safetensors --weights 1 --require color=red --expect color=red
at_least 0.07 "$(share color=red 1)" || complain "init: erase leaves red"
finish
