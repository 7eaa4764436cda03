#!/bin/bash
# Wrong usage: exit status 2, one sentence that names the option, nothing on standard output, nothing written.
. "$(dirname "$0")/support.sh"

wrong() { # PATTERN ARGUMENT...
    local pattern=$1
    shift
    run 2 "$LECO" "$@"
    says "$pattern" "--help' tells more"
    silent stdout
}
generate=(generate -m "$model" -p 'a star' -o star.png)

# Unknown, misspelt, without a value, with one too many.
wrong 'no option --sedd; did you mean --seed\?' "${generate[@]}" --sedd 3
wrong 'no option --guidance; did you mean --guidance-scale\?' "${generate[@]}" --guidance=3
wrong 'no option --dryrun; did you mean --dry-run\?' train some.yaml --dryrun
wrong 'no option --frobnicate$' "${generate[@]}" --frobnicate
wrong 'no option -x$' "${generate[@]}" -x
wrong '--steps needs a value: --steps N' "${generate[@]}" --steps
wrong '--steps needs a value, and --seed is an option' "${generate[@]}" --steps --seed 3
wrong "--json takes no value, but got 'yes'" "${generate[@]}" --json=yes
wrong "what is 'hello' for" "${generate[@]}" hello
wrong 'a CONFIG.yaml is missing' train
wrong "one CONFIG.yaml is enough, but there are 'a' and 'b'" train a b
wrong 'a FILE-OR-MODEL is missing' inspect
wrong 'a MODULE is missing' run

# Numbers: not one, zero, negative, huge, not finite, in another base.
for value in '' none 1e3 0x10 4.5 nan ' 4' '4 '; do
    wrong "--steps takes a whole number from 1 to 1000, not '$value'" "${generate[@]}" --steps "$value"
done
for value in 0 -1 1001 99999999999999999999; do
    wrong "--steps $value is out of range: it takes a whole number from 1 to 1000" "${generate[@]}" --steps "$value"
done
for value in nan inf -inf infinity x 1e999 0x1p3 ''; do
    wrong "--guidance-scale takes a number from -1000 to 1000, not '$value'" "${generate[@]}" --guidance-scale "$value"
done
wrong '--guidance-scale 1e9 is out of range' "${generate[@]}" --guidance-scale 1e9
for option in width height; do
    for value in 0 -64 7 8193 2147483648 9223372036854775808; do
        wrong "--$option $value is out of range: it takes a whole number from 8 to 8192" "${generate[@]}" --$option "$value"
    done
done
wrong '--batch 0 is out of range' "${generate[@]}" --batch 0
wrong '--count 0 is out of range' "${generate[@]}" --count 0
wrong '--seed -2 is out of range' "${generate[@]}" --seed -2
wrong '--threads -1 is out of range' "${generate[@]}" --threads -1
grid=(grid -m "$model" -p 'a star' --lora "$lora" -o sheet.png)
for value in '1,,2' ',' '1,' a '1,nan' '0,inf'; do
    wrong '--weights takes a number from -1000 to 1000' "${grid[@]}" --weights "$value"
done
wrong '--weights takes 256 numbers at most' "${grid[@]}" --weights "$(seq -s, 300)"
for value in 0 -1G 4Q 1e400 x 4GBB 0x10; do
    wrong "--memory takes a number of bytes such as 512M or 4G, not '$value'" train some.yaml --memory "$value"
done

# Choices, and what is known but not there yet.
wrong "--device takes one of (cuda, )?cpu, ref, not 'gpu'" "${generate[@]}" --device gpu
if ! "$LECO" "${generate[@]}" --device none 2>&1 | grep -q 'takes one of cuda'; then
    wrong '--device cuda was not built into this leco' "${generate[@]}" --device cuda
    wrong '--device cuda was not built into this leco' train some.yaml --device cuda
fi
wrong "--precision takes one of float32, bfloat16, float16, not 'fp8'" "${generate[@]}" --precision fp8
wrong "--scheduler takes one of ddim,.* not ''" "${generate[@]}" --scheduler ''
wrong "--scheduler takes one of ddim, ddpm, lms, euler, euler_a, dpmpp_2m, dpmpp_2m_sde, heun, uni_pc, not 'pndmm'" "${generate[@]}" --scheduler pndmm
wrong "not 'DPM\+\+ 2M Karras'; did you mean dpmpp_2m\?" "${generate[@]}" --scheduler 'DPM++ 2M Karras'
wrong "not 'Euler a'; did you mean euler_a\?" "${generate[@]}" --scheduler 'Euler a'
wrong "--spacing takes one of leading, linspace, trailing, not 'even'" "${generate[@]}" --spacing even
wrong "--rng takes one of cpu, cuda, not 'mps'" "${generate[@]}" --rng mps
wrong "--preset takes one of sd15, sd21, sdxl, not 'sd3'" bench --preset sd3
wrong '--resume takes no value' train some.yaml --resume=yes
wrong '--clip-skip 99 is out of range: it takes a whole number from 1 to 24' "${generate[@]}" --clip-skip 99
wrong '--model or --preset, not both' bench -m "$model" --preset sd15

# What a command can't do without.
wrong 'which model' generate -p 'a star'
wrong 'Give a prompt with -p' generate -m "$model"
wrong 'Give a LoRA with --lora' grid -m "$model" -p 'a star'
wrong '--set takes KEY=VALUE' train some.yaml --set iterations
wrong "no module 'unnet'; did you mean unet\?" run unnet -m "$model" --in a --out b
wrong 'unet needs its inputs: --in' run unet -m "$model" --out b
wrong '--prompt is for text-encoder' run unet -m "$model" -p x --out b
wrong 'two ways to say the same' run text-encoder -m "$model" -p x --in a --out b
wrong 'where shall the outputs go' run unet -m "$model" --in a
wrong 'call it something.png' generate -m "$model" -p 'a star' -o star.jpg
wrong 'call it something.png' generate -m "$model" -p 'a star' -o .png
wrong 'the weight must be a number' "${generate[@]}" --lora "$lora:nan"
wrong 'the weight must be a number' "${generate[@]}" --lora "$lora:1e9"
missing star.png sheet.png

# More than a list holds.
many=()
for ((i = 0; i < 257; i++)); do many+=(-p x); done
wrong '--prompt may be given 256 times at most' "${generate[@]}" "${many[@]}"
finish
