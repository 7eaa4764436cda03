"""The U-Net that bench/against-torch.py times, with and without a LoRA, and what is done with it."""

import math

RANK, ALPHA, TOKENS, TIMESTEP = 4, 1.0, 77, 500

# The shapes of runwayml/stable-diffusion-v1-5, stabilityai/stable-diffusion-2-1 and
# stabilityai/stable-diffusion-xl-base-1.0; what isn't named here is diffusers' default. `tiny` has all of SD1.5's kinds
# of layers, for a look on the CPU.
CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
PRESETS = {
    "sd15": dict(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
    "sd21": dict(
        sample_size=96, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True,
    ),
    "sdxl": dict(
        sample_size=128, cross_attention_dim=2048, attention_head_dim=(5, 10, 20), use_linear_projection=True,
        block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", CROSS_DOWN, CROSS_DOWN), up_block_types=(CROSS_UP, CROSS_UP, "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    ),
    "tiny": dict(
        sample_size=16, cross_attention_dim=48, attention_head_dim=4, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=(CROSS_DOWN, "DownBlock2D"), up_block_types=("UpBlock2D", CROSS_UP),
    ),
}  # fmt: skip

MAIN, REST = ("forward", "step"), ("trajectory", "teachers")
BATCH = {"forward": 2, "step": 1, "trajectory": 2, "teachers": 3}
COMPILE = {"default": "default", "reduce-overhead": "reduce-overhead", "max-autotune": "max-autotune-no-cudagraphs"}


def make_lora_class(torch):
    """Only now is there a torch to inherit from."""
    F = torch.nn.functional

    class Lora(torch.nn.Module):
        """y = W x + (alpha / rank) U (D x), beside a frozen linear layer or 1x1 convolution."""

        def __init__(self, base, dtype, device):
            super().__init__()
            self.base = base
            self.is_conv = isinstance(base, torch.nn.Conv2d)
            out, into = base.weight.shape[:2]
            self.down = torch.nn.Parameter(torch.empty(RANK, into, dtype=dtype, device=device))
            self.up = torch.nn.Parameter(torch.empty(out, RANK, dtype=dtype, device=device))
            torch.nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
            torch.nn.init.normal_(self.up, std=0.02)  # not 0, as a training's start is: all gradients are to be seen

        def forward(self, x):
            y = self.base(x)
            if self.is_conv:  # channels last, this is a linear layer of the same memory
                x = x.permute(0, 2, 3, 1)
            down, up = self.down.to(x.dtype), self.up.to(x.dtype)
            h = F.linear(F.linear(x, down) * (ALPHA / RANK), up)
            return y + (h.permute(0, 3, 1, 2) if self.is_conv else h)

    return Lora


def adapt(torch, unet, dtype, device):
    """Puts a LoRA on every linear layer and 1x1 convolution inside a Transformer2DModel; returns how many."""
    from diffusers.models.transformers.transformer_2d import Transformer2DModel

    Lora = make_lora_class(torch)
    found = []
    for outer in unet.modules():
        if isinstance(outer, Transformer2DModel):
            for path, module in outer.named_modules():
                linear = isinstance(module, torch.nn.Linear)
                if linear or (isinstance(module, torch.nn.Conv2d) and module.kernel_size == (1, 1)):
                    found.append((outer, path, module))
    for outer, path, module in found:
        parent, _, name = path.rpartition(".")
        setattr(outer.get_submodule(parent), name, Lora(module, dtype, device))
    return len(found)


def loras(torch, unet):
    return [value for name, value in unet.named_parameters() if value.requires_grad]


def make_unet(torch, args, device):
    from diffusers import UNet2DConditionModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, args.precision))
    try:
        with torch.device(device):
            unet = UNet2DConditionModel(**PRESETS[args.preset])
    finally:
        torch.set_default_dtype(before)
    if not args.contiguous:
        unet.to(memory_format=torch.channels_last)
    return unet.requires_grad_(False).eval()


def make_models(torch, args, device):
    """The U-Net without and the one with a LoRA, over the same weights."""
    plain = make_unet(torch, args, device)
    adapted = make_unet(torch, args, "meta")
    adapted.load_state_dict(plain.state_dict(), assign=True)
    adapted.requires_grad_(False)
    dtype = torch.float32 if args.lora_float32 else getattr(torch, args.precision)
    count = adapt(torch, adapted, dtype, device)
    return plain, adapted, count


def make_inputs(torch, args, device, batch):
    """What the U-Net is called with, and what its output is to be."""
    config = PRESETS[args.preset]
    dtype = getattr(torch, args.precision)
    size = [pixels // 8 if pixels else config["sample_size"] for pixels in (args.height, args.width)]

    def randn(*shape, dtype=dtype):
        return torch.randn(*shape, dtype=dtype, device=device)

    x, target = randn(batch, 4, *size), randn(batch, 4, *size, dtype=torch.float32)
    if not args.contiguous:
        x, target = (v.contiguous(memory_format=torch.channels_last) for v in (x, target))
    t = torch.full((batch,), TIMESTEP, device=device)
    inputs = [x, t, randn(batch, TOKENS, config["cross_attention_dim"])]
    if "addition_embed_type" in config:
        pooled = config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]
        ids = torch.tensor([[1024, 1024, 0, 0, 1024, 1024]] * batch, dtype=dtype, device=device)
        inputs += [randn(batch, pooled), ids]
    return inputs, target


def predictor(unet):
    """The U-Net as a function of tensors alone."""

    def predict(x, t, states, pooled=None, ids=None):
        added = None if pooled is None else {"text_embeds": pooled, "time_ids": ids}
        return unet(x, t, states, added_cond_kwargs=added, return_dict=False)[0]

    return predict


class Work:
    """One of forward, step, trajectory and teachers, in one mode: run() does it and returns its tensors."""

    def __init__(self, torch, args, device, models, kind, mode):
        self.torch, self.kind, self.mode = torch, kind, mode
        plain, adapted, _ = models
        unet = adapted if kind in ("step", "trajectory") else plain
        self.params = loras(torch, unet)
        torch.manual_seed(0)  # all modes see the same
        self.inputs, self.target = make_inputs(torch, args, device, BATCH[kind])
        predict = predictor(unet)
        mse = torch.nn.functional.mse_loss
        function = (lambda target, *inputs: mse(predict(*inputs).float(), target)) if kind == "step" else predict
        self.function = torch.compile(function, mode=COMPILE[mode], dynamic=False) if mode in COMPILE else function
        self.graph, self.outputs = None, None

    def once(self):
        if self.mode == "reduce-overhead":
            self.torch.compiler.cudagraph_mark_step_begin()
        if self.kind == "step":
            loss = self.function(self.target, *self.inputs)
            return [loss.detach(), *self.torch.autograd.grad(loss, self.params)]
        nothing = self.torch.no_grad if self.mode in COMPILE else self.torch.inference_mode
        with nothing():
            return [self.function(*self.inputs)]

    def record(self):
        """Makes run() replay a CUDA graph."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self.once()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.outputs = self.once()
        self.graph = graph

    def run(self):
        if self.graph is None:
            return self.once()
        self.graph.replay()
        return self.outputs


# ---- counting ----


def count_flops(torch, args):
    """GFLOP of each kind of work by torch's own counter, on no device at all; products and convolutions only."""
    from torch.utils.flop_counter import FlopCounterMode

    models = make_models(torch, args, "meta")
    counts = {}
    for kind in MAIN + REST:
        work = Work(torch, args, "meta", models, kind, "eager")
        with FlopCounterMode(display=False) as counter:
            work.once()
        by_op = {str(op): n / 1e9 for op, n in counter.get_flop_counts()["Global"].items()}
        counts[kind] = {"gflop": counter.get_total_flops() / 1e9, "by_op": by_op}
    return counts, models[2]
