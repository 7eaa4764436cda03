"""What is trained on the text side: a LoRA of the text encoders, and a textual-inversion embedding; files, gradients, a
picture with both."""

import contextlib
import copy
import os

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

from fixtures_common import FIXTURES, CaseFile, as_float64, default_float64, generator, in_float64, seed_of
from fixtures_lora import Lora, applied
from fixtures_models import condition, generate_case, tokenize

TOKEN = "<dot>"
XL_TOKEN = "<thing>"  # of fixtures_xl_embedding.py
VECTORS = 3


class TextLora(Lora):
    """On the layers that kohya's sd-scripts train."""

    prefix = "lora_te_"

    @staticmethod
    def targets(text, _):
        return [
            f"{parent_path}.{path}"
            for parent_path, parent in text.named_modules()
            if isinstance(parent, (CLIPAttention, CLIPMLP))
            for path, module in parent.named_modules()
            if isinstance(module, nn.Linear)
        ]


class FirstTextLora(TextLora):
    prefix = "lora_te1_"


class SecondTextLora(TextLora):
    prefix = "lora_te2_"


class ExtendedTable(nn.Module):
    """A token table with more rows behind its own."""

    def __init__(self, table, rows):
        super().__init__()
        self.table, self.rows = table.weight, rows

    def forward(self, ids):
        return F.embedding(ids, torch.cat([self.table, self.rows]))


class Trial:
    """Text encoders, their adapters and rows (by their names in the embedding's file), and a U-Net."""

    def __init__(self, texts, unet, loras, rows):
        self.texts, self.unet, self.loras, self.rows = texts, unet, loras, rows

    def double(self):
        return Trial(
            [in_float64(text) for text in self.texts],
            in_float64(self.unet),
            [lora.map(torch.Tensor.double) for lora in self.loras],
            as_float64(self.rows),
        )

    def gradients(self, ids, inputs, added, target):
        """States, pooled, prediction, loss and the gradients: None of what nothing reads."""
        rows = {name: tensor.clone().requires_grad_() for name, tensor in self.rows.items()}
        parameters = [tensor.requires_grad_() for lora in self.loras for tensor in lora.parameters()]
        texts = copy.deepcopy(self.texts)
        for text, own in zip(texts, rows.values()):
            embeddings = text.text_model.embeddings
            embeddings.token_embedding = ExtendedTable(embeddings.token_embedding, own)
        with contextlib.ExitStack() as stack:
            for text, lora in zip(texts, self.loras):
                stack.enter_context(applied(text, (lora, 1.0)))
            states, pooled = condition(texts, ids)
        conditions = added and dict(text_embeds=pooled, **added)
        prediction = self.unet(inputs["sample"], inputs["timestep"], states, added_cond_kwargs=conditions).sample
        loss = F.mse_loss(prediction, target)
        gradients = torch.autograd.grad(loss, [*parameters, *rows.values()], allow_unused=True)
        for tensor in parameters:
            tensor.requires_grad_(False)
        names = [key for lora in self.loras for key, _ in lora.named()] + list(rows)
        results = [states, pooled, prediction, loss.reshape(1)]
        return [value if value is None else value.detach() for value in results], dict(zip(names, gradients))


def example_ids(tokenizer, rows_from):
    """The token's ids whole, in part, and in another order, in two prompts."""
    ids = tokenize(tokenizer, ["a red red red circle", "a red circle"])
    red = ids[1, 2].item()
    assert ids[0, 2:5].tolist() == [red] * 3
    ids[0, 2:5] = torch.arange(VECTORS) + rows_from
    ids[1, 1], ids[1, 2] = rows_from + 2, rows_from
    return ids


def write_training(fixture, seed_name, trial, ids, inputs, added, target):
    """The case file. ids: a list, of each text encoder. Returns how far gradients are from float64."""
    (states, pooled, prediction, loss), gradients = trial.gradients(ids, inputs, added, target)
    with default_float64():
        exact, exact_gradients = trial.double().gradients(ids, as_float64(inputs), as_float64(added), target.double())
    case = CaseFile(fixture, "text_training", seed=seed_of(seed_name), adapters="lora_text, embedding, both at 1")
    rows_from = trial.texts[0].text_model.embeddings.token_embedding.weight.shape[0]
    for index, own in enumerate(ids):
        name = f"input_ids.{index}" if len(ids) > 1 else "input_ids"
        case.add(name, own, f"with ids from {rows_from} on for the embedding's rows")
    for key, value in {**inputs, **(added or {})}.items():
        case.add(key, value)
    case.add("target", target, "what the prediction is compared with")
    case.add("states", states, "last_hidden_state" if pooled is None else "of both encoders", exact=exact[0])
    if pooled is not None:
        case.add("pooled", pooled, "text_embeds of the second", exact=exact[1])
    case.add("noise_pred", prediction, "of these states", exact=exact[2])
    case.add("loss", loss, "mean((noise_pred - target)^2)", exact=exact[3])
    worst = 0.0
    for key, gradient in gradients.items():
        if gradient is None:
            continue
        worst = max(worst, ((gradient - exact_gradients[key]).norm() / exact_gradients[key].norm()).item())
        case.add("grad." + key, gradient, may_vanish=True)
    assert worst < 1e-4, f"float32 gradients are {worst:.1e} from float64"
    case.describe("grad.*", f"d loss / d <key> (float64 differs by {worst:.0e} of its norm)")
    case.write()
    return worst


def load_both(pipeline, fixture):
    """As people do it in diffusers."""
    folder = os.path.join(FIXTURES, fixture)
    pipeline.load_textual_inversion(os.path.join(folder, "embedding.safetensors"), token=TOKEN)
    pipeline.load_lora_weights(folder, weight_name="lora_text.safetensors")


def text_training(fixture):
    """Writes lora_text, embedding, text_training (the case file) and generate_text for a fixture that is there."""
    pipeline = StableDiffusionPipeline.from_pretrained(os.path.join(FIXTURES, fixture), safety_checker=None)
    text, unet = pipeline.text_encoder.eval().requires_grad_(False), pipeline.unet.eval().requires_grad_(False)
    seed_name = f"{fixture} text training"
    rng = generator(seed_name)
    table = text.text_model.embeddings.token_embedding.weight
    lora = TextLora(text, "text encoder", 2, 1.0, rng)
    lora.save(fixture, "lora_text", f"random adapter of the text encoder, seed {seed_of(seed_name)}")
    rows = torch.randn(VECTORS, table.shape[1], generator=rng) * table.std()
    embedding = CaseFile(fixture, "embedding", comment=f"random, seed {seed_of(seed_name)}; token {TOKEN}")
    embedding.add("emb_params", rows)
    embedding.write()

    inputs = dict(sample=torch.randn(2, 4, 8, 8, generator=rng), timestep=torch.tensor([700, 300]))
    target = torch.randn(2, 4, 8, 8, generator=rng)
    ids = [example_ids(pipeline.tokenizer, table.shape[0])]
    trial = Trial([text], unet, [lora], {"emb_params": rows})
    worst = write_training(fixture, seed_name, trial, ids, inputs, None, target)
    parts = pipeline.tokenizer, text, unet, pipeline.vae, pipeline.scheduler
    generate_case(
        fixture, *parts, f"a {TOKEN} circle", "blue", name="generate_text", prepare=lambda made: load_both(made, fixture)
    )
    yield f"gradients within {worst:.0e} of float64"


# ---------------------------------------------------------------------------------------------------- two encoders


def load_both_xl(pipeline, fixture):
    """As people do it in diffusers."""
    folder = os.path.join(FIXTURES, fixture)
    rows = load_file(os.path.join(folder, "embedding.safetensors"))
    first = dict(text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer)
    second = dict(text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2)
    pipeline.load_textual_inversion(rows["clip_l"], token=XL_TOKEN, **first)
    pipeline.load_textual_inversion(rows["clip_g"], token=XL_TOKEN, **second)
    pipeline.load_lora_weights(folder, weight_name="lora_text.safetensors")


def text_training_xl(fixture):
    """The same of a fixture with two text encoders, whose embedding is there."""
    folder = os.path.join(FIXTURES, fixture)
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    texts = [text.eval().requires_grad_(False) for text in (pipeline.text_encoder, pipeline.text_encoder_2)]
    unet = pipeline.unet.eval().requires_grad_(False)
    seed_name = f"{fixture} text training"
    rng = generator(seed_name)
    loras = [make(text, "text encoders", 2, 1.0, rng) for make, text in zip((FirstTextLora, SecondTextLora), texts)]
    comment = f"random adapter of both text encoders, seed {seed_of(seed_name)}"
    file = CaseFile(fixture, "lora_text", comment=comment, scope="text encoders", rank=2, alpha=1.0)
    file.recipe.update(ss_network_module="networks.lora", ss_network_dim="2", ss_network_alpha="1.0")
    for lora in loras:
        lora.add_to(file)
    file.write()

    rows = load_file(os.path.join(folder, "embedding.safetensors"))
    inputs = dict(sample=torch.randn(2, 4, 8, 8, generator=rng), timestep=torch.tensor([700, 300]))
    added = dict(time_ids=torch.tensor([[32, 32, 0, 0, 32, 32], [64, 48, 8, 4, 32, 32]], dtype=torch.float32))
    target = torch.randn(2, 4, 8, 8, generator=rng)
    rows_from = texts[0].text_model.embeddings.token_embedding.weight.shape[0]
    ids = [example_ids(tokenizer, rows_from) for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)]
    trial = Trial(texts, unet, loras, {name: rows[name] for name in ("clip_l", "clip_g")})
    worst = write_training(fixture, seed_name, trial, ids, inputs, added, target)
    parts = pipeline.tokenizer, texts[0], unet, pipeline.vae, pipeline.scheduler
    how = dict(name="generate_text", prepare=lambda made: load_both_xl(made, fixture))
    second = pipeline.tokenizer_2, texts[1]
    generate_case(fixture, *parts, f"a {XL_TOKEN} circle", "blue", (16, 20), 3, second=second, **how)
    yield f"gradients within {worst:.0e} of float64"
