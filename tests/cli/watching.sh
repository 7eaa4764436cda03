#!/bin/bash
# What there is to see of a training while it runs: its log, TensorBoard's events, previews, the effect.
. "$(dirname "$0")/support.sh"
set -m # so that what runs in the background takes Ctrl-C
config small.yaml

# All at once, and every line about it.
run 0 "$LECO" train small.yaml --dry-run --set logging.effect_every=2 --set 'logging.prompts=[a star, a moon]' --set logging.interval=2
prints '^effect +every 2 steps, on [0-9]+ latents of [0-9]+ trajectories: [0-9.]+% of the time$' \
    "^previews +2 prompts at 2 weights, 3 times, into $work/out/small.previews.png$"
run 0 "$LECO" train small.yaml --dry-run
grep -q '^effect' stdout && complain 'a training of 4 steps is too short for a meter that costs little'
run 0 "$LECO" train small.yaml --dry-run --set train.iterations=100 # at its end alone
prints '^effect +every 100 steps, on [0-9]+ latents of [0-9]+ trajectories: (1[0-5]|[5-9](\.[0-9])?)% of the time$'
all=(--set logging.log=true --set logging.tensorboard=tb --set logging.effect_every=2 --set 'logging.prompts=[a star, a moon]'
    --set logging.interval=2 --set logging.steps=2)
run 0 "$LECO" train small.yaml "${all[@]}"
[ "$(cat stdout)" = "$work/out/small.safetensors" ] || complain 'something besides the file is on stdout'
says '^effect [0-9.-]+ of what is asked for(; moved: .*)?$' '^4 steps in'
exists out/small.previews.png out/small.log.jsonl tb/small/events.out.tfevents.leco
says 'logging\.prompts: 2 prompts at 2 weights, 3 times, into .*/out/small\.previews\.png$'
[ "$(grep -c '"step": ' out/small.log.jsonl)" = 5 ] || complain 'the log has not a line for each step and the beginning'
[ "$(grep -c '"effect": ' out/small.log.jsonl)" = 3 ] || complain 'the effect was not measured at the beginning, after 2 and 4 steps'
grep -q '^{"step": 4, "loss": [0-9.e-]*, "loss_mean": [0-9.e-]*, "lr": 0.001, "grad_norm": [0-9.e-]*, "entry": "small.yaml:2", "timestep": [0-9.]*, "seconds": [0-9.]*, "effect": ' \
    out/small.log.jsonl || complain 'the last step lacks something'
cp out/small.safetensors watched.safetensors

# It isn't another training for that.
export SOURCE_DATE_EPOCH=1700000000
run 0 "$LECO" train small.yaml
cp out/small.safetensors alone.safetensors
run 0 "$LECO" train small.yaml "${all[@]}" --json
same out/small.safetensors alone.safetensors
prints '"effect": \{' '"effect": -?[0-9.e-]+,' '"kept": null' '"unrelated": (null|[0-9.e-]+),?' '"step": 4'
run 0 "$LECO" train small.yaml --set logging.effect=false --json
prints '"effect": null'

# Off, by another name, in other places.
run 0 "$LECO" train small.yaml --set logging.log=logs/mine.jsonl --set logging.log_every=3 --set logging.tensorboard=tb --set logging.run_name=again
[ "$(sed 's/.*"step": \([0-9]*\).*/\1/' logs/mine.jsonl | tr '\n' ' ')" = '3 4 ' ] || complain "not steps 3 and 4: $(cat logs/mine.jsonl)"
exists tb/again/events.out.tfevents.leco

# Other programs' keys: a line says what happens here.
run 0 "$LECO" train small.yaml --dry-run --set logging.use_wandb=true --set other.use_xformers=true --set 'logging.prompts=[]'
says 'logging.use_wandb: .*sends nothing.*logging.tensorboard' 'other.use_xformers: attention never builds'
[ "$(grep -c use_ stderr)" = 2 ] || complain 'more than one line each'

# An effect that ends it: the file is the finished one, and a line says when.
run 0 "$LECO" train small.yaml --set train.iterations=50 --set train.stop_at_effect=0.00001 --set logging.effect_every=3 --set save.name=short
[ "$(cat stdout)" = "$work/out/short.safetensors" ] || complain 'it has another name'
says 'the effect is [0-9.e-]+ of what is asked for: this ends after [0-9]+ of 50 steps' '^[0-9]+ steps in'
missing out/short.state.safetensors

# Hardly any effect: what to turn is said.
run 0 "$LECO" train small.yaml --set train.lr=1e-9 --set logging.effect_every=2
says '^warning: hardly any effect: 0% of what is asked for: a higher train.lr \(1e-09\), more train.iterations \(4\)'

# What can't be written costs a warning, once, and no training.
if [ -w /dev/full ]; then
    run 0 "$LECO" train small.yaml --set logging.log=/dev/full
    says '^warning: /dev/full: cannot write: .*the training goes on without its log'
    [ "$(grep -c 'without its log' stderr)" = 1 ] || complain 'it is said more than once'
    exists out/small.safetensors
fi

# Asked to stop before the first step, a program that wants JSON gets it.
"$LECO" train small.yaml --json --set train.max_denoising_steps=500 --set train.iterations=100000 --set train.samples_per_trajectory=250 \
    --set save.name=early >stdout 2>stderr </dev/null &
pid=$!
sleep 1
kill -INT "$pid"
for ((i = 0; i < 300; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
kill -KILL "$pid" 2>/dev/null && complain 'still running half a minute after Ctrl-C'
wait "$pid"
status=$?
checks=$((checks + 1))
[ "$status" = 130 ] || complain "exit status $status, not 130"
if ! grep -q '"iterations": [1-9]' stdout; then # it was quick
    prints '^\{$' '"file": null' '"iterations": 0' '"effect": ' '^\}$'
    says 'stopped before the first step was done'
fi

# Stopped, and gone on with: the log has each step once, the sheet each row.
"$LECO" train small.yaml --set train.iterations=100000 --set save.name=long --set save.per_steps=5 "${all[@]}" --set logging.interval=5000 \
    --set logging.effect_every=1000 >stdout 2>stderr </dev/null &
pid=$!
for ((i = 0; i < 600; i++)); do [ -e out/long_000005.safetensors ] || sleep 0.1; done
kill -KILL "$pid"
wait "$pid" 2>/dev/null
exists out/long.state.safetensors
done=$(find out -name 'long_0*.safetensors' | sort | tail -n 1) done=${done%.safetensors} done=$((10#${done##*_}))
run 0 "$LECO" train small.yaml --set "train.iterations=$((done + 7))" --set save.name=long --set save.per_steps=5 "${all[@]}" \
    --set logging.interval=5000 --set logging.effect_every=1000 --resume
sed 's/.*"step": \([0-9]*\).*/\1/' out/long.log.jsonl | cmp -s - <(seq 0 $((done + 7))) || complain 'a step is missing in the log, or twice there'
exists out/long.previews.png

finish
