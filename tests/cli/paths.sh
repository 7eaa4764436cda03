#!/bin/bash
# Paths in a config: beside the config, then in the working directory, as P1atdev's trainer has them.
. "$(dirname "$0")/support.sh"
mkdir -p examples/here models
cp -r "$model" models/small
prompts='- {target: "a red circle", neutral: "a circle", resolution: 32}'
layout() { # FILE PROMPTS-FILE MODEL
    cat >"$1" <<END
prompts_file: "$2"
pretrained_model:
  name_or_path: "$3"
network: {rank: 2}
train: {precision: float32, iterations: 1, max_denoising_steps: 2}
save: {name: small, path: "./output"}
END
}
trained() { # FILE-THAT-IS-WRITTEN CONFIG
    run 0 "$LECO" train "$2"
    exists "$1"
    [ "$(cat stdout)" = "$1" ] || complain "$(cat stdout) is printed, not $1"
    rm -rf output examples/output examples/here/output
}

# P1atdev's own layout: started at the top, all paths from there.
echo "$prompts" >examples/prompts.yaml
layout examples/config.yaml ./examples/prompts.yaml ./models/small
trained output/small.safetensors examples/config.yaml

# Everything from the config's folder.
layout examples/config.yaml prompts.yaml ../models/small
trained examples/output/small.safetensors examples/config.yaml

# What is beside the config comes first.
echo "- {target: wrong, multiplier: 0}" >prompts.yaml
trained examples/output/small.safetensors examples/config.yaml

# One from here, one from there.
layout examples/config.yaml prompts.yaml models/small
trained output/small.safetensors examples/config.yaml
layout examples/here/config.yaml ./examples/prompts.yaml "$work/models/small"
trained output/small.safetensors examples/here/config.yaml

# In neither: both places are told.
layout examples/config.yaml ./nowhere.yaml ./models/small
run 1 "$LECO" train examples/config.yaml
says 'examples/config\.yaml: prompts_file: there is no examples/nowhere\.yaml, and in the working directory no \./nowhere\.yaml either$'
layout examples/config.yaml prompts.yaml ./nowhere
run 1 "$LECO" train examples/config.yaml
says 'pretrained_model\.name_or_path: there is no examples/nowhere, and in the working directory no \./nowhere either$'
layout config.yaml examples/prompts.yaml nowhere
run 1 "$LECO" train config.yaml
says 'config\.yaml:3: pretrained_model\.name_or_path: there is no nowhere$'

# A name of the hub's: that the cache was looked through is told, and that nothing comes from the net.
HF_HOME=$work run 1 "$LECO" train --config_file config.yaml --set pretrained_model.name_or_path=someone/something
says 'name_or_path: there is no someone/something, nor is a model of that name in Hugging Face.s cache, and leco downloads nothing$'
HF_HOME=$work run 1 "$LECO" generate -m someone/something -p red
says '^leco: someone/something: there is no such file, nor is a model of that name in'
missing output examples/output
finish
