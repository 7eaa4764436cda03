#!/bin/bash
# What a dry run already knows to go wrong: nothing to train, nowhere to write, too little memory. And prompts that other
# programs would read otherwise.
. "$(dirname "$0")/support.sh"
fails() { # PATTERN ARGUMENT...: of leco train, with and without --dry-run
    local pattern=$1 dry
    shift
    for dry in '' --dry-run; do
        run 1 "$LECO" train "$@" $dry
        says "^leco: .*$pattern"
        silent stdout
        missing out
    done
}

# The README's smallest config, with "enhance" and nothing else changed: the target is what the model predicts anyway.
cat >enhance.yaml <<END
prompts:
  - {target: "red", action: enhance, guidance_scale: 1.0}
pretrained_model: {name_or_path: "$model"}
train: {iterations: 2, max_denoising_steps: 4}
save: {name: small, path: out}
END
fails 'enhance\.yaml:2: nothing would be trained: target "red".*guidance_scale.*neutral.*positive' enhance.yaml
run 0 "$LECO" train enhance.yaml --dry-run --set prompts.0.guidance_scale=2
run 0 "$LECO" train enhance.yaml --dry-run --set 'prompts=[{target: red}, {target: a star, action: enhance}]'
says '^warning: .*this entry trains nothing: target "a star"'
run 0 "$LECO" train enhance.yaml --dry-run --set 'prompts=[{target: red, neutral: ""}, {target: a star, neutral: a star, guidance_scale: 0}]'
silent stderr

# Nowhere to write; what can be written leaves no trace.
echo kept >file
fails 'file' enhance.yaml --set prompts.0.action=erase --set "save.path=file"
fails 'file' enhance.yaml --set prompts.0.action=erase --set "save.path=new/../file/deeper"
missing new
mkdir -p old/small.safetensors
fails 'old/small\.safetensors.*folder' enhance.yaml --set prompts.0.action=erase --set save.path=old
run 0 "$LECO" train enhance.yaml --dry-run --set prompts.0.action=erase --set save.path=new/deeper
missing new out
[ "$(cat file)" = kept ] || complain 'a file in the way was changed'

# Too little memory, by parts.
fails 'budget of 0\.5 MiB is [0-9.]+ MiB too little: .*weights.*activations.*texts.*latents.*graphs.*adapter.*optimizer' \
    enhance.yaml --set prompts.0.action=erase --memory 512K

# Said once, for all prompts of a command.
run 0 "$LECO" generate -m "$model" -p 'a (red:1.3) star' -p 'a star <lora:x:1> BREAK' --steps 1 -o star.png -q
says '^warning: "\(red:1\.3\)" in a prompt is taken literally'
[ "$(grep -c 'taken literally' stderr)" = 1 ] || complain 'said more than once'
run 0 "$LECO" generate -m "$model" -p 'a star, red: 5:30 :)' --steps 1 -o star.png -q
silent stderr
run 0 "$LECO" run text-encoder -m "$model" -p 'a [red] star' --out states.safetensors
says '^warning: "\[red\]" in a prompt is taken literally'
run 0 "$LECO" run text-encoder -m "$model" -p "$(seq 1 99)" --out states.safetensors
says '^warning: prompt .* needs [0-9]+ tokens; all after the first 77 are ignored'
finish
