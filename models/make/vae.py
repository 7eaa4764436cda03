"""Trains the autoencoder that both models share: 64x64 pictures to 16x16 latents of 4 channels.

Two stages, each with a time budget, and a step between. `both` trains encoder and decoder. `whiten` then changes the
coordinates of its latents so that their four channels have mean 0, variance 1 and no correlation: trained alone, an
autoencoder hides colours in small differences of large channels, which a U-Net sees last. These latents are what the
U-Nets learn, so they may start now. `decoder` improves the decoder alone, on the frozen encoder's latents, with a little
noise added, since a U-Net's latents are not exact either.

    python vae.py both --minutes 25
    python vae.py whiten
    python vae.py decoder --minutes 15
"""

import argparse
import logging

import numpy as np
import torch
from diffusers import AutoencoderKL

import common

SEED = 11
BATCH = 8
RATE = {"both": 2.5e-3, "decoder": 1e-3}
KL_WEIGHT = 2e-7  # of the sum over a latent; the mean squared error beside it is a mean over pixels
L1_WEIGHT = 0.02
LATENT_NOISE = 0.04  # in standard deviations, when the decoder is trained alone

log = logging.getLogger("vae")


def build():
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    )


def checkpoint(stage):
    return common.SCRATCH / f"vae-{stage}.pt"


def load(stage=None):
    """The averaged weights of a stage, by default of the latest that has a checkpoint; eval mode."""
    stage = stage or ("decoder" if checkpoint("decoder").exists() else "both")
    vae = build()
    vae.load_state_dict(torch.load(checkpoint(stage), map_location="cpu")["average"])
    return vae.requires_grad_(False).eval().to(memory_format=torch.channels_last)


def training_loss(vae, stage, pictures, noise, latent_scale):
    """Scalar loss and mean squared error. pictures [N, 3, 64, 64], noise [N, 4, 16, 16]."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(stage == "both"):
            moments = vae.quant_conv(vae.encoder(pictures)).float()
        mean, log_variance = moments.chunk(2, dim=1)
        log_variance = log_variance.clamp(-20, 10)
        if stage == "both":
            latents = mean + torch.exp(0.5 * log_variance) * noise
        else:
            latents = mean + latent_scale * noise
        drawn = vae.decoder(vae.post_quant_conv(latents)).float()
    error = drawn - pictures
    squared = error.square().mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum((1, 2, 3)).mean()
    return squared + L1_WEIGHT * error.abs().mean() + KL_WEIGHT * divergence * (stage == "both"), squared


@torch.no_grad()
def psnr(vae, pictures, batch=100):
    """Mean over pictures of the PSNR (dB, of the range [-1, 1]) of decode(encode(x)), the encoder's mean; uint8 in."""
    errors = []
    for start in range(0, len(pictures), batch):
        x = common.to_tensor(pictures[start : start + batch])
        drawn = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        errors.append((drawn - x).square().mean((1, 2, 3)))
    errors = torch.cat(errors)
    return (10 * torch.log10(4 / errors)).mean().item(), (10 * torch.log10(4 / errors.mean())).item()


def change_coordinates(state, matrix, mean):
    """Makes a state dict's latents matrix (z - mean), the pictures staying the same: the two 1x1 convolutions beside
    the latents take the change. The predicted variance becomes one per channel (it is tiny, and samplers ignore it)."""
    weight, bias = state["quant_conv.weight"], state["quant_conv.bias"]
    variance = matrix.square() @ bias[4:].exp()
    weight[:4] = torch.einsum("ij,jkhw->ikhw", matrix, weight[:4])
    weight[4:] = 0
    bias[:4] = matrix @ (bias[:4] - mean)
    bias[4:] = variance.log()
    weight, bias = state["post_quant_conv.weight"], state["post_quant_conv.bias"]
    bias += weight[:, :, 0, 0] @ mean
    weight[:, :, 0, 0] = weight[:, :, 0, 0] @ torch.linalg.inv(matrix)


def whiten():
    """Whitens the latents of all checkpoints with the statistics of the first world's renders."""
    pictures = common.to_tensor(common.renders("shapes", "train")[0][:2000])
    with torch.no_grad():
        latents = load("both").encode(pictures).latent_dist.mean.permute(1, 0, 2, 3).flatten(1).double()
    mean, (variances, axes) = latents.mean(1), torch.linalg.eigh(torch.cov(latents))
    matrix = (axes @ torch.diag(variances.rsqrt()) @ axes.T).float()
    log.info("standard deviations along the latents' axes: %s", variances.sqrt().tolist())
    for stage in ("both", "decoder"):
        if not checkpoint(stage).exists():
            continue
        state = torch.load(checkpoint(stage), map_location="cpu")
        for weights in (state["model"], state["average"]):
            change_coordinates(weights, matrix, mean.float())
        # The optimizer's moments are those of the old coordinates; training on starts afresh.
        common.save_checkpoint(checkpoint(stage), **{**state, "optimizer": None})
    for path in common.SCRATCH.glob("latents-*.npy"):
        path.unlink()  # computed anew when a U-Net wants them


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("both", "whiten", "decoder"))
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    if options.stage == "whiten":
        return whiten()
    if not options.minutes:
        parser.error("--minutes is needed to train")

    pictures = [common.renders(name, "train")[0] for name in ("shapes", "shapes-v")]
    held_out = common.renders("shapes-v", "held-out")[0][:256]
    vae = build().to(memory_format=torch.channels_last)
    state = None
    if checkpoint(options.stage).exists():
        state = torch.load(checkpoint(options.stage), map_location="cpu")
        vae.load_state_dict(state["model"])
    elif options.stage == "decoder":
        vae.load_state_dict(torch.load(checkpoint("both"), map_location="cpu")["average"])
    average = common.Average(vae, 0.998)
    trained = list(vae.parameters())
    if options.stage == "decoder":
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
        trained = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=RATE[options.stage], betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    if state:
        average.module.load_state_dict(state["average"])
        average.steps = state["step"]
        if state["optimizer"]:
            optimizer.load_state_dict(state["optimizer"])
    step = state["step"] if state else 0
    rng = np.random.default_rng([SEED, step])
    latent_scale = 0.0
    if options.stage == "decoder":
        with torch.no_grad():
            latent_scale = LATENT_NOISE * vae.encode(common.to_tensor(held_out)).latent_dist.mean.std().item()

    loss_function = torch.compile(training_loss)
    x = common.to_tensor(held_out[:BATCH])  # compile before the clock starts
    loss_function(vae, options.stage, x, torch.randn(BATCH, 4, 16, 16), latent_scale)[0].backward()
    optimizer.zero_grad()
    clock = common.Clock(options.minutes, state["spent"] if state else 0.0)
    smoothed = None
    while clock.fraction() < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE[options.stage] * clock.rate(step)
        source = pictures[step % len(pictures)]
        x = common.to_tensor(source[np.sort(rng.integers(len(source), size=BATCH))])
        loss, squared = loss_function(vae, options.stage, x, torch.randn(BATCH, 4, 16, 16), latent_scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(vae)
        step += 1
        smoothed = squared.item() if smoothed is None else 0.98 * smoothed + 0.02 * squared.item()
        if step % 100 == 0:
            log.info("step %d, %.1f min, mse %.5f (%.2f dB)", step, clock.spent() / 60, smoothed, 10 * np.log10(4 / smoothed))
        if step % 400 == 0 or clock.fraction() >= 1:
            log.info("held-out: %.2f dB, %.2f dB of the mean error", *psnr(average.module, held_out))
            common.save_checkpoint(
                checkpoint(options.stage),
                model=vae.state_dict(),
                average=average.module.state_dict(),
                optimizer=optimizer.state_dict(),
                step=step,
                spent=clock.spent(),
            )


if __name__ == "__main__":
    main()
