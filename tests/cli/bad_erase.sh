#!/bin/bash
# leco erase and leco enhance with what makes no sense: the exit status, one sentence that names it, no file.
. "$(dirname "$0")/support.sh"

wrong() { # STATUS PATTERN ARGUMENT...: of a command line whose file would be x.safetensors
    local wanted=$1 pattern=$2
    shift 2
    run "$wanted" "$LECO" erase -m "$model" -o x.safetensors "$@"
    says "^leco( erase)?: .*$pattern"
    silent stdout
    missing x.safetensors x.png
    if [ "$wanted" = 1 ] && [ "$(grep -c . stderr)" != 1 ]; then complain 'more than one line'; fi
}
many() { # COUNT WORD: so many times
    local words
    words=$(printf "$2 %.0s" $(seq "$1"))
    printf '%s' "${words% }"
}

# What contradicts itself.
wrong 1 '"red" can.t be kept: it says "red"' red --keep red
wrong 1 '"a Red star" can.t be kept: it says "red"' red --keep 'a Red star'
wrong 1 '"red" can.t be kept' 'a star' red --keep red
wrong 1 '"a red car" can.t be what comes in its place: it says "red"' red --to 'a red car'
wrong 1 '"red" can.t be what comes in its place' red --to blue --to red:0.5

# Concepts.
wrong 2 'a CONCEPT is missing'
wrong 2 'a CONCEPT is missing' ''
wrong 1 'concept number 1 is empty' ' '
wrong 1 'concept number 2 is empty' red ' '
wrong 1 'the concept "red red .*more than the 77 tokens' "$(many 80 red)"
wrong 1 '"(a|red) .*red red .*more than the 77 tokens' "$(many 74 red)"
wrong 1 'not valid UTF-8' $'\xff'

wrong 1 'the concept "Red" is given twice' red 'a Red'
wrong 1 'the share in "blue:0,5" is "0,5": expected a number above 0' red --to blue:0,5
wrong 1 'the share in "blue:" is ""' red --to blue:

# Contexts.
wrong 1 'the context "a star" has no \{\}' red --in 'a star'
wrong 1 'the context "\{\} or \{\}" has more than one \{\}' red --in '{} or {}'
wrong 1 'the context "a star" has no \{\}' red --in 'a {}' --in 'a star'
wrong 1 'one of several choices' red --in '{a {}|b} star'
wrong 1 'this \{ is never closed' red --in 'a {small|large {}'
wrong 1 'this \} ' red --in 'a small} {}'
wrong 1 'braces is not supported' red --in "{2\$\$a|b} {}"
wrong 1 'more than the 77 tokens' red --in "$(many 80 a) {}"
wrong 1 'not valid UTF-8' red --in $'\xff {}'
wrong 1 'more than the 77 tokens' red --to "$(many 80 blue)"

# Files of texts.
: >empty.txt
printf '\n \n\t\r\n' >blank.txt
mkdir folder.safetensors
for option in --in-file --keep-file; do
    wrong 1 'empty.txt: expected a text a line, found none' red $option empty.txt
    wrong 1 'blank.txt: expected a text a line, found none' red $option blank.txt
    wrong 1 'nowhere.txt: .*No such file' red $option nowhere.txt
    wrong 1 'folder.safetensors: ' red $option folder.safetensors
done
head -c 2000000 /dev/zero | tr '\0' 'x' >long.txt
wrong 1 'long.txt:1: a text of 2000000 bytes: expected at most 65536' red --keep-file long.txt
seq 700000 >many.txt
wrong 1 'many.txt: is longer than 4194304 bytes' red --keep-file many.txt

printf 'a star\n\n# of two\na {star|heart\n' >line.txt
wrong 1 'line.txt:4: "\{star\|heart": this \{ is never closed' red --keep-file line.txt
printf 'a {} star\n{} and {}\n' >line.txt
wrong 1 'line.txt:2: the context "\{\} and \{\}" has more than one \{\}' red --in-file line.txt
printf 'a star\n\0a heart\n' >zero.txt
wrong 1 'zero.txt: expected a text, found a zero byte behind 7 others' red --keep-file zero.txt
wrong 1 'zero.txt: expected a text, found a zero byte behind 7 others' red --in-file zero.txt

# Numbers.
wrong 1 'the concept "\{red\|blue\}" has a brace' '{red|blue}'
wrong 1 'what comes in its place "\{a\|b\}" has a brace' red --to '{a|b}'
wrong 1 '--keep: "a \{\} b" has a \{\}: these are for the texts of --in' red --keep 'a {} b'
wrong 1 '--keep: "\{a\|b": this \{ is never closed' red --keep '{a|b'
wrong 1 '"red star" can.t be kept: it says "red"' red --keep '{blue|red} star' # one of all that is meant
wrong 1 '"\{small\|large \{\} star": this \{ is never closed' red --in '{small|large {} star'
printf '# nothing but remarks\n' >remarks.txt
wrong 1 'remarks.txt: expected a text a line, found none' red --keep-file remarks.txt
wrong 1 'the share in "blue:0" is 0: expected a number above 0' red --to blue:0 # one alone has a share, too
for share in 0 -1 nan inf -0.5; do
    wrong 1 "the share in \"blue:$share\" is $share: expected a number above 0" red --to "blue:$share" --to tiny
done
wrong 2 '--rank 2000 is out of range' red --rank 2000
wrong 2 '--rank -1 is out of range' red --rank -1
wrong 2 '--rounds 4 is out of range' red --rounds 4
wrong 2 '--lambda -1 is out of range' red --lambda -1
wrong 2 '--lambda takes a number' red --lambda nan
wrong 2 '--strength 0 is out of range: it takes a number above 0 and up to 100' red --strength 0
wrong 2 '--strength -1 is out of range' red --strength -1
wrong 1 'clip_skip is 9, but the text encoder has [0-9]+ layers' red --clip-skip 9
wrong 2 '--method takes one of uce, speed, not .esd.' red --method esd
wrong 2 '--lora has no place here' red --lora "$lora"

# SPEED's directions that the kept states hardly have are divided by what little they have.
shapes=$SOURCE/models/shapes
if [ -e "$shapes/unet/diffusion_pytorch_model.safetensors" ]; then
    wrong 1 'nearly singular.*a larger --lambda' -m "$shapes" red --lambda 0 --method speed
    wrong 1 'the context "a \{\} or a red star" says "red" besides' -m "$shapes" red --in 'a {} or a red star'
fi

# A sheet: before the solve, and only where there is one.
wrong 1 'a width of 63 pixels: expected a multiple' red --grid 'a red star' --width 63
wrong 1 'this \{ is never closed' red --grid '{a'
wrong 2 '--steps is for a sheet: say with --grid what to draw' red --steps 5
wrong 2 'a CONCEPT is missing: .*\(words behind --grid are its own\)' --grid 'a red star' red
wrong 2 '--latents: a grid draws its own noise' red --grid 'a red star' --latents x.safetensors

# Where to, and of what.
run 0 "$LECO" erase -m "$model" red -q -o new/folder/x.safetensors
exists new/folder/x.safetensors
: >file
run 1 "$LECO" erase -m "$model" red -o file/x.safetensors
says '^leco: file/x.safetensors: cannot write: folder file: Not a directory'
run 1 "$LECO" erase -m "$model" red -o folder.safetensors
says '^leco: folder\.safetensors: .*not a file'
for output in /dev/full x.png x; do
    run 2 "$LECO" erase -m "$model" red -o $output
    says 'a LoRA is a \.safetensors file'
done
cp -r "$SOURCE/models/shapes" shapes
run 1 "$LECO" erase -m shapes red -o shapes/unet/diffusion_pytorch_model.safetensors
says "lies in the model's own folder"
same shapes/unet/diffusion_pytorch_model.safetensors "$SOURCE/models/shapes/unet/diffusion_pytorch_model.safetensors"
run 1 "$LECO" erase -m nowhere red -o x.safetensors
says '^leco: nowhere: there is no such file'
run 1 "$LECO" erase -m "$fixtures/vae-mid" red -o x.safetensors
says '^leco: .*vae-mid.*cannot open'
run 1 "$LECO" erase -m "$lora" red -o x.safetensors
says '^leco: .*lora.safetensors: '
missing x.safetensors
run 2 "$LECO" erase red
says 'erase --help'
run 1 env SOURCE_DATE_EPOCH=never "$LECO" erase -m "$model" red -o x.safetensors
says '^leco: .*SOURCE_DATE_EPOCH'
missing x.safetensors

# A model whose values are no numbers, and sequences of a few tokens.
copy_model broken
overwrite broken/unet/diffusion_pytorch_model.safetensors -64 '\0377\0377\0377\0177\0377\0377\0377\0177'
run 0 "$LECO" erase -m broken red -o x.safetensors -q # which it doesn't read
rm -f x.safetensors
copy_model short
sed -i 's/"model_max_length": *[0-9]*/"model_max_length": 5/' short/tokenizer/tokenizer_config.json
run 1 "$LECO" erase -m short 'a strange word' -o x.safetensors
says '^leco: .*more than the 5 tokens'
missing x.safetensors

# What went wrong leaves what was there.
echo 'the old one' >x.safetensors
run 1 "$LECO" erase -m "$model" red -o x.safetensors --keep red
[ "$(cat x.safetensors)" = 'the old one' ] || complain 'the old file was damaged'
run 1 "$LECO" enhance -m "$model" red -o x.safetensors --keep red
[ "$(cat x.safetensors)" = 'the old one' ] || complain 'the old file was damaged'

# And what may look wrong isn't.
run 0 "$LECO" erase -m "$model" '"red!"' -q -o y.safetensors --to 'a, b' --keep "$(many 80 blue)"
says 'warning: "a, b" has a comma and is taken as one'
says 'warning: "blue blue .*more than the 77 tokens .* doesn.t count'
printf 'a star\na red star\nred\n' >keep.txt # lists that people have may hold what is to go
run 0 "$LECO" erase -m "$model" red -q -o y.safetensors --keep-file keep.txt
says 'warning: "a red star", as others of the file, says what is to change, and isn.t kept'
run 0 "$LECO" erase -m "$model" red blue -q -o y.safetensors --to green --to star
says 'warning: each of the 2 concepts becomes a mixture of the 2 texts of --to'
run 0 "$LECO" erase -m "$model" red -v -o y.safetensors --in 'a {} {star|moon}'
says 'context: a red star'
run 0 "$LECO" erase -m "$model" red -q -o y.safetensors --prediction epsilon
run 0 "$LECO" erase -m "$model" red 'a tiny' -o y.safetensors -q --to '' --to 'blue:0.5' --to 'ratio 16:9x' --rank 1000 \
    --in '{}' --in 'a {small|large} {}' --keep 'a star:2' --in-file <(printf '\n{} {a|b}\r\n')
exists y.safetensors
run 0 "$LECO" inspect y.safetensors
finish
