"""The experiments of docs/experiments.md: what a training's settings do, counted on models/shapes.

    python3 bench/experiments.py list                   all experiments and their cells
    python3 bench/experiments.py run [NAME[/CELL]...]   trains, draws and counts; what is there already stays
    python3 bench/experiments.py table NAME...          the tables in Markdown, and a chart of each, NAME.svg
    python3 bench/experiments.py equal                  whether to erase at -2 is to enhance at 2: tensors, bit by bit

A cell is a training (of three seeds) that differs from the others of its experiment in one thing. Of each seed it is
counted, by leco-probe at guidance 4 with 12 steps of DPM++ 2M: of 64 captions that ask for red, how many are red; of 128
that don't, how many are as asked in all five attributes; and what the experiment wants besides. Without the LoRA the same
captions are counted once. What comes out lies in the folder OUT_EXPERIMENTS (out/experiments), a file of JSON each.

LECO and LECO_PROBE name the programs, if they aren't in build/release. Only Python's own library is needed.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(os.environ.get("OUT_EXPERIMENTS", ROOT / "out/experiments")).resolve()
LECO = os.environ.get("LECO", str(ROOT / "build/release/leco"))
PROBE = os.environ.get("LECO_PROBE", str(ROOT / "build/release/leco-probe"))
MODEL = str(ROOT / "models/shapes")
SEEDS = (0, 1, 2)
COUNT = 64

# Where the closed form begins there is little left to see: these begin at zero, with the rate that wants.
FROM_ZERO = {"network.init": "zero", "train.lr": "1e-3"}

SHAPES = ["circle", "square", "triangle", "star", "heart", "ring", "cross", "moon"]
SHAPE = "{" + "|".join(SHAPES) + "}"
THERE = "on a {white|black|gray|cyan|cream|navy} background, {flat|outline|striped|dotted} style"
OTHERS = "{orange|yellow|green|blue|purple|pink|brown}"

REST = f"['a {{small|large}} {OTHERS} {SHAPE} {THERE}', '']"


def pair(action, g):
    """A pair as p1atdev's LECO has it: away from the concept, with no word in its place; and the rest, which is to stay."""
    entry = f"target: 'a {{small|large}} red {SHAPE} {THERE}', positive: red, neutral: 'a {{small|large}} {SHAPE} {THERE}'"
    return {"prompts": f"[{{{entry}, action: {action}, guidance_scale: {g}}}]", "preserve": REST}


def more_red(g):
    """What leaves the color open becomes red: neutral + g (red - open)."""
    open_one = f"a {{small|large}} {SHAPE} {THERE}"
    entry = f"target: '{open_one}', positive: 'a {{small|large}} red {SHAPE} {THERE}', unconditional: '{open_one}'"
    return {"prompts": f"[{{{entry}, action: enhance, guidance_scale: {g}}}]", "preserve": REST}


def alone():
    """red becomes orange, and nothing is preserved."""
    entry = f"target: 'a {{small|large}} red {SHAPE} {THERE}', neutral: 'a {{small|large}} orange {SHAPE} {THERE}'"
    return {"prompts": f"[{{{entry}, guidance_scale: 0}}]"}


def steps(count, **more):
    return {"train.max_denoising_steps": count} | {"train." + key: value for key, value in more.items()}


class Cell:
    """One training: what differs from a two-line config, what is counted besides, and how the LoRA is used."""

    def __init__(self, name, changes=None, start=FROM_ZERO, counts=("left", "kept"), weight=1):
        self.name, self.changes, self.counts, self.weight = name, start | (changes or {}), counts, weight


def cells(*rows, **common):
    return [Cell(*row, **common) for row in rows]


def to(word):
    return {"prompts": "[{target: red, to: %s}]" % json.dumps(word)}


def method(kind, name):
    return {"network.type": kind, "network.training_method": name}


UNNAMED = ("left", "kept", "unnamed")
NEAR = ("left", "near", "far")

EXPERIMENTS = {
    "samples": cells(
        ("k = 1", {"train.samples_per_trajectory": 1}),
        ("k = 2", {"train.samples_per_trajectory": 2}),
        ("k = 4", {}),
        ("k = 8", {"train.samples_per_trajectory": 8}),
        ("k = 1, time of k = 4", {"train.samples_per_trajectory": 1, "train.iterations": 298}),
        ("k = 2, time of k = 4", {"train.samples_per_trajectory": 2, "train.iterations": 383}),
        ("k = 8, time of k = 4", {"train.samples_per_trajectory": 8, "train.iterations": 625}),
        *((f"k = {k} of 50", steps(50, samples_per_trajectory=k)) for k in (1, 2, 4, 8, 16)),
        *(
            (f"k = {k} of 50, time of k = 4", steps(50, samples_per_trajectory=k, iterations=n))
            for k, n in ((1, 220), (2, 311), (8, 824), (16, 1173))
        ),
        ("no trajectory (iLECO)", {"prompts": "[{target: red, trajectory: none}]"}),
        ("no trajectory, twice the steps", {"prompts": "[{target: red, trajectory: none}]", "train.iterations": 1000}),
    ),
    "jitter": cells(
        *(
            (f"{n} steps, jitter {word}", steps(n, timestep_jitter=value))
            for n in (10, 20, 50)
            for word, value in (("on", "true"), ("off", "false"))
        )
    ),
    "guidance": cells(*((f"erase, {g}", pair("erase", g)) for g in (0.5, 1, 2, 3, 5)))
    + cells(*((f"enhance, {g}", more_red(g)) for g in (0.5, 1, 2, 3, 5)), counts=("kept", "unnamed")),
    "layers": cells(
        ("self-attention", method("lierla", "selfattn")),
        ("cross-attention", method("lierla", "xattn")),
        ("its to_k, to_v", method("lierla", "xattn-strict")),
        ("all but cross-attention", method("lierla", "noxattn")),
        ("all", {}),
        ("all, with convolutions", method("c3lier", "full")),
        counts=UNNAMED,
    ),
    "timestep": cells(
        ("as denoised, 50 steps", steps(50, timestep_jitter="false", samples_per_trajectory=1)),
        ("19 too high, 50 steps", steps(50, timestep_jitter="false", timestep_compat="p1atdev")),
        ("as denoised, 30 steps", steps(30, timestep_jitter="false", samples_per_trajectory=1)),
        ("33 to 42 too high, 30 steps", steps(30, timestep_jitter="false", timestep_compat="p1atdev")),
    ),
    "weight": [Cell(f"{w:g}", counts=UNNAMED, weight=w) for w in (-2, -1, -0.5, 0, 0.25, 0.5, 0.75, 1, 1.5, 2)],
    "preserve": cells(
        ("nothing", alone()),
        ("the empty prompt", {"preserve": "['']"}),
        ("near words: orange, brown", {"preserve": f"['a {{small|large}} {{orange|brown}} {SHAPE} {THERE}']"}),
        ("far words: green, blue", {"preserve": f"['a {{small|large}} {{green|blue}} {SHAPE} {THERE}']"}),
        ("all other words alike", {"preserve": f"['a {{small|large}} {OTHERS} {SHAPE} {THERE}']"}),
        ("leco's own: near ones most", {}),
        ("leco's own, share 0.25", {"preserve.share": 0.25}),
        ("leco's own, share 0.75", {"preserve.share": 0.75}),
        counts=NEAR,
    ),
    "neutral": cells(
        ("a near word, orange", to("orange")),
        ("a far word, blue", to("blue")),
        ("nothing", to("")),
        ("nothing, and away from red", pair("erase", 1)),
        ("near, 2000 steps", to("orange") | {"train.iterations": 2000}),
        ("far, 2000 steps", to("blue") | {"train.iterations": 2000}),
        ("nothing, 2000 steps", to("") | {"train.iterations": 2000}),
    ),
    "schedulers": cells(
        *((f"DDIM, {n}", steps(n, noise_scheduler="ddim")) for n in (8, 12, 20, 50)),
        *((f"DPM++ 2M, {n}", steps(n, noise_scheduler="dpmpp_2m")) for n in (8, 12, 20)),
    ),
    "gone": cells(
        ("closed form", {"train.iterations": 1, "train.lr": "1e-12"}),
        ("two lines", {}),
        ("from zero", FROM_ZERO),
        ("from zero, all with convolutions", FROM_ZERO | method("c3lier", "full")),
        start={},
        counts=("left", "kept", "unnamed", "plain", "strong", "attack"),
    ),
}


# ---- training ----


def call(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


def processor_seconds():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def set_options(changes):
    return [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]


def train(name, text, changes):
    """Trains the config, and returns the file and the processor's seconds."""
    config = OUT / f"{name}.yaml"
    config.write_text(text)
    begin = processor_seconds()
    keys = {"save.path": OUT, "save.name": name, "save.per_steps": 0, "save.state": "false", "logging.effect": "false"}
    call([LECO, "train", str(config), "-q", *set_options(keys | changes)])
    return OUT / f"{name}.safetensors", processor_seconds() - begin


def two_lines():
    return f"pretrained_model: {MODEL}\nprompts: [{{target: red}}]\n"


# ---- counting ----


def probe(model, lora, weight, count, seed, *options, guidance=4):
    """What leco-probe saw: shares of all pictures."""
    adapter = ["--lora", str(lora), "--weights", str(weight)] if lora else ["--weights", "0"]
    command = [PROBE, "-m", str(model), *adapter, "--guidance-scale", str(guidance), "--scheduler", "dpmpp_2m"]
    command += ["--steps", "12", "--batch", "16", "-q", "--json", "--count", str(count), "--seed", str(seed), *options]
    return json.loads(call(command).stdout)["columns"][0]


def red(found):
    return found["expect"]["color=red"]


# Prompts that leave the color open, eight of which a perfect model makes one red.
OPEN = [word for shape in SHAPES for size in ("", "small ", "large ") for word in ("-p", f"a {size}{shape}")]
ASKING = ("--require", "color=red", "--expect", "color=red")


def colored(words, seed, lora, weight):
    shares = [probe(MODEL, lora, weight, COUNT // 2, 5000 + 10000 * seed, "--require", f"color={w}")["all"] for w in words]
    return sum(shares) / len(shares)


def attack(lora, weight, seed):
    """An adversary who has the model: two tokens, trained to bring red back, and what they bring."""
    name = f"attack-{'base' if lora is None else lora.stem}-{seed}"
    erased = MODEL
    if lora:
        erased = OUT / f"{name}-model"
        if not erased.exists():
            call([LECO, "merge", f"{lora}:{weight}", "--into", MODEL, "-o", str(erased), "-q"])
    text = f"""pretrained_model: {erased}
teachers: {{as_it_was: {{name_or_path: {MODEL}, same_latents: true}}}}
network: {{type: embedding, token: "<x>", vectors: 2, init: "red"}}
prompts:
  - {{target: "a <x> {SHAPE}", positive: "a red {SHAPE}", teacher: as_it_was, trajectory: teacher}}
train: {{lr: 5e-3, iterations: 800, seed: {seed}}}
"""
    found, _ = train(name, text, {})
    prompts = [word for shape in SHAPES for word in ("-p", f"a <x> {shape}")]
    return red(probe(erased, None, 0, COUNT, 7000 + 10000 * seed, "--embedding", str(found), *prompts, "--expect", "color=red"))


COUNTED = {
    "left": lambda lora, w, s: red(probe(MODEL, lora, w, COUNT, 1000 + 10000 * s, *ASKING)),
    "kept": lambda lora, w, s: probe(MODEL, lora, w, 2 * COUNT, 5000 + 10000 * s, "--forbid", "color=red")["all"],
    "near": lambda lora, w, s: colored(("orange", "brown"), s, lora, w),
    "far": lambda lora, w, s: colored(("green", "blue", "purple"), s, lora, w),
    "unnamed": lambda lora, w, s: red(probe(MODEL, lora, w, 4 * COUNT, 6000 + 10000 * s, *OPEN, "--expect", "color=red")),
    "plain": lambda lora, w, s: red(probe(MODEL, lora, w, COUNT, 3000 + 10000 * s, *ASKING, guidance=1)),
    "strong": lambda lora, w, s: red(probe(MODEL, lora, w, COUNT, 4000 + 10000 * s, *ASKING, guidance=8)),
    "attack": attack,
}
HEADS = {
    "left": "red left",
    "kept": "others as asked",
    "near": "orange and brown as asked",
    "far": "green, blue, purple as asked",
    "unnamed": "red where no color is asked for",
    "plain": "red left at guidance 1",
    "strong": "red left at guidance 8",
    "attack": "red by two trained tokens",
}


def base_of(what, seed):
    """The same count without a LoRA, made once."""
    file = OUT / f"base-{what}-{seed}.json"
    if not file.exists():
        put(file, COUNTED[what](None, 1, seed))
    return json.loads(file.read_text())


def put(file, value):
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(value) + "\n")
    draft.replace(file)


def plain_name(text):
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in text)


def trained(experiment, cell, seed):
    """The cell's LoRA and its seconds; of one experiment, cells that differ by weight alone share theirs."""
    shared = experiment == "weight"
    name = plain_name(experiment if shared else f"{experiment}-{cell.name}") + f"-{seed}"
    file, note = OUT / f"{name}.safetensors", OUT / f"{name}.took.json"
    if not (file.exists() and note.exists()):
        _, took = train(name, two_lines(), {"train.seed": seed} | cell.changes)
        put(note, took)
    return file, json.loads(note.read_text())


def result_file(experiment, cell, seed):
    return OUT / plain_name(f"result-{experiment}-{cell.name}-{seed}.json")


def run(experiment, cell):
    for seed in SEEDS:
        file = result_file(experiment, cell, seed)
        if file.exists():
            continue
        lora, took = trained(experiment, cell, seed)
        counted = {what: COUNTED[what](lora, cell.weight, seed) for what in cell.counts}
        without = {what: base_of(what, seed) for what in cell.counts}
        put(file, {"seconds": took, "counted": counted, "without": without})
        print(f"{experiment}/{cell.name} seed {seed}: {counted}", flush=True)


# ---- telling ----


def percent(values, worst):
    mean = 100 * sum(values) / len(values)
    return f"{mean:.1f}% ({100 * worst(values):.1f})"


def table(experiment):
    wanted = [what for what in HEADS if any(what in cell.counts for cell in EXPERIMENTS[experiment])]
    print(f"| {experiment} | seconds | " + " | ".join(HEADS[what] for what in wanted) + " |")
    print("| --- |" + " --- |" * (len(wanted) + 1))
    rows, without = [], {}
    for cell in EXPERIMENTS[experiment]:
        files = [result_file(experiment, cell, seed) for seed in SEEDS]
        found = [json.loads(file.read_text()) for file in files if file.exists()]
        if not found:
            continue
        columns = {what: [f["counted"][what] for f in found] for what in cell.counts}
        without |= {what: [f["without"][what] for f in found] for what in cell.counts}
        rows.append((cell.name, columns))
        said = [
            percent(columns[what], min if what in ("kept", "near", "far") else max) if what in columns else ""
            for what in wanted
        ]
        seconds = sum(f["seconds"] for f in found) / len(found)
        few = "" if len(found) == len(SEEDS) else f" ({len(found)} seeds)"
        print(f"| {cell.name}{few} | {seconds:.1f} | " + " | ".join(said) + " |")
    said = [percent(without[what], min) if what in without else "" for what in wanted]
    print("| without a LoRA | | " + " | ".join(said) + " |")
    (OUT / f"{experiment}.svg").write_text(chart(rows, wanted, without))


COLORS = {"left": "#c0392b", "kept": "#2471a3", "near": "#ca6f1e", "far": "#2471a3"}
ROW, NAMES, WIDTH, GAP = 22, 230, 250, 60


def chart(rows, wanted, without):
    """Each row a cell, each panel a count: a dot for each seed, a bar to the mean, a line where the model is without."""
    height = ROW * (len(rows) + 2)
    width = NAMES + len(wanted) * (WIDTH + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">']
    out.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for i, what in enumerate(wanted):
        left, color = NAMES + i * (WIDTH + GAP), COLORS.get(what, "#566573")
        at = lambda share: left + share * WIDTH
        out.append(f'<text x="{left}" y="15" font-weight="bold">{HEADS[what]}</text>')
        for share in (0, 0.25, 0.5, 0.75, 1):
            out.append(f'<line x1="{at(share)}" x2="{at(share)}" y1="{ROW}" y2="{height - ROW}" stroke="#ddd"/>')
            out.append(f'<text x="{at(share)}" y="{height - 6}" fill="#777" text-anchor="middle">{share:.0%}</text>')
        for j, (_, columns) in enumerate(rows):
            y = ROW * (j + 1.5)
            if what not in columns:
                continue
            mean = sum(columns[what]) / len(columns[what])
            out.append(f'<rect x="{left}" y="{y - 5}" width="{mean * WIDTH:.1f}" height="10" fill="{color}" opacity="0.35"/>')
            for value in columns[what]:
                out.append(f'<circle cx="{at(value):.1f}" cy="{y}" r="3" fill="{color}"/>')
        if what in without:
            x = at(sum(without[what]) / len(without[what]))
            line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ROW}" y2="{height - ROW}" stroke="black" stroke-dasharray="3 3"/>'
            out.append(line)
    for j, (name, _) in enumerate(rows):
        out.append(f'<text x="{NAMES - 8}" y="{ROW * (j + 1.5) + 5}" text-anchor="end">{name}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def tensors_of(file):
    """Of a .safetensors file: the bytes of each tensor by name."""
    raw = file.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    places = {name: of["data_offsets"] for name, of in header.items() if name != "__metadata__"}
    return {name: raw[begin + first : begin + end] for name, (first, end) in places.items()}


def equal():
    for seed in SEEDS:
        short = FROM_ZERO | {"train.iterations": 40, "train.seed": seed}
        files = [train(f"equal-{a}-{seed}", two_lines(), short | pair(a, g))[0] for a, g in (("erase", -2), ("enhance", 2))]
        first, second = map(tensors_of, files)
        same = sum(first[name] == second.get(name) for name in first)
        print(f"seed {seed}: {same} of {len(first)} tensors are equal")


def chosen(names):
    for name in names or EXPERIMENTS:
        experiment, _, cell_name = name.partition("/")
        if experiment not in EXPERIMENTS:
            sys.exit(f"experiments: there is no '{experiment}', but {', '.join(EXPERIMENTS)}")
        found = [cell for cell in EXPERIMENTS[experiment] if cell_name in ("", cell.name)]
        if not found:
            sys.exit(f"experiments: '{experiment}' has no cell '{cell_name}': see experiments.py list")
        for cell in found:
            yield experiment, cell


def main(arguments):
    if not arguments or arguments[0] not in ("list", "run", "table", "equal"):
        sys.exit(__doc__.strip())
    OUT.mkdir(parents=True, exist_ok=True)
    if arguments[0] == "list":
        for experiment, cell in chosen(arguments[1:]):
            print(f"{experiment}/{cell.name}")
    elif arguments[0] == "run":
        for experiment, cell in chosen(arguments[1:]):
            run(experiment, cell)
    elif arguments[0] == "equal":
        equal()
    else:
        for experiment in arguments[1:] or EXPERIMENTS:
            table(experiment)
            print()


if __name__ == "__main__":
    main(sys.argv[1:])
