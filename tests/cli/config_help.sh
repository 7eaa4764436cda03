#!/bin/bash
# What a config may hold, as leco train --help-config prints it, and that docs/config.md says the same.
. "$(dirname "$0")/support.sh"

run 0 "$LECO" train --help-config
silent stderr
prints '^network:$' '^  rank: +1 to 1024\.' '\(default: 8; with' '^prompts_file: ' '^  use_wandb: +accepted; nothing is sent' \
    '^  optimizer: +adamw, adam' 'betas=\(0\.9,0\.999\) eps=1e-08 weight_decay=0\.01' 'sgd momentum=0' 'dampening=0 weight_decay=0' 'nesterov=False' 'beta3=None'
awk 'length > 100 { exit 1 }' stdout || complain "--help-config has lines of more than 100 columns"
if grep -q '[`$]' stdout; then complain "--help-config shows marks that are not for people"; fi
run 0 "$LECO" train --help-config=markdown
prints '^\| .rank. \| .8.; with a .prompts_file. .4. \| 1 to 1024\.'
run 2 "$LECO" train --help-config=html
says "not 'html'"
run 2 "$LECO" train --help-confg
says 'did you mean --help-config\?'

# The keys that it prints are those that are understood: each with its own default changes nothing.
config base.yaml
run 0 "$LECO" train base.yaml --dry-run
cp stdout plain
"$LECO" train --help-config=markdown | awk -F' *[|] *' '
    /^<!-- keys of/ { section = $0; gsub(/^<!-- keys of | -->$/, "", section) }
    section ~ /^(prompts|preserve|images|teachers|terms)(\.|$)/ { next } # where a config has none
    $3 ~ /^`/ { sub(/;.*/, "", $3); gsub(/`/, "", $2); gsub(/`/, "", $3); print section "." $2 "=" $3 }' >defaults
grep -q '^train\.lr=3e-4$' defaults || complain "no defaults were found in the tables"
sets=()
while read -r line; do
    case $line in network.rank=* | network.alpha=* | train.iterations=* | train.lr* | train.max_* | train.samples_* | train.timestep_jitter=* | save.*) continue ;; esac
    sets+=(--set "$line")
done <defaults
run 0 "$LECO" train base.yaml --dry-run "${sets[@]}"
same plain stdout

run 0 "$SOURCE/scripts/make-config-tables" --check "$LECO"
finish
