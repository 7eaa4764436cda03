"""Closed-form edits, as their papers write them: state by state and matrix by matrix, in float64."""

import os

import torch

from fixtures_common import FIXTURES, CaseFile, default_float64, generator

WIDTH = 20  # of text states
HEIGHTS = [6, 20, 29]  # of the matrices that read them: lower than wide, square, higher
ERASED = [1, 3, 10]
KEPT = [0, 7]
LAMBDA = 0.3
ROUNDS = 2


def sum_of(weights, left, right):
    """The sum over states, rows of left and right, of weight * left right^T."""
    return sum(w * torch.outer(a, b) for w, a, b in zip(weights, left, right, strict=True))


def uce(matrix, erased, goals, kept, weights, kept_weights):
    """W' = (lambda W + sum W g c^T + sum W p p^T) (lambda I + sum c c^T + sum p p^T)^-1: Gandikota et al."""
    eye = torch.eye(WIDTH, dtype=torch.float64)
    left, right = LAMBDA * matrix, LAMBDA * eye
    left = left + sum_of(weights, goals @ matrix.T, erased)
    right = right + sum_of(weights, erased, erased)
    if len(kept):
        left = left + sum_of(kept_weights, kept @ matrix.T, kept)
        right = right + sum_of(kept_weights, kept, kept)
    return left @ torch.linalg.inv(right)


def rece_states(matrices, edited, states):
    """c' = (lambda I + sum W'^T W')^-1 (sum W'^T W) c: Gong et al., for all states c, row by row."""
    inner = LAMBDA * torch.eye(WIDTH, dtype=torch.float64) + sum(new.T @ new for new in edited)
    return states @ (torch.linalg.inv(inner) @ sum(new.T @ old for new, old in zip(edited, matrices, strict=True))).T


def speed(matrix, erased, goals, kept, weights, kept_weights, anchors):
    """W' = W + W (C* - C1) C1^T P Q M, M = (C1 C1^T P + lambda I)^-1, Q = I - M C2 (C2^T P M C2 + lambda I)^-1 C2^T P:
    Li et al.; a state's weight counts as that many of it. P: onto the left null space of the kept states C0."""
    eye = torch.eye(WIDTH, dtype=torch.float64)
    projector = eye
    if len(kept):
        left, _, _ = torch.linalg.svd((kept * kept_weights[:, None].sqrt()).T)
        nothing = left[:, len(kept) :]
        projector = nothing @ nothing.T
    root = weights[:, None].sqrt()
    c1, goal, c2 = (erased * root).T, (goals * root).T, anchors.T
    m = torch.linalg.inv(c1 @ c1.T @ projector + LAMBDA * eye)
    inside = c2.T @ projector @ m @ c2 + LAMBDA * torch.eye(2, dtype=torch.float64)
    q = eye - m @ c2 @ torch.linalg.inv(inside) @ c2.T @ projector
    return matrix + matrix @ (goal - c1) @ c1.T @ projector @ q @ m


def add_results(case, name, matrices, edited, metric):
    """The edited matrices, and the singular values of what was added to them, in the metric."""
    for k, (old, new) in enumerate(zip(matrices, edited, strict=True)):
        case.add(f"{name}.W.{k}", new)
        case.add(f"{name}.singular.{k}", torch.linalg.svdvals((new - old) @ metric), may_vanish=True)


def solve_case(case, draw, matrices, anchors, count, kept_count):
    name = f"{count}of{kept_count}"
    states = {"c": draw(count), "g": draw(count), "p": draw(kept_count)}
    weights = {key: 0.5 + draw(size, 1).abs()[:, 0] for key, size in (("c", count), ("p", kept_count))}
    for key, value in states.items():
        if len(value):
            case.add(f"{name}.{key}", value)
    for key, value in weights.items():
        if len(value):
            case.add(f"{name}.weight.{key}", value)
    c, g, p = (states[key].double() for key in "cgp")
    w, v = weights["c"].double(), weights["p"].double()
    metric = LAMBDA * torch.eye(WIDTH, dtype=torch.float64) + sum_of(w, c, c) + (sum_of(v, p, p) if len(p) else 0)
    metric = torch.linalg.cholesky(metric)
    edited = [uce(matrix, c, g, p, w, v) for matrix in matrices]
    add_results(case, f"{name}.rounds0", matrices, edited, metric)
    for n in range(1, ROUNDS + 1):
        again = rece_states(matrices, edited, c)
        edited = [uce(matrix, again, g, p, w, v) for matrix in edited]
        add_results(case, f"{name}.rounds{n}", matrices, edited, metric)
    edited = [speed(matrix, c, g, p, w, v, anchors.double()) for matrix in matrices]
    add_results(case, f"{name}.speed", matrices, edited, metric)


def solve_cases(fixture="solve"):
    random = generator(fixture)

    def draw(*size):
        return torch.randn(size[0], size[1] if len(size) > 1 else WIDTH, generator=random)

    case = CaseFile(fixture, "solve", erased=ERASED, kept=KEPT, rounds=ROUNDS)
    case.describe("W.<k>", f"F64 [rows,{WIDTH}] matrices that read states")
    case.describe("anchors", f"F32 [2,{WIDTH}] SPEED's two states that stay besides")
    case.describe("<n>of<m>.c, .g", f"F32 [n,{WIDTH}] erased states, and what they become; .p [m,{WIDTH}] kept ones")
    case.describe("<n>of<m>.weight.c, .weight.p", "F32 [n], [m]")
    edited = "F64 W edited by UCE, and RECE so many times after it; .speed.W.<k>: by SPEED"
    case.describe("<n>of<m>.rounds<r>.W.<k>", edited)
    case.describe("<n>of<m>.<way>.singular.<k>", "F64 of (edited W - W) L, L L^T = sum c c^T + sum p p^T + lambda I")
    case.add("lambda", torch.tensor([LAMBDA], dtype=torch.float64))
    matrices = [(draw(rows) / WIDTH**0.5).double() for rows in HEIGHTS]
    for k, matrix in enumerate(matrices):
        case.add(f"W.{k}", matrix)
    anchors = draw(2)
    case.add("anchors", anchors)
    for count in ERASED:
        for kept_count in KEPT:
            solve_case(case, draw, matrices, anchors, count, kept_count)
    case.write()
    pair_cases(fixture)


# A whole model's keys and values, edited so that texts read like others: what is asked of leco is in the file.
MODEL = "sd1-like"
PAIRS = [("a large red circle", "a large blue circle"), ("a red moon, flat style", "a blue moon, flat style")]
STAYS = ["a green circle", "a large painting", "the old man"]
PAIR_LAMBDAS = [1e-4, 1e-2]  # relative to the mean square of what a state has in a dimension
BEHIND = 12  # leco computes so many states behind the longest text: the last one stands for all behind it
AWAY = 0.3  # how far leco enhance goes


def read_texts(texts):
    """Token ids [texts, 77] and states [texts, 77, width] in float64."""
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = os.path.join(FIXTURES, MODEL)
    tokenizer = CLIPTokenizer.from_pretrained(os.path.join(folder, "tokenizer"))
    ids = tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with default_float64(), torch.no_grad():
        encoder = CLIPTextModel.from_pretrained(os.path.join(folder, "text_encoder"), torch_dtype=torch.float64).eval()
        return ids, encoder(ids).last_hidden_state, tokenizer.eos_token_id


def pair_sums():
    """Means of c c^T, g c^T and p p^T over the states that change, and those that stay."""
    texts = [text for pair in PAIRS for text in pair] + ["", *STAYS]
    ids, states, end = read_texts(texts)
    tokens = int((ids == end).int().argmax(dim=1).max()) + 1 + BEHIND
    weights = torch.ones(tokens, dtype=torch.float64)
    weights[-1] = 77 - tokens + 1
    cc = gc = pp = 0
    changed = 0.0
    for k in range(len(PAIRS)):
        c, g = 2 * k, 2 * k + 1
        first = int((ids[c] != ids[g]).int().argmax())  # both words are one token: all behind them stand side by side
        assert int((ids[c] != ids[g]).sum()) == 1
        w, old, new = weights[first:], states[c, first:tokens], states[g, first:tokens]
        cc, gc, changed = cc + sum_of(w, old, old), gc + sum_of(w, new, old), changed + w.sum()
    stay = states[2 * len(PAIRS) :, :tokens]
    for p in stay:
        pp = pp + sum_of(weights, p, p)
    return cc / changed, gc / changed, pp / (weights.sum() * len(stay))


def pair_cases(fixture):
    from safetensors.torch import load_file

    unet = load_file(os.path.join(FIXTURES, MODEL, "unet", "diffusion_pytorch_model.safetensors"))
    case = CaseFile(fixture, "pairs", model=MODEL, pairs=PAIRS, stays=STAYS, lambdas=PAIR_LAMBDAS, away=AWAY)
    change = "(mean g c^T - mean c c^T) (mean c c^T + mean p p^T + lambda I)^-1"
    case.describe("erase.<l>.<layer>", f"F64 W (I + D), D = {change}")
    case.describe("enhance.<l>.<layer>", f"F64 W (I - {AWAY} D)")
    cc, gc, pp = pair_sums()
    eye = torch.eye(len(cc), dtype=torch.float64)
    for index, relative in enumerate(PAIR_LAMBDAS):
        lam = relative * (cc + pp).trace() / len(cc)
        change = (gc - cc) @ torch.linalg.inv(cc + pp + lam * eye)
        for name, tensor in unet.items():
            if ".attn2.to_k." in name or ".attn2.to_v." in name:
                layer, w = name.removesuffix(".weight"), tensor.double()
                case.add(f"erase.{index}.{layer}", w + w @ change)
                case.add(f"enhance.{index}.{layer}", w - AWAY * w @ change)
    case.write()
