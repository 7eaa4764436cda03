#!/bin/bash
# bench/against-torch.py: what it says without PyTorch; with it and diffusers, a look at a tiny U-Net, whose gradients
# must not be zero. PYTHON names the Python to run it with.
. "$(dirname "$0")/support.sh"

python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo 'there is no Python'; exit 77; }
script=$SOURCE/bench/against-torch.py
run 0 "$python" "$script" --help
prints '--preset' '--seconds' 'reduce-overhead'
run 2 "$python" "$script" --modes eager,fastest
says 'fastest is none of eager, default'
run 2 "$python" "$script" --preset sd3
says 'sd3'
if ! "$python" -c 'import torch, diffusers' >/dev/null 2>&1; then finish; fi

# SD1.5 has 192 layers with a LoRA; a forward has as many operations as leco counts.
run 0 "$python" "$script" --preset sd15 --count
prints '"adapted_layers": 192' '"gflop": 1606\.5468'
run 0 "$python" "$script" --tiny --modes eager --out times.json
prints 'eager +forward +2' 'eager +step +1' 'eager +teachers +3' '500 updates'
run 0 "$python" -c 'import json; step = json.load(open("times.json"))["results"]["eager"]["step"]
assert step["zero_gradients"] == 0 and step["gradient_norm"] > 0 and step["finite"], step'
run 1 "$python" "$script" --tiny --seconds 0
prints 'Skipped' 'eager, forward: ' 'WRONG: nothing was timed'
finish
