#!/bin/sh
# Regenerates the parity fixtures on a machine that has only Python 3.11 (or 3.12) and the network: makes a virtual
# environment with the versions they were made with, then runs tools/export_fixtures.py with the given arguments.
#
#   tools/export_fixtures.sh [NAME...]        VENV=folder chooses where the environment lives (about 6 GB)
set -eu
cd "$(dirname "$0")/.."
venv=${VENV:-build/fixtures-venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch==2.8.0 diffusers==0.35.2 transformers==4.57.6 tokenizers==0.22.2 \
        accelerate==1.15.0 peft==0.21.2 safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0 regex==2026.11.15 ftfy==6.3.1 \
        lion-pytorch==0.2.3 scipy==1.17.1 lycoris-lora==4.1.3 einops==0.8.2 toml==0.10.2 \
        prodigyopt==1.1.2 dadaptation==3.2 schedulefree==1.4.1
fi
exec "$venv/bin/python" tools/export_fixtures.py "$@"
