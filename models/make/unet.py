"""Trains a model's U-Net and text encoder together, from scratch, on latents of its world.

    python unet.py shapes --minutes 60 --threads 1
    python unet.py shapes-v --minutes 60 --threads 1

Both minimise the squared error of v, an epsilon-prediction's being its own over the square root of alpha_bar: in epsilon's
own measure the noisiest timesteps, which decide on the background and on what is drawn where, hardly count: after 50,000
pictures it drew backgrounds at random, when v-prediction had them all right. Timesteps nearly free of noise are drawn less
often.

Weights that are matrices are trained with Muon, the rest with AdamW. From one checkpoint of shapes-v (8,400 steps of AdamW), on
the same pictures, noise and learning rate, Muon's loss was 4 to 5% lower after 50 steps, and stayed so for the 450 compared.
"""

import argparse
import logging

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

import common
import muon
import text
import vae as autoencoder
import world

SEEDS = {"shapes": 21, "shapes-v": 22}
BATCH = 32
RATE = 1e-3
SNR_LIMIT = 5.0  # noise levels cleaner than this signal-to-noise ratio are drawn less often

PREDICTION = {"shapes": "epsilon", "shapes-v": "v_prediction"}
ATTENTION = {
    "shapes": {"attention_head_dim": 3, "use_linear_projection": False},  # as in SD1: the number of heads
    "shapes-v": {"attention_head_dim": (3, 6, 9), "use_linear_projection": True},  # as in SD2: that number, per level
}

log = logging.getLogger("unet")


def build(name):
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(48, 96, 144),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=16,
        cross_attention_dim=text.SHAPES[name]["hidden_size"],
        **ATTENTION[name],
    )


def build_scheduler(name):
    """As in the folders of SD1.5 and SD2.1."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=PREDICTION[name],
    )


class TextToNoise(torch.nn.Module):
    """The two trained parts: token ids to hidden states to a prediction."""

    def __init__(self, name, tokenizer):
        super().__init__()
        self.text_encoder = text.build_encoder(name, tokenizer)
        self.unet = build(name)

    def forward(self, noisy, timesteps, tokens):
        states = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timesteps, states).sample


def checkpoint(name):
    return common.SCRATCH / f"unet-{name}.pt"


def load(name, tokenizer):
    """The averaged weights; eval mode."""
    model = TextToNoise(name, tokenizer)
    model.load_state_dict(torch.load(checkpoint(name), map_location="cpu")["average"])
    return model.requires_grad_(False).eval()


@torch.no_grad()
def latents(name):
    """Unscaled latents float32 [N, 4, 16, 16] of the training renders, computed once with the encoder of stage `both`."""
    path = common.SCRATCH / f"latents-{name}.npy"
    if not path.exists():
        pictures, vae = common.renders(name, "train")[0], autoencoder.load("both")
        batches = (common.to_tensor(pictures[i : i + 100]) for i in range(0, len(pictures), 100))
        np.save(path, np.concatenate([vae.encode(x).latent_dist.mean.numpy() for x in batches]))
    return torch.from_numpy(np.load(path))


def scaling_factor():
    """1 / standard deviation of the first world's latents; both models use it."""
    return 1.0 / latents("shapes").std().item()


def timestep_table(alpha_bar):
    """Cumulative probabilities [1000] of the timesteps."""
    snr = alpha_bar / (1 - alpha_bar)
    weight = (1 + snr).clamp(max=1 + SNR_LIMIT) / (1 + snr) + 0.1
    return torch.cumsum(weight, 0) / weight.sum()


def training_loss(model, name, clean, noise, alpha_bar, timesteps, tokens):
    """Mean squared error of v. clean, noise [N, 4, 16, 16]; alpha_bar of the timesteps [N, 1, 1, 1]."""
    signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = signal * clean + sigma * noise
    with torch.autocast("cpu", torch.bfloat16):
        predicted = model(noisy, timesteps, tokens).float()
    if PREDICTION[name] == "epsilon":
        error = (predicted - noise) / signal
    else:
        error = predicted - (signal * noise - sigma * clean)
    return error.square().mean()


def build_optimizers(model):
    """Muon for matrices and convolutions; AdamW for vectors, embeddings, and the convolutions that face the latents."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        inner = parameter.ndim >= 2 and not any(part in name for part in ("embedding.weight", "conv_in", "conv_out"))
        (matrices if inner else others).append(parameter)
    return (
        muon.Muon(matrices, lr=RATE),
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=tuple(world.WORLDS))
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    name = options.name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEEDS[name])

    data = (latents(name) * scaling_factor()).to(memory_format=torch.channels_last)
    attributes = common.renders(name, "train")[1]
    tokenizer = text.build_tokenizer(name)
    alpha_bar = build_scheduler(name).alphas_cumprod
    table = timestep_table(alpha_bar)

    model = TextToNoise(name, tokenizer).to(memory_format=torch.channels_last)
    # Attention in plain matrix products: PyTorch's flash attention takes a third of a step on CPUs, in its backward pass.
    model.unet.set_attn_processor(AttnProcessor())
    model.text_encoder.set_attn_implementation("eager")
    log.info("%.2f M parameters", sum(p.numel() for p in model.parameters()) / 1e6)
    state = torch.load(checkpoint(name), map_location="cpu") if checkpoint(name).exists() else None
    if state:
        model.load_state_dict(state["model"])
    average = common.Average(model, 0.999)
    optimizers = build_optimizers(model)
    step = 0
    if state:
        average.module.load_state_dict(state["average"])
        step = average.steps = state["step"]
        for optimizer, saved in zip(optimizers, state["optimizers"] or ()):
            optimizer.load_state_dict(saved)
    rng = np.random.default_rng([SEEDS[name], step])
    loss_function = torch.compile(training_loss)

    def batch():
        chosen = rng.integers(len(data), size=BATCH)
        captions = [world.caption(attributes[i], rng) for i in chosen]
        spread = (torch.arange(BATCH) + torch.rand(BATCH)) / BATCH  # one draw from each of BATCH equal slices
        timesteps = torch.searchsorted(table, spread).clamp(max=len(table) - 1)
        clean = data[torch.from_numpy(chosen)]
        return clean, torch.randn_like(clean), alpha_bar[timesteps].view(-1, 1, 1, 1), timesteps, text.tokenize(tokenizer, captions)

    def save():
        common.save_checkpoint(
            checkpoint(name),
            model=model.state_dict(),
            average=average.module.state_dict(),
            optimizers=[optimizer.state_dict() for optimizer in optimizers],
            step=step,
            spent=clock.spent(),
        )

    loss_function(model, name, *batch()).backward()  # compile before the clock starts
    model.zero_grad()
    clock = common.Clock(options.minutes, state["spent"] if state else 0.0)
    losses = []
    while clock.fraction() < 1:
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = RATE * clock.rate(step)
        loss = loss_function(model, name, *batch())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()
        average.update(model)
        step += 1
        losses.append(loss.item())
        if step % 50 == 0:
            log.info("step %d, %.1f min, loss %.4f", step, clock.spent() / 60, np.mean(losses))
            losses.clear()
        if step % 200 == 0:
            save()
    save()


if __name__ == "__main__":
    main()
