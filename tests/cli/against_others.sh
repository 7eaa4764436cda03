#!/bin/bash
# bench/against-others.py: what it says without PyTorch; with it and diffusers, a small round of leco and PyTorch. PYTHON
# names the Python to run it with.
. "$(dirname "$0")/support.sh"

python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo 'there is no Python'; exit 77; }
script=$SOURCE/bench/against-others.py
run 0 "$python" "$script" --help
prints '--preset' '--rounds' 'OpenVINO'
run 2 "$python" "$script" --only leco,others
says 'others is none of leco, eager, compiled, openvino'
run 2 "$python" "$script" --preset sd3
says 'sd3'
small=(--width 64 --height 64 --precision float32 --rounds 1 --runs 1 --threads 1)
run 2 "$python" "$script" "${small[@]}" --only eager --a-word-too-many
says 'unrecognized'
if ! "$python" -c 'import torch, diffusers' >/dev/null 2>&1; then finish; fi
run 0 "$python" "$script" "${small[@]}" --only leco,eager --out all.json
prints 'forward, batch 2' 'leco \| [0-9.]+ s \| [0-9]+% of the matrix rate' 'eager \| [0-9.]+ s \| leco is [0-9.]+ times'
run 0 "$python" -c 'import json; r = json.load(open("all.json"))["rounds"][0]; assert r["eager"]["step"] > 0 and r["leco"]["forward"] > 0, r'
finish
