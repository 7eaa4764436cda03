"""Small models with random weights that differ in what real Stable Diffusion models differ in, and what they compute.

Every builder makes one part of a diffusers model folder. Widths are tiny; the structure is that of the real models.
"""

import copy
import json
import os
import shutil

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from fixtures_common import FIXTURES, CaseFile, as_float64, default_float64, generator, in_float64, seed_of

TOKENS = 77

CROSS_DOWN, PLAIN_DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")

# Stable Diffusion 1.5 ships a PNDM configuration, 2.1 a DDIM one and XL an Euler one; whoever wants another sampler
# builds it from the same file. So do these fixtures.
SCHEDULERS = {
    "sd1-like": lambda: PNDMScheduler(**SCHEDULE, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
    "sd2-like": lambda: DDIMScheduler(
        **SCHEDULE, prediction_type="v_prediction", steps_offset=1, set_alpha_to_one=False, clip_sample=False
    ),
    "sdxl-like": lambda: EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
    "odd": lambda: DDIMScheduler(**SCHEDULE, steps_offset=0, set_alpha_to_one=True, clip_sample=False),
}

# conv proj_in/out, attention_head_dim an int (which diffusers reads as the number of heads), plain block last.
# hidden_act, eos_token_id 2 (pooling at the largest id) and the rest follow SD1.5's files.
SD1 = dict(
    unet=dict(
        sample_size=8,
        block_out_channels=(8, 16, 24),
        down_block_types=(CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN),
        up_block_types=(PLAIN_UP, CROSS_UP, CROSS_UP),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=24,
        norm_num_groups=4,
    ),
    text=dict(hidden_size=24, heads=3, layers=4, hidden_act="quick_gelu"),
    vae=dict(
        block_out_channels=(8, 8, 16), layers_per_block=2, norm_num_groups=4, sample_size=32, scaling_factor=0.18215
    ),
)

# linear proj_in/out, heads given level by level, gelu, a text width of its own, v-prediction (in the scheduler).
SD2 = dict(
    unet=dict(
        sample_size=12,
        block_out_channels=(8, 16, 16),
        down_block_types=(CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN),
        up_block_types=(PLAIN_UP, CROSS_UP, CROSS_UP),
        layers_per_block=1,
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=32,
        norm_num_groups=8,
        use_linear_projection=True,
    ),
    text=dict(hidden_size=32, heads=2, layers=3, hidden_act="gelu"),
)

# a plain block first, as many transformer layers as the level's list says, text embedding and sizes added to the
# time embedding, two text encoders of which the second has a projection.
SDXL = dict(
    unet=dict(
        sample_size=16,
        block_out_channels=(8, 16, 16),
        down_block_types=(PLAIN_DOWN, CROSS_DOWN, CROSS_DOWN),
        up_block_types=(CROSS_UP, CROSS_UP, PLAIN_UP),
        layers_per_block=1,
        attention_head_dim=(1, 2, 2),
        transformer_layers_per_block=(1, 2, 3),
        cross_attention_dim=40,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    ),
    text=dict(hidden_size=16, heads=2, layers=3, hidden_act="quick_gelu"),
    text_2=dict(hidden_size=24, heads=3, layers=4, hidden_act="gelu", projection_dim=20),
)

# one head of 12, two of 5, two of 8 and one of 6: head widths that are no multiple of 8. Two layers a block, four
# levels, other groups, and (in the cases) odd sizes.
ODD = dict(
    unet=dict(
        sample_size=9,
        block_out_channels=(12, 10, 16, 6),
        down_block_types=(CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN),
        up_block_types=(PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP),
        layers_per_block=2,
        attention_head_dim=(1, 2, 2, 1),
        cross_attention_dim=20,
        norm_num_groups=2,
        norm_eps=1e-6,
    ),
)

VAE_MID = dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, sample_size=24, scaling_factor=0.5)
VAE_NOMID = dict(
    block_out_channels=(12, 8, 8),
    layers_per_block=1,
    norm_num_groups=2,
    sample_size=24,
    scaling_factor=1.25,
    mid_block_add_attention=False,
    use_quant_conv=False,
    use_post_quant_conv=False,
)


# ---------------------------------------------------------------------------------------------------- building


# Random attention averages almost evenly over its tokens and hardly depends on them. Larger outputs make it count, in
# the text encoder also sharper choices, so that prompts change predictions visibly. More than this amplifies rounding.
GAINS = {"to_out.0": 2.0, "q_proj": 1.7, "k_proj": 1.7, "out_proj": 3.0}


def randomise(model, name):
    """Weights that hide nothing: activations stay about 1, no bias is zero, no norm is the identity."""
    rng = generator(name + " weights")
    done = set()

    def fill(parameter, mean, deviation):
        with torch.no_grad():
            parameter.copy_(mean + deviation * torch.randn(parameter.shape, generator=rng))
        done.add(id(parameter))

    for path, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            gain = next((gain for end, gain in GAINS.items() if path.endswith("." + end)), 1.0)
            fill(module.weight, 0.0, gain * module.weight[0].numel() ** -0.5)
        elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            fill(module.weight, 1.0, 0.2)
        elif isinstance(module, nn.Embedding):
            fill(module.weight, 0.0, 1.0)
        if getattr(module, "bias", None) is not None:
            fill(module.bias, 0.0, 0.2)
    assert done == {id(parameter) for parameter in model.parameters()}, "a parameter was left as it was"
    return model.eval().requires_grad_(False)


def make_text(name, tokenizer, hidden_size, heads, layers, hidden_act, projection_dim=None):
    projected = projection_dim is not None
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=TOKENS,
        hidden_act=hidden_act,
        projection_dim=projection_dim or hidden_size,
        bos_token_id=tokenizer.bos_token_id if projected else 0,
        # 2 is what most files say; transformers then pools at the largest id instead of at the first end token.
        eos_token_id=tokenizer.eos_token_id if projected else 2,
        pad_token_id=1,
    )
    return randomise((CLIPTextModelWithProjection if projected else CLIPTextModel)(config), name)


def make_unet(name, config):
    return randomise(UNet2DConditionModel(**config), name + " unet")


def make_vae(name, config):
    levels = len(config["block_out_channels"])
    vae = AutoencoderKL(
        **config,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
    )
    return randomise(vae, name + " vae")


def save_folder(name, pipeline_class, components):
    """The diffusers layout, with a model_index.json that names what is there."""
    folder = os.path.join(FIXTURES, name)
    index = {"_class_name": pipeline_class, "_diffusers_version": __import__("diffusers").__version__}
    for part, component in components.items():
        shutil.rmtree(os.path.join(folder, part), ignore_errors=True)
        component.save_pretrained(os.path.join(folder, part))
        library = "transformers" if type(component).__module__.startswith("transformers") else "diffusers"
        index[part] = [library, type(component).__name__]
    if pipeline_class.startswith("StableDiffusionPipeline"):
        index.update(safety_checker=[None, None], feature_extractor=[None, None], requires_safety_checker=False)
    with open(os.path.join(folder, "model_index.json"), "w") as out:
        json.dump(index, out, indent=2)
        out.write("\n")


# ------------------------------------------------------------------------------------------------------- cases


def condition(texts, input_ids):
    """(states, pooled) that a U-Net is given: of one text encoder its last states alone; of two as
    StableDiffusionXLPipeline's encode_prompt has them, those before each one's last layer side by side, and the second's
    text_embeds. Both arguments are lists."""
    if len(texts) == 1:
        return texts[0](input_ids[0]).last_hidden_state, None
    out = [text(ids, output_hidden_states=True) for text, ids in zip(texts, input_ids)]
    return torch.cat([one.hidden_states[-2] for one in out], -1), out[-1].text_embeds


def tokenize(tokenizer, texts):
    batch = tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
    return batch.input_ids


def text_cases(fixture, kind, model, input_ids, texts, layers_back=2):
    """Hidden states are numbered as transformers numbers them: 0 is the embeddings, L the last layer before the final
    norm. `clip_skip.<n>` is what diffusers makes of its clip_skip=n (A1111's "clip skip" n+1).
    layers_back: how many layers before the last are recorded, too."""
    exact_model = in_float64(model)

    def run(encoder):
        out = encoder(input_ids, output_hidden_states=True)
        layers = len(out.hidden_states) - 1
        results = {"last_hidden_state": (out.last_hidden_state, "after the final layer norm")}
        for index in range(layers - layers_back, layers + 1):
            results[f"hidden_states.{index}"] = (out.hidden_states[index], f"after layer {index} of {layers}, no norm")
        for skip in range(1, layers_back + 1):
            states = encoder.text_model.final_layer_norm(out.hidden_states[-(skip + 1)])
            results[f"clip_skip.{skip}"] = (states, f"final layer norm of hidden_states.{layers - skip}")
        if hasattr(out, "text_embeds"):
            results["text_embeds"] = (out.text_embeds, "pooled at the first end token, then projected")
        else:
            results["pooler_output"] = (out.pooler_output, "last_hidden_state at the first end token")
        return results

    case = CaseFile(fixture, kind, seed=seed_of(f"{fixture} {kind}"), texts=texts)
    case.add("input_ids", input_ids, "token ids, padded to 77")
    with default_float64():
        exact = run(exact_model)
    for name, (tensor, meaning) in run(model).items():
        case.add(name, tensor, meaning, exact=exact[name][0])
    case.write()


def unet_inputs(unet, rng, height, width, timesteps, conditions=None):
    """Inputs of one U-Net call, as keyword arguments: random ones, but for given conditions [n,77,D]."""
    batch, config = len(timesteps), unet.config
    inputs = dict(
        sample=torch.randn(batch, config.in_channels, height, width, generator=rng),
        timestep=torch.tensor(timesteps),
        encoder_hidden_states=torch.randn(batch, TOKENS, config.cross_attention_dim, generator=rng),
    )
    if conditions is not None:
        inputs["encoder_hidden_states"] = conditions[:batch]
    if config.addition_embed_type == "text_time":
        width_of_text = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        sizes = [[1024 - 128 * i, 768 + 64 * i, 8 * i, 64 * i, 1024, 512 + 100 * i] for i in range(batch)]
        inputs["added_cond_kwargs"] = dict(
            text_embeds=torch.randn(batch, width_of_text, generator=rng),
            time_ids=torch.tensor(sizes, dtype=torch.float32),
        )
    return inputs


def add_unet_inputs(case, prefix, inputs):
    case.add(prefix + "sample", inputs["sample"], "noisy latents")
    case.add(prefix + "timestep", inputs["timestep"], "one a sample", may_vanish=True)
    case.add(prefix + "encoder_hidden_states", inputs["encoder_hidden_states"], "text conditioning")
    if "added_cond_kwargs" in inputs:
        case.add(prefix + "text_embeds", inputs["added_cond_kwargs"]["text_embeds"], "pooled text conditioning")
        case.add(prefix + "time_ids", inputs["added_cond_kwargs"]["time_ids"], "original size, crop, target size")


def unet_cases(fixture, unet, shapes, conditions=None):
    """shapes: (height, width, timesteps of the batch)."""
    exact_unet = in_float64(unet)
    case = CaseFile(fixture, "unet", seed=seed_of(f"{fixture} unet cases"), cases=len(shapes))
    rng = generator(f"{fixture} unet cases")
    for index, (height, width, timesteps) in enumerate(shapes):
        inputs = unet_inputs(unet, rng, height, width, timesteps, conditions)
        prefix = f"case{index}."
        add_unet_inputs(case, prefix, inputs)
        exact = exact_unet(**as_float64(inputs)).sample
        case.add(prefix + "noise_pred", unet(**inputs).sample, "the model's raw output", exact=exact)
    case.write()


def smooth_picture(rng, batch, height, width):
    coarse = torch.randn(batch, 3, max(2, height // 4), max(2, width // 4), generator=rng)
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False).tanh()


def vae_cases(fixture, vae, sizes=(), pictures=None):
    """Encodes smooth random pictures of these sizes (batch, height, width) and decodes random latents; or encodes the
    given pictures and decodes something close to what they were encoded to."""
    exact_vae = in_float64(vae)
    rng = generator(f"{fixture} vae cases")
    case = CaseFile(fixture, "vae", seed=seed_of(f"{fixture} vae cases"), cases=len(pictures or sizes))
    for index, sample in enumerate(pictures or (smooth_picture(rng, *size) for size in sizes)):
        prefix = f"case{index}."
        posterior, exact = vae.encode(sample).latent_dist, exact_vae.encode(sample.double()).latent_dist
        case.add(prefix + "encoder.sample", sample, "picture in [-1,1]")
        case.add(prefix + "encoder.latent_mean", posterior.mean, "not multiplied by scaling_factor", exact=exact.mean)
        case.add(
            prefix + "encoder.latent_logvar",
            posterior.logvar,
            "clamped to [-30,20] as diffusers does",
            exact=exact.logvar,
        )
        noise = torch.randn(posterior.mean.shape, generator=rng)
        latents = noise if pictures is None else posterior.mean + 0.05 * noise
        decoded, exact = vae.decode(latents).sample, exact_vae.decode(latents.double()).sample
        case.add(prefix + "decoder.latents", latents, "as AutoencoderKL.decode takes them: scaling_factor divided out")
        case.add(prefix + "decoder.sample", decoded, "picture, not clamped", exact=exact)
    case.write()


def generate_case(
    fixture,
    tokenizer,
    text_encoder,
    unet,
    vae,
    scheduler,
    prompt,
    negative,
    size=(8, 12),
    steps=10,
    name="generate",
    prepare=None,
    second=None,
    zeros=None,
):
    """A whole picture through StableDiffusionPipeline: DDIM, given initial latents of that size. Returns it.
    prepare: loads adapters into a pipeline, which then has copies of the parts. second: (tokenizer, text encoder) where
    there are two of them, for StableDiffusionXLPipeline, with its force_zeros_for_empty_prompt, which may be given as zeros."""
    exact = {"text_encoder": in_float64(text_encoder), "unet": in_float64(unet), "vae": in_float64(vae)}
    parts = {"text_encoder": text_encoder, "unet": unet, "vae": vae}
    if second:
        exact["text_encoder_2"], parts["text_encoder_2"] = in_float64(second[1]), second[1]
        family, more = StableDiffusionXLPipeline, dict(add_watermarker=False)
        if zeros is not None:
            more["force_zeros_for_empty_prompt"] = zeros
    else:
        family = StableDiffusionPipeline
        more = dict(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    rng = generator(f"{fixture} {name}")
    latents = torch.randn(1, 4, *size, generator=rng)
    factor = 2 ** (len(vae.config.block_out_channels) - 1)

    def run(modules, start, output_type):
        if prepare:
            modules = copy.deepcopy(modules)
        tokenizers = dict(tokenizer=tokenizer, **(dict(tokenizer_2=second[0]) if second else {}))
        pipeline = family(
            **modules,
            **more,
            **(copy.deepcopy(tokenizers) if prepare else tokenizers),
            scheduler=DDIMScheduler.from_config(scheduler.config, clip_sample=False),
        )
        pipeline.set_progress_bar_config(disable=True)
        if prepare:
            prepare(pipeline)
        return pipeline(
            prompt,
            negative_prompt=negative,
            latents=start,
            guidance_scale=4.0,
            num_inference_steps=steps,
            height=size[0] * factor,
            width=size[1] * factor,
            output_type=output_type,
        ).images

    case = CaseFile(
        fixture,
        name,
        seed=seed_of(f"{fixture} {name}"),
        prompt=prompt,
        **({"force_zeros_for_empty_prompt": zeros} if negative is None else {"negative_prompt": negative}),
        steps=steps,
        guidance_scale=4.0,
        scheduler="DDIM",
    )
    case.noise_limit *= steps  # each step adds its rounding, and guidance multiplies it; pictures are compared in 255ths
    case.add("latents", latents, "initial noise")
    for tensor, output_type, meaning in (
        ("final_latents", "latent", "after the last step"),
        ("image", "pt", "picture in [0,1], clamped"),
    ):
        with default_float64():
            reference = run(exact, latents.double(), output_type)
        case.add(tensor, run(parts, latents, output_type), meaning, exact=reference)
    case.write()
    return case.tensors["image"]
