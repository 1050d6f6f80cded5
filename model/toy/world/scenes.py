"""Scenes of the toy world: a layout with exact ground truth from a seed, and its pixels at any size.

Layouts are cheap, so that questions can be generated for millions of scenes; pixels are rendered on demand.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES, extent, glyph, jittered, rim_colour
from roi_agent.model.toy.world.backgrounds import background

UnitBox = tuple[float, float, float, float]  # normalised xyxy

SCHEMA_VERSION = 1
NUM_THINGS = (2, 8)  # minimum and maximum number of things
MARGIN = 0.012  # of the side, between a thing and the frame
GAP = 0.012  # of the side, between two things that do not overlap
MAX_COVERED = 0.35  # maximum share of a thing's box covered by a later thing
OVERLAPPING = 0.27  # share of scenes with an overlapping pair
MIN_SIDE, MAX_SIDE = 32, 4096  # pixels
PIXELS = 1 << 64  # separates the random stream of a scene's pixels from that of its layout
VISIBLE = 64  # of 255, minimum coverage of a pixel that belongs to a thing


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing of a scene.  box: normalised xyxy of the whole thing, including covered parts."""

    kind: str
    colour: str
    size: str
    box: UnitBox

    @property
    def name(self) -> str:
        """The full name, such as "large red star"."""
        return f"{self.size} {self.colour} {self.kind}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A layout.  things: in drawing order; a later one covers an earlier one."""

    seed: int
    things: tuple[Thing, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """A scene's pixels and ground truth.

    image: RGB, side x side.  masks: (N, side, side) bool, the visible pixels.
    boxes: (N, 4) float64 xyxy in pixels, tight around whole things, including covered parts, 0 <= x1 < x2 <= side.
    """

    scene: Scene
    image: Image.Image
    masks: NDArray[np.bool_]
    boxes: NDArray[np.float64]


def make_scene(seed: int, *, num_things: int | None = None) -> Scene:
    """Return the layout of a seed, with 2 to 8 things, or `num_things`.  Error: InvalidSetting."""
    _check_seed(seed)
    fewest, most = NUM_THINGS
    if num_things is not None and not fewest <= num_things <= most:
        raise InvalidSetting(f"num_things is {num_things}", do=f"give {fewest} to {most}")
    rng = Random(seed)
    count = rng.randint(fewest, most) if num_things is None else num_things
    looks = _draw_looks(rng, count)
    overlapping = rng.random() < OVERLAPPING
    things = _place_things(rng, looks, overlapping)
    while things is None:  # too crowded: reduce every size by one step
        looks = [(kind, colour, _SMALLER.get(size, "small")) for kind, colour, size in looks]
        things = _place_things(rng, looks, overlapping)
    rng.shuffle(things)  # else the index would reveal the size
    return Scene(seed, tuple(things))


def render_image(scene: Scene, side: int = 384) -> NDArray[np.uint8]:
    """Return the pixels only: (side, side, 3) uint8.  Faster than `render`, which returns the same image and its ground truth."""
    return np.asarray(_paint(scene, side))


def render(scene: Scene, side: int = 384) -> RenderedScene:
    """Return the image, and the visible mask and the tight box of every thing."""
    image = _paint(scene, side)
    boxes = [_pixel_box(thing, side) for thing in scene.things]
    masks = np.zeros((len(boxes), side, side), np.bool_)
    covered = np.zeros((side, side), np.bool_)
    for i in reversed(range(len(boxes))):  # from the topmost down
        x1, y1, x2, y2 = boxes[i]
        whole, _ = glyph(scene.things[i].kind).at((x2 - x1, y2 - y1))
        masks[i, y1:y2, x1:x2] = np.asarray(whole) >= VISIBLE
        masks[i] &= ~covered
        covered |= masks[i]
    return RenderedScene(scene, image, masks, np.array(boxes, np.float64).reshape(-1, 4))


def scene_record(scene: Scene, side: int = 384) -> dict[str, object]:
    """Return the ground truth as plain JSON values; boxes are xyxy in pixels."""
    things = [
        {"name": t.name, "kind": t.kind, "colour": t.colour, "size": t.size, "box": list(_pixel_box(t, side))}
        for t in scene.things
    ]
    return {"schema_version": SCHEMA_VERSION, "seed": scene.seed, "side": side, "things": things}


def save_scene(folder: str | Path, scene: Scene, side: int = 384) -> tuple[Path, Path]:
    """Write `scene-<seed>.png`, and the ground truth as `.json` beside it; return both paths."""
    image_path = Path(folder) / f"scene-{scene.seed:06d}.png"
    truth_path = image_path.with_suffix(".json")
    image = _paint(scene, side)
    image_path.parent.mkdir(parents=True, exist_ok=True)
    image.save(image_path)
    truth = {**scene_record(scene, side), "image": image_path.name}
    truth_path.write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return image_path, truth_path


# Layout

Look = tuple[str, str, str]  # kind, colour, size

_COLOUR_NAMES, _SIZE_NAMES = tuple(COLOURS), tuple(SIZES)
_SMALLER = {"large": "medium", "medium": "small"}


def _draw_looks(rng: Random, count: int) -> list[Look]:
    """Draw looks that often agree in part; else "the star" or "the red one" would nearly always be unique."""
    looks: list[Look] = []
    for _ in range(count):
        kind, colour, size = rng.choice(KINDS), rng.choice(_COLOUR_NAMES), rng.choice(_SIZE_NAMES)
        if looks:
            same_kind, same_colour, same_size = rng.choice(looks)
            draw = rng.random()
            if draw < 0.10:
                kind, colour, size = same_kind, same_colour, same_size
            elif draw < 0.16:
                kind, colour = same_kind, same_colour
            elif draw < 0.34:
                kind = same_kind
            elif draw < 0.52:
                colour = same_colour
        looks.append((kind, colour, size))
    return looks


def _place_things(rng: Random, looks: list[Look], overlapping: bool) -> list[Thing] | None:
    """Return a thing with a box for every look, large ones first, smaller where needed; None if even small ones do not fit."""
    by_size = sorted(looks, key=lambda look: -SIZES[look[2]][0])
    pair = rng.sample(range(len(looks)), 2) if overlapping else []
    order = [by_size[i] for i in pair] + [look for i, look in enumerate(by_size) if i not in pair]
    things: list[Thing] = []
    boxes: list[UnitBox] = []
    for i, (kind, colour, wanted) in enumerate(order):
        size: str | None = wanted
        box = None
        while size is not None and box is None:
            longer = rng.uniform(*SIZES[size])
            width, height = (longer * share for share in extent(kind))
            overlaps = overlapping and i == 1
            box = _overlapping_box(rng, width, height, boxes[0]) if overlaps else _free_box(rng, width, height, boxes)
            fitted, size = size, _SMALLER.get(size)
        if box is None:
            return None
        boxes.append(box)
        things.append(Thing(kind, colour, fitted, box))
    return things


def _free_box(rng: Random, width: float, height: float, others: list[UnitBox]) -> UnitBox | None:
    """Draw a free place, or return None after some tries."""
    across, down = 1 - 2 * MARGIN - width, 1 - 2 * MARGIN - height
    for _ in range(24):
        x1, y1 = MARGIN + rng.random() * across, MARGIN + rng.random() * down
        x2, y2 = x1 + width, y1 + height
        for ox1, oy1, ox2, oy2 in others:
            if x1 < ox2 + GAP and x2 > ox1 - GAP and y1 < oy2 + GAP and y2 > oy1 - GAP:
                break
        else:
            return x1, y1, x2, y2
    return None


def _overlapping_box(rng: Random, width: float, height: float, other: UnitBox) -> UnitBox | None:
    """Draw a place that overlaps `other`, or return None.  Either may be painted last, so the smaller box limits the overlap."""
    ox1, oy1, ox2, oy2 = other
    smaller = min(width * height, (ox2 - ox1) * (oy2 - oy1))
    for _ in range(40):
        x1, y1 = rng.uniform(ox1 - width, ox2), rng.uniform(oy1 - height, oy2)
        x2, y2 = x1 + width, y1 + height
        if min(x1, y1) < MARGIN or max(x2, y2) > 1 - MARGIN:
            continue
        shared = (min(x2, ox2) - max(x1, ox1)) * (min(y2, oy2) - max(y1, oy1))
        if 0.05 <= shared / smaller <= MAX_COVERED - 0.02:  # with a margin for rounding to pixels
            return x1, y1, x2, y2
    return None


# Pixels


def _paint(scene: Scene, side: int) -> Image.Image:
    if not MIN_SIDE <= side <= MAX_SIDE:
        raise InvalidSetting(f"the side is {side} pixels", do=f"give {MIN_SIDE} to {MAX_SIDE}")
    rng = Random(scene.seed ^ PIXELS)
    fills = [jittered(thing.colour, rng) for thing in scene.things]
    image = Image.fromarray(background(rng, side))
    for thing, fill in zip(scene.things, fills, strict=True):
        x1, y1, x2, y2 = _pixel_box(thing, side)
        whole, core = glyph(thing.kind).at((x2 - x1, y2 - y1))
        image.paste(rim_colour(fill), (x1, y1), whole)
        image.paste(fill, (x1, y1), core)
    return image


def _pixel_box(thing: Thing, side: int) -> tuple[int, int, int, int]:
    """Return the thing's box, rounded to whole pixels."""
    x1, y1, x2, y2 = (round(v * side) for v in thing.box)
    return x1, y1, x2, y2


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise InvalidSetting(f"seed is {seed}", do="give 0 or more")
