#!/bin/bash
# Keys of logging that can't be, and places that can't be written: refused before anything is computed.
. "$(dirname "$0")/support.sh"
config small.yaml
refused() { # PATTERN KEY=VALUE...
    local pattern=$1 set=() one
    shift
    for one; do set+=(--set "$one"); done
    run 1 "$LECO" train small.yaml "${set[@]}"
    says "^leco: .*$pattern"
    silent stdout
    run 1 "$LECO" train small.yaml --dry-run --json "${set[@]}"
    says "^leco: .*$pattern"
    silent stdout
    missing out
}
refused 'logging.interval: expected a whole number' logging.interval=often
refused 'logging.steps: expected .* found 0' logging.steps=0 logging.prompts=a
refused 'logging.weights: expected a list of 1 to 16 numbers' 'logging.weights=[]'
refused 'logging.weights: expected .* found "x"' 'logging.weights=[1, x]'
refused 'logging.resolution: 33x33 is not a multiple of' logging.resolution=33 logging.prompts=a
refused 'logging.prompts: .*\{' 'logging.prompts=a {star'
refused 'logging.interval: .*pixels' logging.interval=1 train.iterations=5000 logging.prompts=a
refused 'logging.log: expected true, or the name of a file' 'logging.log={}'
refused 'small.yaml/log: cannot write: .*is no folder' logging.log=small.yaml/log
refused 'small.yaml: cannot write: .*is no folder' logging.tensorboard=small.yaml
refused 'logging.run_name: expected the name of a folder' logging.run_name=a/b
refused 'logging.effect is false, but train.stop_at_effect is 0.9' logging.effect=false train.stop_at_effect=0.9
refused 'train.stop_at_effect: expected .* found -1' train.stop_at_effect=-1
refused 'logging.weight is not a known key.*weights' logging.weight=1
refused 'logging.effect_promts' logging.effect_promts=a

mkdir poems
run 0 "$LECO" train small.yaml --set train.iterations=8 --set save.per_steps=2 --set save.keep_state=true
echo 'a poem' >poems/log
mkdir -p tb/small
echo 'a longer poem, of several words' >tb/small/events.out.tfevents.leco
run 1 "$LECO" train small.yaml --resume --set train.iterations=9 --set save.per_steps=2 --set logging.log=poems/log
says '^leco: .*poems/log:1: is no line of a log that leco wrote'
run 1 "$LECO" train small.yaml --resume --set train.iterations=9 --set save.per_steps=2 --set logging.tensorboard=tb
says '^leco: .*events.out.tfevents.leco: is no file of events'
[ "$(cat poems/log)" = 'a poem' ] || complain 'the poem is gone'
finish
