"""Scenes of the toy world in which boxes are not enough, or things are small; and questions about them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.toy.questions.questions import Example, make_example
from roi_agent.model.toy.world.art import COLOURS, KINDS, extent
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene, render

SIDE = 384  # pixels of a render: three times what nano reads
FAMILIES = ("colour", "kind", "presence", "same_colour", "same_kind")  # whose truth neither overlap nor size changes
_VISIBLE = 0.25  # of a thing, at least
_SHRUNK = 0.3  # of its side is left of a small thing: 4 to 12 % of the image's


@dataclass(frozen=True, slots=True)
class Picture:
    """A scene as somebody sees it.

    regions: one for each thing, with the mask of its visible pixels and that mask's tight box.
    """

    scene: Scene
    image: LoadedImage
    regions: tuple[Region, ...]


def overlapping_scene(seed: int) -> Scene:
    """Up to four things, and on each another of about its size, kind and colour both different: their boxes are much alike."""
    rng = Random(seed ^ 0x0E7)
    while True:
        below = make_scene(rng.randrange(2**40), num_things=rng.randint(2, 4)).things
        things = tuple(each for thing in below for each in (thing, _upon(thing, rng)))
        if _share_seen(Scene(seed, things)) >= _VISIBLE:
            return Scene(seed, things)


def small_scene(seed: int) -> Scene:
    """The scene of the seed, with each thing shrunk around its centre."""
    scene = make_scene(seed)
    return replace(scene, things=tuple(replace(thing, box=_scaled(thing.box, _SHRUNK)) for thing in scene.things))


SCENES = {"overlapping": overlapping_scene, "small": small_scene}


def picture_of(scene: Scene) -> Picture:
    """Rendered, with the truth as regions."""
    rendered = render(scene, SIDE)
    masks = [Mask.from_array(mask) for mask in rendered.masks]
    regions = tuple(Region(f"region{index}", mask.box, mask=mask) for index, mask in enumerate(masks, 1))
    return Picture(scene, load_image(rendered.image), regions)


def questions_of(scene: Scene, families: Iterator[str], count: int) -> list[Example]:
    """So many questions about the scene, of the families in turn where the scene offers one."""
    rng, found = Random(scene.seed), list[Example]()
    for _ in range(4 * count):
        if len(found) < count and (example := make_example(scene, next(families), rng)):
            found.append(example)
    return found


def regions_of(picture: Picture, example: Example, *, shuffled: bool = False) -> list[Region]:
    """The regions of a question under its handles; shuffled, each is that of the next thing."""
    step = 1 if shuffled else 0
    places = {name: (index + step) % len(picture.regions) for name, index in example.regions}
    return [replace(picture.regions[place], name=name) for name, place in places.items()]


def _upon(thing: Thing, rng: Random) -> Thing:
    kind = rng.choice([each for each in KINDS if each != thing.kind])
    colour = rng.choice([each for each in COLOURS if each != thing.colour])
    x1, y1, x2, y2 = thing.box
    longer = max(x2 - x1, y2 - y1) * rng.uniform(0.6, 1.0)
    width, height = (longer * share for share in extent(kind))
    left = (x1 + x2 - width) / 2 + rng.uniform(-0.25, 0.25) * (x2 - x1)
    top = (y1 + y2 - height) / 2 + rng.uniform(-0.25, 0.25) * (y2 - y1)
    left, top = min(max(left, 0.0), 1 - width), min(max(top, 0.0), 1 - height)
    return Thing(kind, colour, thing.size, (left, top, left + width, top + height))


def _scaled(box: tuple[float, ...], share: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * (1 - share) / 2, (y2 - y1) * (1 - share) / 2
    return x1 + dx, y1 + dy, x2 - dx, y2 - dy


def _share_seen(scene: Scene) -> float:
    """The least share that is seen of any thing."""
    seen = render(scene, 96).masks.sum((1, 2))
    whole = [render(replace(scene, things=(thing,)), 96).masks.sum() for thing in scene.things]
    return float((seen / np.maximum(whole, 1)).min())
