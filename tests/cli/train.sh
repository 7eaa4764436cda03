#!/bin/bash
# leco train, and what it writes.
. "$(dirname "$0")/support.sh"
config small.yaml

# A plan only.
run 0 "$LECO" train small.yaml --dry-run
prints 'peak memory: [0-9.]+ MiB planned' "trains on 1 of each denoising run's 4 steps" "^writes +$work/out/small.safetensors$"
prints '^mid_block\.attentions\.0\.proj_in +lora +rank 2 +alpha 1 +[0-9x]+ +[0-9]+$' '^[0-9]+ layers, [0-9]+ values in all$'
missing out
count=$(grep -oE '[0-9]+ parameters' stdout)

run 0 "$LECO" train small.yaml
prints "^$work/out/small.*\.safetensors$"
[ "$(wc -l <stdout)" = 1 ] || complain 'more than one line of results'
says '^4 steps in .* s; loss [0-9.e-]+ at first, [0-9.e-]+ at last \(means of the first and the last tenth of the steps\); '
[ "$(grep -c loss stderr)" = 1 ] || complain 'losses are told twice'
grep -q 'small\.safetensors' stderr && complain 'the file is named on stderr, too'
first=$(cat stdout)
exists "$first"

# Trained twice, equal; with another seed, different.
cp "$first" first.safetensors
run 0 "$LECO" train small.yaml
cmp -s <(tail -c 4096 first.safetensors) <(tail -c 4096 "$first") || complain 'two runs of one config differ'
run 0 "$LECO" train small.yaml --set train.seed=99 --set save.name=other
cmp -s <(tail -c 4096 first.safetensors) <(tail -c 4096 "$(cat stdout)") && complain 'another seed gave the same'

# What the plan says is what is then allocated; overrides count; saves on the way.
run 0 "$LECO" train small.yaml --json --set train.iterations=6 --set save.per_steps=2 --set save.name=often
prints '"iterations": 6' '"file": ".*often.*safetensors"'
planned=$(sed -n 's/.*"planned_bytes": \([0-9]*\).*/\1/p' stdout) measured=$(sed -n 's/.*"measured_bytes": \([0-9]*\).*/\1/p' stdout)
if [ "$planned" != "$measured" ] || [ "$planned" -le 0 ]; then complain "planned $planned bytes, allocated $measured"; fi
says '^saved .*/out/often_000002\.safetensors$'
[ "$(find out -name 'often*.safetensors' | wc -l)" = 3 ] || complain "not three saves: $(ls out)"
run 0 "$LECO" train small.yaml --dry-run --json
[ "$(sed -n 's/.*"planned_bytes": \([0-9]*\).*/\1/p' stdout)" = "$planned" ] || complain 'the dry run plans something else'
prints '"file": null' '"first_loss": null' '"last_loss": null' '"layer": "mid_block\.attentions\.0\.proj_in"' '"rank": 2'

# Kinds, layers chosen by patterns, a file to start from; what is chosen is listed, a pattern for nothing refused.
run 0 "$LECO" train small.yaml --dry-run --set network.type=c3lier --set 'network.include=[mid_block.resnets]' \
    --set network.conv_dim=1 --set 'network.ranks=[{match: conv2, alpha: 3}]'
prints '^mid_block\.resnets\.0\.conv1 +lora +rank 1 +alpha 1 +[0-9]+x[0-9]+x3x3 ' 'conv2 +lora +rank 1 +alpha 3 ' 'several ranks'
run 1 "$LECO" train small.yaml --dry-run --set network.exclude=atn2
says 'network\.exclude: "atn2" matches no layer; did you mean "attn2"'
for kind in loha lokr dora; do
    run 0 "$LECO" train small.yaml --set network.kind=$kind --set network.type=c3lier --set save.name=$kind
    run 0 "$LECO" inspect out/$kind.safetensors
    prints "^kind +$kind\$" 'modules [0-9]+, rank' 'ss_network_module +lycoris\.kohya' "ss_network_args +.*\"algo\": \"(loha|lokr|locon)\""
    run 0 "$LECO" train small.yaml --set network.kind=$kind --set network.type=c3lier --set save.name=more \
        --set network.start_from=out/$kind.safetensors
    run 0 "$LECO" inspect out/more.safetensors
    prints "leco_start_from +$kind\.safetensors"
done
run 1 "$LECO" train small.yaml --set network.start_from=out/lokr.safetensors
says 'lokr\.safetensors.*say kind: lokr'
run 0 "$LECO" train small.yaml --set network.dropout=0.2 --set network.module_dropout=0.1 --set save.name=dropped
run 0 "$LECO" inspect out/dropped.safetensors
prints 'ss_network_dropout +0\.2$' '"module_dropout": "0\.1"'

# The text side: a LoRA of the text encoder; an embedding, of which the next training's prompts may make use.
run 0 "$LECO" train small.yaml --set network.text_encoder=true --set save.name=text
run 0 "$LECO" inspect out/text.safetensors
prints 'text_encoder yes'
word='network={type: embedding, token: <thing>, vectors: 2, init: red}'
entry='prompts=[{target: a <thing>, positive: red, neutral: a circle}]'
run 0 "$LECO" train small.yaml --set "$word" --set "$entry" --set save.name=thing
run 0 "$LECO" inspect out/thing.safetensors
prints '^kind +embedding' 'vectors 2' 'token <thing>' 'stable-diffusion-v1/textual-inversion'
run 0 "$LECO" train small.yaml --embedding out/thing.safetensors --set 'prompts.0.positive=a <thing>' --set save.name=next
run 1 "$LECO" train small.yaml --set "$word" --set "$entry" --embedding out/thing.safetensors
says '"<thing>" is a token of another embedding already'

# Other settings of the loop.
run 0 "$LECO" train small.yaml --set train.samples_per_trajectory=3 --set train.timestep_jitter=true --set prompts.0.action=enhance
run 0 "$LECO" train small.yaml --set train.optimizer=sgd --set train.batch_size=2 --set network.training_method=xattn
run 0 "$LECO" train small.yaml --set train.optimizer=adam --set train.precision=bfloat16

# What comes out is a LoRA: it can be looked at, drawn with, and has what other programs look for.
run 0 "$LECO" inspect "$first"
prints 'rank' 'ss_network_dim' 'modelspec' "^parameters  ${count% parameters}$"
run 0 "$LECO" inspect "$first" --json
prints '^\{'
run 0 "$LECO" generate -m "$model" --lora "$first:0.5" -p 'a red circle' --steps 2 -o drawn.png
is_png drawn.png
grep -aq 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight' "$first" || complain 'no kohya key'
[ -z "$(find . -name '.leco-*')" ] || complain "temporary files are left: $(find . -name '.leco-*')"

# Paths in a config are the config's own, wherever leco is started.
mkdir -p deep/er
sed "s|path: .*|path: ../trained|; s|name_or_path: .*|name_or_path: ../copied|" small.yaml >deep/moved.yaml
copy_model copied
(cd deep/er && "$LECO" train ../moved.yaml -q >/dev/null) || complain 'a config elsewhere fails'
exists trained/small*.safetensors
# Every scheduler makes trajectories, jittered where there is room, also with Karras' sigmas where it knows them.
config small.yaml
for scheduler in ddim ddpm lms euler euler_a dpmpp_2m dpmpp_2m_sde heun uni_pc; do
    for spacing in leading trailing; do
        run 0 "$LECO" train small.yaml --set train.noise_scheduler=$scheduler --set train.timestep_spacing=$spacing \
            --set train.timestep_jitter=true --set train.samples_per_trajectory=3 --set save.name=$scheduler-$spacing
        exists out/$scheduler-$spacing.safetensors
        says 'loss [0-9.]+ at first, [0-9.]+ at last'
    done
    case $scheduler in
    dd*)
        run 1 "$LECO" train small.yaml --set train.noise_scheduler=$scheduler --set train.karras_sigmas=true
        says "train\.karras_sigmas: $scheduler steps on timesteps"
        ;;
    *)
        run 0 "$LECO" train small.yaml --set train.noise_scheduler=$scheduler --set train.karras_sigmas=true --set save.name=k
        says 'loss [0-9.]+ at first, [0-9.]+ at last'
        ;;
    esac
done
run 0 "$LECO" train small.yaml --dry-run --set train.noise_scheduler=heun
prints "1 of each denoising run's 7 steps"
for scheduler in ddpm lms euler_a; do
    run 0 "$LECO" train small.yaml --set train.noise_scheduler=$scheduler --set train.timestep_compat=p1atdev --set save.name=p
done
finish
