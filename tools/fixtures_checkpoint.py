#!/usr/bin/env python3
"""Writes tests/parity/fixtures/checkpoint/: small models of random weights as checkpoints in one file, under the original
names, and what diffusers' from_single_file makes of them, in float32.

    tools/fixtures_checkpoint.py

The token table, 49408 rows of CLIP's vocabulary, is left out of the files: element i of it is that of token_value below,
and whoever opens one puts it in.
"""

import json
import os
import tempfile

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline,
                       UNet2DConditionModel)
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "tests", "parity", "fixtures", "checkpoint")
TOKENS = 49408
PROMPT = "a large red star, don't"


def token_table(width):
    i = torch.arange(TOKENS * width, dtype=torch.int64)
    return (((i * 2654435761) % 4294967296 // 65536).float() / 65536 - 0.5).reshape(TOKENS, width)


def tokenizer(folder, pad):
    with open(os.path.join(ROOT, "models", "clip", "merges.txt"), encoding="utf-8") as f:
        merges = f.read().split("\n")[1:48895]
    tokens = list(bytes_to_unicode().values())
    tokens += [t + "</w>" for t in tokens] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({t: i for i, t in enumerate(tokens)}, f)
    return CLIPTokenizer(os.path.join(folder, "vocab.json"), os.path.join(ROOT, "models", "clip", "merges.txt"),
                         pad_token=pad, model_max_length=77)


# ---- original names ----


def unet_names(name, layers):
    for new, old in (("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
                     ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
                     ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")):
        if name.startswith(new + "."):
            return old + name[len(new):]
    inner = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
             "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    part = name.split(".")
    if part[0] == "mid_block":
        if part[1] == "attentions":
            return ".".join(["middle_block.1"] + part[3:])
        return ".".join(["middle_block", str(2 * int(part[2])), inner[part[3]]] + part[4:])
    down, level, kind = part[0] == "down_blocks", int(part[1]), part[2]
    block = "input_blocks" if down else "output_blocks"
    if kind == "downsamplers":
        return ".".join([block, str((level + 1) * (layers + 1)), "0.op"] + part[5:])
    if kind == "upsamplers":
        at = level * (layers + 1) + layers
        place = 2 if f"up_blocks.{level}.attentions" in ATTENTIONS else 1
        return ".".join([block, str(at), str(place), "conv"] + part[5:])
    at = level * (layers + 1) + int(part[3]) + (1 if down else 0)
    if kind == "attentions":
        return ".".join([block, str(at), "1"] + part[4:])
    return ".".join([block, str(at), "0", inner[part[4]]] + part[5:])


def vae_names(name, levels):
    if not name.startswith(("encoder.", "decoder.")):
        return name
    half, rest = name.split(".", 1)
    for new, old in (("conv_norm_out", "norm_out"), ("conv_in", "conv_in"), ("conv_out", "conv_out")):
        if rest.startswith(new + "."):
            return half + "." + old + rest[len(new):]
    part = rest.split(".")
    if part[0] == "mid_block" and part[1] == "attentions":
        attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
        tail = part[5:] if part[3] == "to_out" else part[4:]
        return ".".join([half, "mid.attn_1", attention[part[3]]] + tail)
    if part[0] == "mid_block":
        return ".".join([half, f"mid.block_{int(part[2]) + 1}"] + part[3:])
    side, level = ("down", int(part[1])) if part[0] == "down_blocks" else ("up", levels - 1 - int(part[1]))
    if part[2] in ("downsamplers", "upsamplers"):
        return ".".join([half, side, str(level), part[2].removesuffix("rs"), "conv"] + part[5:])
    tail = ["nin_shortcut" if p == "conv_shortcut" else p for p in part[4:]]
    return ".".join([half, side, str(level), "block", part[3]] + tail)


def open_clip(state, layers, spare=True):
    """transformers' text encoder as OpenCLIP's, with a last layer that nothing may use, where it is spare."""
    out = {}
    for name, t in state.items():
        name = name.replace("text_model.", "")
        if name == "embeddings.position_embedding.weight":
            out["positional_embedding"] = t
        elif name.startswith("final_layer_norm"):
            out[name.replace("final_layer_norm", "ln_final")] = t
        elif name.startswith("encoder.layers."):
            part = name.split(".")
            new = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
                   "self_attn.out_proj": "attn.out_proj"}
            inner = ".".join(part[3:-1])
            if inner in new:
                out[".".join(["transformer.resblocks", part[2], new[inner], part[-1]])] = t
    for layer in range(layers):
        for kind in ("weight", "bias"):
            out[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(
                [state[f"text_model.encoder.layers.{layer}.self_attn.{p}_proj.{kind}"] for p in "qkv"])
    out["logit_scale"] = torch.tensor(4.6)
    if not spare:
        out["text_projection"] = state["text_projection.weight"].T
        return out
    last = {n.replace(f"resblocks.{layers - 1}.", f"resblocks.{layers}."): -t for n, t in out.items()
            if f"resblocks.{layers - 1}." in n}
    out.update(last)
    out["text_projection"] = torch.eye(state["text_model.final_layer_norm.weight"].shape[0])
    return out


# ---- models ----

ATTENTIONS = set()  # up blocks that have any


def make(name, second):
    torch.manual_seed(3 if second else 2)
    width = 64 if second else 32
    context = 128 if second else 64
    unet = UNet2DConditionModel(
        sample_size=96 if second else 64, block_out_channels=(width, width), layers_per_block=1, cross_attention_dim=context,
        attention_head_dim=(1, 1) if second else 8, use_linear_projection=second, norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    vae = AutoencoderKL(block_out_channels=(32, 32), layers_per_block=1, latent_channels=4, norm_num_groups=32,
                        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        sample_size=64)
    text = text_of(CLIPTextModel, context, 2, "gelu" if second else "quick_gelu", context)
    with torch.no_grad():
        halve(unet, vae, text)
        text.text_model.embeddings.token_embedding.weight.copy_(token_table(context))
    return unet.eval(), vae.eval(), text.eval()


def original(unet, vae, text, second):
    state = {"model.diffusion_model." + unet_names(n, 1): t for n, t in unet.state_dict().items()}
    for n, t in vae.state_dict().items():
        t = t[:, :, None, None] if n.endswith("weight") and "attentions" in n and t.dim() == 2 else t
        state["first_stage_model." + vae_names(n, 2)] = t
    words = {n: t for n, t in text.state_dict().items() if "position_ids" not in n and "token_embedding" not in n}
    if second:
        state.update({"cond_stage_model.model." + n: t for n, t in open_clip(words, 2).items()})
    else:
        state.update({"cond_stage_model.transformer." + n: t for n, t in words.items()})
        state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["model_ema.decay"] = torch.tensor(0.9999)
    state["alphas_cumprod"] = torch.linspace(1, 0, 1000)
    return state


def save_original(state, name, metadata=None):
    small = {n: (t.half() if t.is_floating_point() else t).contiguous().clone() for n, t in state.items()}
    save_file(small, os.path.join(OUT, name + ".safetensors"), metadata)
    print(name, sum(t.numel() * t.element_size() for t in small.values()), "bytes")
    return small


def halve(*modules):
    for module in modules:
        module.eval()
        for p in module.parameters():
            if p.dim() > 1:
                p.mul_(1.5)
            p.copy_(p.half().float())


def text_of(kind, width, layers, act, projection):
    return kind(CLIPTextConfig(vocab_size=TOKENS, hidden_size=width, intermediate_size=96, num_hidden_layers=layers,
                               num_attention_heads=width // 64, max_position_embeddings=77, hidden_act=act,
                               projection_dim=projection))


@torch.no_grad()
def write_xl(name):
    """Ten layers of the second text encoder: by the tenth diffusers knows the family."""
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        sample_size=128, block_out_channels=(64, 64), layers_per_block=1, cross_attention_dim=192, attention_head_dim=(1, 1),
        transformer_layers_per_block=(1, 2), use_linear_projection=True, norm_num_groups=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=96 + 6 * 256)
    _, vae, _ = make("sd1", False)
    vae.register_to_config(scaling_factor=0.13025)
    text = text_of(CLIPTextModel, 128, 2, "quick_gelu", 128)  # diffusers tells them apart by their widths, too
    text_2 = text_of(CLIPTextModelWithProjection, 64, 10, "gelu", 96)
    halve(unet, text, text_2)
    for t in (text, text_2):
        t.text_model.embeddings.token_embedding.weight.copy_(token_table(t.config.hidden_size))
    ATTENTIONS.clear()
    ATTENTIONS.update(".".join(n.split(".")[:3]) for n in unet.state_dict() if n.startswith("up_blocks"))
    state = {"model.diffusion_model." + unet_names(n, 1): t for n, t in unet.state_dict().items()}
    for n, t in vae.state_dict().items():
        t = t[:, :, None, None] if n.endswith("weight") and "attentions" in n and t.dim() == 2 else t
        state["first_stage_model." + vae_names(n, 2)] = t
    words = [{n: t for n, t in e.state_dict().items() if "position_ids" not in n and "token_embedding" not in n}
             for e in (text, text_2)]
    state.update({"conditioner.embedders.0.transformer." + n: t for n, t in words[0].items()})
    state.update({"conditioner.embedders.1.model." + n: t for n, t in open_clip(words[1], 10, spare=False).items()})
    small = save_original(state, name)

    with tempfile.TemporaryDirectory() as folder:
        tokenizers = []
        for pad in ("<|endoftext|>", "!"):
            os.makedirs(os.path.join(folder, pad))
            tokenizers.append(tokenizer(os.path.join(folder, pad), pad))
        schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                                 set_alpha_to_one=False, steps_offset=1)
        StableDiffusionXLPipeline(vae, text, text_2, *tokenizers, unet, schedule, add_watermarker=False).save_pretrained(
            os.path.join(folder, "model"))
        path = os.path.join(folder, name + ".safetensors")
        save_file({**small, "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": token_table(128),
                   "conditioner.embedders.1.model.token_embedding.weight": token_table(64)}, path)
        pipe = StableDiffusionXLPipeline.from_single_file(path, config=os.path.join(folder, "model"), local_files_only=True,
                                                          torch_dtype=torch.float32, add_watermarker=False)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = schedule
        out = {}
        for i, (words, encoder, twin) in enumerate(((pipe.tokenizer, pipe.text_encoder, text),
                                                    (pipe.tokenizer_2, pipe.text_encoder_2, text_2))):
            end = "_2" if i else ""
            ids = words([PROMPT], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
            out["input_ids" + end], out["hidden" + end] = ids, encoder(ids).last_hidden_state
            assert torch.equal(out["hidden" + end], twin(ids).last_hidden_state)
        g = torch.Generator().manual_seed(5)
        latents = torch.randn(1, 4, 8, 8, generator=g)
        given = dict(text_embeds=torch.randn(1, 96, generator=g), time_ids=torch.tensor([[1024.0, 768, 8, 64, 1000, 512]]))
        out.update(given, latents=latents, context=torch.randn(1, 77, 192, generator=g))
        out["noise_pred"] = pipe.unet(latents, 301, out["context"], added_cond_kwargs=given).sample
        assert torch.equal(out["noise_pred"], unet(latents, 301, out["context"], added_cond_kwargs=given).sample)
        out["decoded"] = pipe.vae.decode(latents).sample
        out["picture_in"] = torch.tanh(out["decoded"])
        out["encoded"] = pipe.vae.encode(out["picture_in"]).latent_dist.mean
        def draw(**negative):
            return pipe(PROMPT, latents=latents, height=16, width=16, num_inference_steps=4, guidance_scale=4.0,
                        output_type="pt", **negative).images

        out["picture"], out["picture_none"] = draw(negative_prompt=""), draw()
        pipe.scheduler = DDIMScheduler.from_config(schedule.config, prediction_type="v_prediction")
        out["picture_v"] = draw(negative_prompt="")
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, rescale_betas_zero_snr=True,
                                                   timestep_spacing="trailing")
        out["picture_ztsnr"] = draw(negative_prompt="")
    save_file({n: t.contiguous().clone() for n, t in out.items()}, os.path.join(OUT, name + "_out.safetensors"),
              {"prompt": PROMPT})


def write(name, second):
    unet, vae, text = make(name, second)
    ATTENTIONS.clear()
    ATTENTIONS.update(".".join(n.split(".")[:3]) for n in unet.state_dict() if n.startswith("up_blocks"))
    state = original(unet, vae, text, second)
    small = save_original(state, name, {"modelspec.prediction_type": "v"} if second else None)

    key = "cond_stage_model.model.token_embedding.weight" if second else \
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        words = tokenizer(folder, "!" if second else "<|endoftext|>")
        schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                                 set_alpha_to_one=False, steps_offset=1,
                                 prediction_type="v_prediction" if second else "epsilon")
        whole = StableDiffusionPipeline(vae, text, words, unet, schedule, None, None, requires_safety_checker=False)
        whole.save_pretrained(os.path.join(folder, "model"))
        path = os.path.join(folder, name + ".safetensors")
        save_file({**small, key: token_table(128 if second else 64)}, path)
        pipe = StableDiffusionPipeline.from_single_file(path, config=os.path.join(folder, "model"), local_files_only=True,
                                                        torch_dtype=torch.float32, safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = schedule
        ids = pipe.tokenizer([PROMPT], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        hidden = pipe.text_encoder(ids)[0]
        assert torch.equal(hidden, text(ids)[0]), "diffusers reads another text encoder out of the file"
        g = torch.Generator().manual_seed(5)
        latents = torch.randn(1, 4, 8, 8, generator=g)
        out = {"input_ids": ids, "hidden": hidden, "latents": latents,
               "noise_pred": pipe.unet(latents, 301, encoder_hidden_states=hidden).sample,
               "decoded": pipe.vae.decode(latents).sample,
               "encoded": pipe.vae.encode(torch.tanh(pipe.vae.decode(latents).sample)).latent_dist.mean,
               "picture_in": torch.tanh(pipe.vae.decode(latents).sample)}
        assert torch.equal(out["noise_pred"], unet(latents, 301, encoder_hidden_states=hidden).sample)
        out["picture"] = pipe(PROMPT, latents=latents, height=16, width=16, num_inference_steps=4, guidance_scale=4.0,
                              output_type="pt").images
    save_file({n: t.contiguous().clone() for n, t in out.items()}, os.path.join(OUT, name + "_out.safetensors"),
              {"prompt": PROMPT})


def main():
    os.makedirs(OUT, exist_ok=True)
    write("sd1", False)
    write("sd2", True)
    write_xl("sdxl")


if __name__ == "__main__":
    main()
