#!/bin/bash
# Ctrl-C: the first finishes the step, saves a whole file and ends with 130, and what it says then goes on from there; the
# second ends at once.
. "$(dirname "$0")/support.sh"
set -m # without job control a shell starts what runs in the background with Ctrl-C switched off
config small.yaml

"$LECO" train small.yaml --set train.iterations=100000 --set train.max_denoising_steps=2 >stdout 2>stderr </dev/null &
pid=$!
sleep 3
kill -INT "$pid"
for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
kill -KILL "$pid" 2>/dev/null && complain 'still running half a minute after Ctrl-C'
wait "$pid"
status=$?
[ "$status" = 130 ] || complain "exit status $status after Ctrl-C, not 130"
says 'Stopping after this step'
says '^To go on from there: leco train small\.yaml --set train\.iterations=100000 --set train\.max_denoising_steps=2 --resume$'
saved=$(cat stdout)
exists "$saved"
run 0 "$LECO" generate -m "$model" --lora "$saved" -p 'a star' --steps 1 -o star.png

# That command goes on from there, to the same file as without Ctrl-C.
exists out/small.state.safetensors
done=${saved%.safetensors} done=$((10#${done##*_}))
export SOURCE_DATE_EPOCH=1700000000
shorter=(--set train.iterations=$((done + 3)) --set train.max_denoising_steps=2)
run 0 "$LECO" train small.yaml "${shorter[@]}" --resume
says "out/small.state.safetensors: going on after $done of $((done + 3)) steps"
missing out/small.state.safetensors
mv out/small.safetensors resumed.safetensors
run 0 "$LECO" train small.yaml "${shorter[@]}"
same out/small.safetensors resumed.safetensors

# A second one does not wait.
"$LECO" generate -m "$model" -p 'a star' --steps 900 --count 10000 --batch 1 -o many.png >stdout 2>stderr </dev/null &
pid=$!
sleep 2
kill -INT "$pid"
sleep 0.2
kill -INT "$pid" 2>/dev/null
wait "$pid"
status=$?
[ "$status" = 130 ] || complain "exit status $status after two, not 130"
finish
