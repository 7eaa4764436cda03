#!/usr/bin/env python3
"""Writes tests/parity/fixtures/sdxl-like/{embedding,embedding_out}.safetensors: an embedding for both text encoders, as
trainers for Stable Diffusion XL save it, and what the encoders make of a prompt with it in diffusers.

    tools/fixtures_xl_embedding.py
"""

import os

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

FIXTURES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "parity", "fixtures")
OUT = os.path.join(FIXTURES, "sdxl-like")
TOKEN, VECTORS, PROMPT = "<thing>", 3, "a large <thing> on red"


def main():
    torch.manual_seed(31)
    pipe = StableDiffusionXLPipeline.from_pretrained(OUT)
    sides = (("clip_l", pipe.text_encoder, pipe.tokenizer), ("clip_g", pipe.text_encoder_2, pipe.tokenizer_2))
    rows = {}
    for name, encoder, _ in sides:
        table = encoder.get_input_embeddings().weight
        rows[name] = torch.randn(VECTORS, table.shape[1]) * table.std().item()
    save_file(rows, os.path.join(OUT, "embedding.safetensors"), metadata={"modelspec.trigger_phrase": TOKEN})
    out = {}
    for name, encoder, tokenizer in sides:
        pipe.load_textual_inversion(rows[name], token=TOKEN, text_encoder=encoder, tokenizer=tokenizer)
        ids = tokenizer(pipe.maybe_convert_prompt(PROMPT, tokenizer), padding="max_length", truncation=True,
                        max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
        with torch.no_grad():
            out[f"last_hidden_state.{name}"] = encoder(ids).last_hidden_state
    states, _, pooled, _ = pipe.encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=False)
    out.update(states=states.detach(), pooled=pooled.detach())
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, os.path.join(OUT, "embedding_out.safetensors"),
              metadata={"prompt": PROMPT})
    print({name: tuple(tensor.shape) for name, tensor in out.items()})


main()
