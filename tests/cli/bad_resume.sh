#!/bin/bash
# What can't be resumed is said in a sentence, and nothing is lost; two trainings don't write to one name.
. "$(dirname "$0")/support.sh"
set -m
config small.yaml
state=out/small.state.safetensors

run 1 "$LECO" train small.yaml --resume
says "^leco: --resume: there is no .*/$state: "
missing out

# Stopped after a few steps; words that a shell would cut are told so that it doesn't.
"$LECO" train small.yaml --set train.iterations=100000 --set "prompts.0.target=it's red" --set save.per_steps=1 --json \
    >stdout 2>stderr </dev/null &
pid=$!
for ((i = 0; i < 300; i++)); do [ -e "$state" ] && break; sleep 0.1; done

# Meanwhile nobody else writes there; a dry run does no harm.
"$LECO" train small.yaml >second.out 2>second.err </dev/null && complain 'two trainings write to one name'
grep -qE "^leco: .*/out/small: another training \(process $pid\) is writing files of this name" second.err || complain "it says $(cat second.err)"
"$LECO" train small.yaml --dry-run >second.out 2>second.err </dev/null || complain "a dry run: $(cat second.err)"
kill -TERM "$pid"
wait "$pid"
status=$?
[ "$status" = 130 ] || complain "exit status $status after SIGTERM"
prints '"state": ".*/out/small\.state\.safetensors"'
says "^To go on from there: leco train small\.yaml --set train\.iterations=100000 --set 'prompts\.0\.target=it'.''s red' --set save\.per_steps=1 --json --resume\$"
exists "$state"
cp "$state" kept
red=(--set train.iterations=100000 --set "prompts.0.target=it's red")

# One that begins anew says what it will replace; one with another config says what differs.
run 0 "$LECO" train small.yaml --set save.state=false --set save.keep_state=true --dry-run
same "$state" kept
run 1 "$LECO" train small.yaml --resume
says "^leco: .*/$state: can't go on from it: prompts\[1\]\.target is \"a red circle\" now, and was \"it's red\""
run 1 "$LECO" train small.yaml "${red[@]}" --set train.lr=2e-3 --resume
says 'train\.lr is "0\.002" now, and was "0\.001" when it was written'
run 1 "$LECO" train small.yaml "${red[@]}" --set train.lr=2e-3 --resume --dry-run
run 0 "$LECO" train small.yaml "${red[@]}" --resume --dry-run
copy_model other
overwrite other/unet/diffusion_pytorch_model.safetensors -3 '\001'
run 1 "$LECO" train small.yaml "${red[@]}" --set pretrained_model.name_or_path=other --resume
says 'the contents of pretrained_model\.name_or_path are not what they were'
same "$state" kept

# Files that are cut, damaged, or something else.
size=$(stat -c %s kept)
for cut in 0 7 100 $((size / 2)) $((size - 1)); do
    head -c "$cut" kept >"$state"
    run 1 "$LECO" train small.yaml "${red[@]}" --resume
    says "^leco: .*/$state: "
done
cp kept "$state"
overwrite "$state" -100 '\125'
run 1 "$LECO" train small.yaml "${red[@]}" --resume
says "^leco: .*/$state: is damaged: "
cp "$lora" "$state"
run 1 "$LECO" train small.yaml "${red[@]}" --resume
says "^leco: .*/$state: is not the state of a leco training"
safetensors "$state" '{"__metadata__":{"leco_state":"2"},"values":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' 4
run 1 "$LECO" train small.yaml "${red[@]}" --resume
says "^leco: .*/$state: .*\"rng\""
rm "$state"
mkdir "$state"
run 1 "$LECO" train small.yaml "${red[@]}" --resume
says "^leco: .*/$state: is a folder"
rmdir "$state"
cp kept "$state"

# Begun anew, at last: it says what it replaces.
run 0 "$LECO" train small.yaml
says 'small\.state\.safetensors is of an earlier training: --resume would go on with it'
missing "$state"
finish
