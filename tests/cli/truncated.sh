#!/bin/bash
# A model's file that is cut off while a training reads it: one sentence that names the file, and exit status 1.
. "$(dirname "$0")/support.sh"
config small.yaml

cut_off() { # NAME BYTES: of a copy of the model, while a training reads it; -4: four bytes less
    local unet=$1/unet/diffusion_pytorch_model.safetensors
    copy_model "$1"
    "$LECO" train small.yaml --set "pretrained_model.name_or_path=$work/$1" --set train.iterations=1000000 \
        --set save.per_steps=1 --set save.name="$1" >stdout 2>stderr </dev/null &
    pid=$!
    for ((i = 0; i < 600; i++)); do [ -e "out/$1_000001.safetensors" ] || sleep 0.1; done
    exists "out/$1_000001.safetensors"
    kill -STOP "$pid" # float32 weights in a float32 file are read where they lie, at every step
    truncate -s "$2" "$unet"
    kill -CONT "$pid"
    for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null && complain "still running half a minute after its model was cut off ($1)"
    wait "$pid"
    status=$?
    checks=$((checks + 1))
    [ "$status" = 1 ] || complain "exit status $status, not 1"
    says "^leco: .*/$unet: became shorter while it was read"
    grep -v '^leco: ' stderr | grep -qv '^saved ' && complain 'more than one sentence'
}
cut_off cut 100
cut_off short -4 # within the last page there is no signal, but zeros: nothing is written then

# A signal that only looks like it is left alone.
"$LECO" train small.yaml --set train.iterations=1000000 --set save.per_steps=1 --set save.name=other >stdout 2>stderr </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do [ -e out/other_000001.safetensors ] || sleep 0.1; done
kill -BUS "$pid"
wait "$pid" 2>/dev/null
status=$?
checks=$((checks + 1))
[ "$status" = $((128 + $(kill -l BUS))) ] || complain "exit status $status after kill -BUS"
finish
