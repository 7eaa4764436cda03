"""What is trained on the text side: a LoRA of the text encoder, and a textual-inversion embedding; files, gradients, a
picture with both."""

import copy
import os

import torch
from diffusers import StableDiffusionPipeline
from torch import nn
from torch.nn import functional as F
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention

from fixtures_common import FIXTURES, CaseFile, default_float64, generator, in_float64, seed_of
from fixtures_lora import Lora, applied
from fixtures_models import generate_case, tokenize

TOKEN = "<dot>"
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


class ExtendedTable(nn.Module):
    """A token table with more rows behind its own."""

    def __init__(self, table, rows):
        super().__init__()
        self.table, self.rows = table.weight, rows

    def forward(self, ids):
        return F.embedding(ids, torch.cat([self.table, self.rows]))


def loss_and_gradients(text, unet, lora, rows, inputs, target):
    rows = rows.clone().requires_grad_()
    parameters = [tensor.requires_grad_() for tensor in lora.parameters()]
    text = copy.deepcopy(text)
    text.text_model.embeddings.token_embedding = ExtendedTable(text.text_model.embeddings.token_embedding, rows)
    with applied(text, (lora, 1.0)):
        states = text(inputs["input_ids"]).last_hidden_state
    prediction = unet(inputs["sample"], inputs["timestep"], states).sample
    loss = F.mse_loss(prediction, target)
    gradients = torch.autograd.grad(loss, [*parameters, rows])
    for tensor in parameters:
        tensor.requires_grad_(False)
    names = [key for key, _ in lora.named()] + ["emb_params"]
    return states.detach(), prediction.detach(), loss.detach().reshape(1), dict(zip(names, gradients))


def example_ids(tokenizer, rows_from):
    """The token's ids whole, in part, and in another order, in two prompts."""
    ids = tokenize(tokenizer, ["a red red red circle", "a red circle"])
    red = ids[1, 2].item()
    assert ids[0, 2:5].tolist() == [red] * 3
    ids[0, 2:5] = torch.arange(VECTORS) + rows_from
    ids[1, 1], ids[1, 2] = rows_from + 2, rows_from
    return ids


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

    inputs = dict(
        input_ids=example_ids(pipeline.tokenizer, table.shape[0]),
        sample=torch.randn(2, 4, 8, 8, generator=rng),
        timestep=torch.tensor([700, 300]),
    )
    target = torch.randn(2, 4, 8, 8, generator=rng)
    states, prediction, loss, gradients = loss_and_gradients(text, unet, lora, rows, inputs, target)
    with default_float64():
        exact = loss_and_gradients(
            in_float64(text),
            in_float64(unet),
            lora.map(torch.Tensor.double),
            rows.double(),
            {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()},
            target.double(),
        )
    case = CaseFile(fixture, "text_training", seed=seed_of(seed_name), adapters="lora_text, embedding, both at 1")
    for key, value in inputs.items():
        case.add(key, value, f"with ids from {table.shape[0]} on for the embedding's rows" if key == "input_ids" else None)
    case.add("target", target, "what the prediction is compared with")
    case.add("states", states, "last_hidden_state", exact=exact[0])
    case.add("noise_pred", prediction, "of these states", exact=exact[1])
    case.add("loss", loss, "mean((noise_pred - target)^2)", exact=exact[2])
    worst = 0.0
    for key, gradient in gradients.items():
        worst = max(worst, ((gradient - exact[3][key]).norm() / exact[3][key].norm()).item())
        case.add("grad." + key, gradient, may_vanish=True)
    assert worst < 1e-4, f"float32 gradients are {worst:.1e} from float64"
    case.describe("grad.*", f"d loss / d <key> (float64 differs by {worst:.0e} of its norm)")
    case.write()
    parts = pipeline.tokenizer, text, unet, pipeline.vae, pipeline.scheduler
    generate_case(
        fixture, *parts, f"a {TOKEN} circle", "blue", name="generate_text", prepare=lambda made: load_both(made, fixture)
    )
    yield f"gradients within {worst:.0e} of float64"
