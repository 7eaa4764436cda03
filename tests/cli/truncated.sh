#!/bin/bash
# A model's file that is cut off while a training reads it: one sentence that names the file, and exit status 1.
. "$(dirname "$0")/support.sh"
copy_model cut
config small.yaml
unet=cut/unet/diffusion_pytorch_model.safetensors

"$LECO" train small.yaml --set "pretrained_model.name_or_path=$work/cut" --set train.iterations=1000000 \
    --set save.per_steps=1 >stdout 2>stderr </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do [ -e out/small_000001.safetensors ] || sleep 0.1; done
exists out/small_000001.safetensors
kill -STOP "$pid" # float32 weights in a float32 file are read where they lie, at every step
truncate -s 100 "$unet"
kill -CONT "$pid"
for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
kill -KILL "$pid" 2>/dev/null && complain 'still running half a minute after its model was cut off'
wait "$pid"
status=$?
checks=$((checks + 1))
[ "$status" = 1 ] || complain "exit status $status, not 1"
says "^leco: .*/$unet: became shorter while it was read"
grep -v '^leco: ' stderr | grep -qv '^saved ' && complain 'more than one sentence'

# Within the last page there is no signal, but zeros: nothing is written then.
copy_model short
unet=short/unet/diffusion_pytorch_model.safetensors
size=$(stat -c %s "$unet")
"$LECO" train small.yaml --set "pretrained_model.name_or_path=$work/short" --set train.iterations=1000000 \
    --set save.per_steps=1 --set save.name=short >stdout 2>stderr </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do [ -e out/short_000001.safetensors ] || sleep 0.1; done
truncate -s $((size - 4)) "$unet"
for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
kill -KILL "$pid" 2>/dev/null && complain 'still running half a minute after its model was cut off by a little'
wait "$pid"
status=$?
checks=$((checks + 1))
[ "$status" = 1 ] || complain "exit status $status, not 1"
says "^leco: .*/$unet: became shorter while it was read"

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
