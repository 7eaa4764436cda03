"""Rebuilds the scratch folder's checkpoints from the committed models, so that training can go on where no scratch is left.

    python restore.py shapes --minutes 50
    python restore.py shapes-v --minutes 50

Averaged weights in fp16 are what a folder holds; the optimizer's state is lost, and a run from here warms up again. The
clock is set to the given minutes, which decides on how high the learning rate's cosine comes in.
"""

import argparse

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

import common
import text
import unet
import vae as autoencoder
import world


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(world.WORLDS))
    parser.add_argument("--minutes", type=float, required=True, help="what the clock of the U-Net's training shall say")
    options = parser.parse_args()
    folder = common.MODELS / options.name
    common.SCRATCH.mkdir(parents=True, exist_ok=True)

    if not autoencoder.checkpoint("both").exists():
        weights = AutoencoderKL.from_pretrained(folder / "vae").float().state_dict()
        for stage in ("both", "decoder"):  # the encoder, which is all that is used of `both`, is the same in both
            common.save_checkpoint(autoencoder.checkpoint(stage), model=weights, average=weights, optimizer=None, step=0, spent=0.0)

    model = unet.TextToNoise(options.name, text.build_tokenizer(options.name))
    model.text_encoder.load_state_dict(CLIPTextModel.from_pretrained(folder / "text_encoder").float().state_dict())
    model.unet.load_state_dict(UNet2DConditionModel.from_pretrained(folder / "unet").float().state_dict())
    weights = model.state_dict()
    common.save_checkpoint(
        unet.checkpoint(options.name), model=weights, average=weights, optimizers=None, step=0, spent=60 * options.minutes
    )


if __name__ == "__main__":
    main()
