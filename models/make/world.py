"""The world that the embedded models draw: one object on a plain background, 64x64 pixels.

A picture is decided by five attributes (shape, color, background, style, size) and by jitter. Objects are given as signed
distance fields, so that every style (contour, stripes, holes, checks) follows from the same field; they are drawn at four
times the resolution and averaged down.

Everything is a function of (world, seed, index): picture i of a seed is the same, however many are drawn beside it.
"""

from dataclasses import dataclass
from multiprocessing import Pool

import numpy as np

SIZE = 64  # pixels, of the finished picture
SUPERSAMPLING = 4

ATTRIBUTES = ("shape", "color", "background", "style", "size")

COLORS = {
    "red": (214, 32, 38),
    "orange": (247, 128, 16),
    "yellow": (252, 222, 36),
    "green": (34, 158, 62),
    "blue": (40, 92, 232),
    "purple": (132, 44, 176),
    "pink": (250, 128, 190),
    "brown": (118, 68, 34),
    "gold": (190, 150, 30),
}
BACKGROUNDS = {
    "white": (250, 250, 250),
    "black": (8, 8, 8),
    "gray": (128, 128, 128),
    "cyan": (88, 218, 228),
    "cream": (252, 234, 192),
    "navy": (16, 26, 84),
}
COLOR_JITTER = 8  # largest change of a channel, of 255
CELL = 4  # pixels: positions and patterns keep to the grid of the autoencoder's latents, so that small networks draw sharply
RADIUS = {"small": 16, "large": 24}  # pixels, of the circle around the object
REACH = {"small": 4, "large": 2}  # the object's centre lies at most so many cells from the picture's, across and down
CONTOUR = {"small": 2.2, "large": 2.8}  # pixels: the width of an outline, which also frames stripes, dots and checks
HOLE = 1.9  # pixels: the radius of a dot


@dataclass(frozen=True)
class World:
    """The values that each attribute can take."""

    name: str
    shape: tuple
    color: tuple
    background: tuple
    style: tuple
    size: tuple = ("small", "large")

    def values(self, attribute):
        return getattr(self, attribute)


FIRST = World(
    name="shapes",
    shape=("circle", "square", "triangle", "star", "heart", "ring", "cross", "moon"),
    color=("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"),
    background=tuple(BACKGROUNDS),
    style=("flat", "outline", "striped", "dotted"),
)
DONOR = World(
    name="shapes-v",
    shape=FIRST.shape + ("hexagon", "arrow"),
    color=FIRST.color + ("gold",),
    background=FIRST.background,
    style=FIRST.style + ("checkered",),
)
WORLDS = {world.name: world for world in (FIRST, DONOR)}


# ---- shapes as signed distance fields, on a table over [-EXTENT, EXTENT]^2; y points down, the object lies in the unit circle

EXTENT = 1.15
RESOLUTION = 1024


def _grid():
    axis = ((np.arange(RESOLUTION) + 0.5) / RESOLUTION * 2 - 1) * EXTENT
    return np.meshgrid(axis.astype(np.float32), axis.astype(np.float32))


def _polygon(points):
    """Signed distance to a closed polygon, negative inside."""
    x, y = _grid()
    nearest = np.full_like(x, np.inf)
    inside = np.zeros(x.shape, bool)
    points = np.asarray(points, np.float32)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0)):
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        along = np.clip(along, 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2)
        if ay != by:  # a ray to the right crosses this edge
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _disc(cx, cy, radius):
    x, y = _grid()
    return np.hypot(x - cx, y - cy) - radius


def _corners(count, radius=1.0, turn=0.0):
    angle = 2 * np.pi * (np.arange(count) / count) + turn - np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius


def _star():
    points = np.empty((10, 2))
    points[0::2] = _corners(5)
    points[1::2] = _corners(5, 0.48, np.pi / 5)
    return _polygon(points + [0, 0.06])


def _heart():
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return _polygon(np.stack([x, y - 2.5], 1) / 17.0)


def _cross():
    a, b = 0.94, 0.33
    return _polygon([(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)])


def _arrow():
    tip, neck, head, shaft = 0.98, 0.04, 0.88, 0.42
    return _polygon([(tip, 0), (neck, head), (neck, shaft), (-0.92, shaft), (-0.92, -shaft), (neck, -shaft), (neck, -head)])


FIELDS = {
    "circle": lambda: _disc(0, 0, 0.94),
    "square": lambda: _polygon(_corners(4, 1.12, np.pi / 4)),
    "triangle": lambda: _polygon(_corners(3, 1.1) + [0, 0.24]),
    "star": _star,
    "heart": _heart,
    "ring": lambda: np.abs(_disc(0, 0, 0.73)) - 0.25,
    "cross": _cross,
    "moon": lambda: np.maximum(_disc(0.06, 0, 0.98), -_disc(0.56, 0, 0.74)),
    "hexagon": lambda: _polygon(_corners(6, 1.0, np.pi / 6)),
    "arrow": _arrow,
}
_tables = {}


def _field(shape, u, v):
    """Signed distance at the points (u, v), in units of the object's radius; u and v are 1-D, the result is [v, u]."""
    if shape not in _tables:
        _tables[shape] = FIELDS[shape]().astype(np.float32)
    column = np.clip((u / EXTENT + 1) / 2 * RESOLUTION, 0, RESOLUTION - 1).astype(np.int32)
    row = np.clip((v / EXTENT + 1) / 2 * RESOLUTION, 0, RESOLUTION - 1).astype(np.int32)
    return _tables[shape][np.ix_(row, column)]


# ---- pictures


def _ink(style, distance, x, y, size):
    """Which points are painted. distance [y, x] in pixels, negative inside; x, y: 1-D, pixels from the picture's corner.

    Patterns keep still where objects move, as if cut from one sheet of paper: a pattern that moves along can be drawn only
    once it is known to a pixel where the object lies, and a small network then leaves it out.
    """
    inside = distance < 0
    row, column = (y // CELL).astype(np.int8)[:, None], (x // CELL).astype(np.int8)[None, :]
    if style == "flat":
        pattern = True
    elif style == "outline":
        pattern = False
    elif style == "striped":
        pattern = row % 2 == 0
    elif style == "checkered":
        pattern = (row + column) % 2 == 0
    else:  # dotted: a hole in every second cell of every second row, each row shifted against the last
        dotted_cell = (row % 2 == 0) & ((column + row // 2) % 2 == 0)
        from_centre = ((x % CELL - CELL / 2) ** 2)[None, :] + ((y % CELL - CELL / 2) ** 2)[:, None]
        pattern = ~dotted_cell | (from_centre > HOLE**2)
    return inside & (pattern | (distance > -CONTOUR[size]))


def draw(attributes, rng, color_jitter=COLOR_JITTER):
    """One picture, uint8 [64, 64, 3], of the attributes (a dict), with jitter from rng."""
    size = attributes["size"]
    radius = RADIUS[size]
    centre = SIZE / 2 + CELL * rng.integers(-REACH[size], REACH[size] + 1, 2)
    color, background = (
        np.clip(np.add(base, rng.uniform(-color_jitter, color_jitter, 3)), 0, 255).astype(np.float32)
        for base in (COLORS[attributes["color"]], BACKGROUNDS[attributes["background"]])
    )
    axes = []
    for middle in centre:  # only the square around the object is looked at closely
        first, last = max(0, int(middle - radius)), min(SIZE, int(middle + radius))
        axes.append((first, last, (np.arange((last - first) * SUPERSAMPLING, dtype=np.float32) + 0.5) / SUPERSAMPLING + first - middle))
    (left, right, x), (top, bottom, y) = axes
    distance = _field(attributes["shape"], x / radius, y / radius) * radius
    ink = _ink(attributes["style"], distance, x + centre[0], y + centre[1], size)
    cover = ink.reshape(bottom - top, SUPERSAMPLING, right - left, SUPERSAMPLING).sum((1, 3), dtype=np.float32) / SUPERSAMPLING**2
    picture = np.tile(np.round(background).astype(np.uint8), (SIZE, SIZE, 1))
    picture[top:bottom, left:right] = np.round(background + (color - background) * cover[..., None])
    return picture


def sample(world, rng):
    """Random attributes, uniform over the world."""
    return {name: str(rng.choice(world.values(name))) for name in ATTRIBUTES}


# ---- captions

LEFT_OUT = {"shape": 0.08, "color": 0.2, "background": 0.5, "style": 0.4, "size": 0.5}
EMPTY = 0.1
TERSE = 0.12  # no article, and often no "shape": "red star", "red", "dotted style"
TERSE_SHAPE_LEFT_OUT = 0.4


def describe(shape=None, color=None, background=None, style=None, size=None, terse=False):
    """The caption of the attributes that are given."""
    noun = shape or ("" if terse and (color or background or style or size) else "shape")
    words = [word for word in (size, color, noun) if word]
    if words and not terse:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    if background:
        words.append(f"on a {background} background" if words else f"{background} background")
    text = " ".join(words)
    return text + (", " if text else "") + f"{style} style" if style else text


def caption(attributes, rng):
    """A caption of a picture, with attributes left out at random."""
    if rng.random() < EMPTY:
        return ""
    terse = rng.random() < TERSE
    left_out = dict(LEFT_OUT, shape=TERSE_SHAPE_LEFT_OUT) if terse else LEFT_OUT
    return describe(terse=terse, **{name: value for name, value in attributes.items() if rng.random() >= left_out[name]})


# ---- many at once


def _one(job):
    world, seed, index, color_jitter = job
    rng = np.random.default_rng([seed, index])
    attributes = sample(WORLDS[world], rng)
    return draw(attributes, rng, color_jitter), attributes


def render(world, seed, count, color_jitter=COLOR_JITTER, processes=2):
    """Pictures uint8 [count, 64, 64, 3], and the list of their attributes."""
    jobs = ((world.name, seed, index, color_jitter) for index in range(count))
    with Pool(processes) as pool:
        drawn = pool.map(_one, jobs, chunksize=256)
    return np.stack([picture for picture, _ in drawn]), [attributes for _, attributes in drawn]


def sheet(pictures, columns=8, gap=2):
    """A contact sheet, uint8 [H, W, 3], of uint8 [N, 64, 64, 3]."""
    rows = -(-len(pictures) // columns)
    canvas = np.full((rows * (SIZE + gap) + gap, columns * (SIZE + gap) + gap, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = (gap + (SIZE + gap) * place for place in divmod(index, columns))
        canvas[top : top + SIZE, left : left + SIZE] = picture
    return canvas
