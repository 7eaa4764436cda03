#!/bin/bash
# leco bench, on a model that takes no time.
. "$(dirname "$0")/support.sh"

run 0 "$LECO" bench -m "$model" --precision float32
prints 'GFLOP' '(forward|Forward)' '(backward|Backward)' '(MiB|GiB)'
run 0 "$LECO" bench -m "$model" --precision float32 --json
prints '^\{'
run 1 "$LECO" bench -m nowhere
says 'nowhere'
finish
