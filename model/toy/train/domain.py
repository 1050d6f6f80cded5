"""What the scenes that a model was trained on look like, so that it can tell other images from them."""

import io
from random import Random

import torch
from PIL import Image

from roi_agent.model.domain.domains import SceneDomain
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import COLOURS, rim_colour
from roi_agent.model.toy.world.backgrounds import background
from roi_agent.model.toy.world.scenes import make_scene, render_image

SCENES = 2000  # that are looked at
_SIDES = (128, 800)  # pixels of a scene
_RATIO = 3  # of a canvas, at most
_FILLED = 0.5  # of its shorter side, at least
_QUALITY = (60, 95)  # of JPEG
_JPEG_SIDE = 200  # pixels: smaller scenes lose their colours to JPEG


def fit_domain(*, known: str) -> SceneDomain:
    """The domain of a model of the toy world.  known: what the model knows, in words."""
    fills = [list(map(float, colour)) for colour in COLOURS.values()]
    rims = [list(map(float, rim_colour(colour))) for colour in COLOURS.values()]
    images = (seen_scene(TRAINING_SEEDS + number) for number in range(SCENES))  # one at a time: together they take gigabytes
    return SceneDomain.fit(images, torch.tensor(fills), torch.tensor(rims), known=known)


def seen_scene(seed: int) -> Image.Image:
    """A scene as people may have it: of any size, every second on a canvas of another shape, every second as a JPEG."""
    rng = Random(f"seen {seed}")
    low, high = _SIDES
    side = round(low * (high / low) ** rng.random())
    image = Image.fromarray(render_image(make_scene(seed), side))
    if rng.random() < 0.5:
        image = _on_canvas(image, rng)
    return _as_jpeg(image, rng.randint(*_QUALITY)) if rng.random() < 0.5 and side >= _JPEG_SIDE else image


def _on_canvas(scene: Image.Image, rng: Random) -> Image.Image:
    """The scene somewhere on a larger ground of the toy world, wide or tall."""
    short = round(scene.width / rng.uniform(_FILLED, 1))
    long = round(short * _RATIO ** rng.random())
    width, height = (long, short) if rng.random() < 0.5 else (short, long)
    ground = Image.fromarray(background(rng, long)).crop((0, 0, width, height))
    ground.paste(scene, (rng.randint(0, width - scene.width), rng.randint(0, height - scene.height)))
    return ground


def _as_jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")
