#!/bin/sh
# Makes models/shapes, models/shapes-v and models/shapes-probe from nothing, on a machine with Python 3.11 and a C++ compiler.
# Usage: models/make/make.sh [MINUTES]   (of training per U-Net; everything else scales with it; default 60)
# Interrupted, it goes on where it stopped: checkpoints live in $LECO_MODELS_SCRATCH (default: models/make/scratch).
set -eu

minutes=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
LECO_MODELS_SCRATCH=${LECO_MODELS_SCRATCH:-$here/scratch}
export LECO_MODELS_SCRATCH
mkdir -p "$LECO_MODELS_SCRATCH"

python=$LECO_MODELS_SCRATCH/venv/bin/python
if [ ! -x "$python" ]; then
    python3 -m venv "$LECO_MODELS_SCRATCH/venv"
    "$python" -m pip install -r "$here/requirements.txt"
fi

cd "$here"
"$python" vae.py both --minutes $((minutes / 2 + 1))
"$python" vae.py whiten
"$python" -c 'import unet; unet.latents("shapes"); unet.latents("shapes-v")' # both trainings read the first's
"$python" probe.py --minutes $((minutes / 6 + 1)) &
probe=$!
"$python" unet.py shapes --minutes "$minutes" &
first=$!
"$python" unet.py shapes-v --minutes "$minutes" &
second=$!
wait $probe
wait $first
wait $second
"$python" vae.py decoder --minutes $((minutes / 4 + 1))
for name in shapes shapes-v; do
    "$python" export.py $name
    "$python" evaluate.py $name --threads 2
done
