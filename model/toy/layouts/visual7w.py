"""Scenes as Visual7W: questions with four answers in words (telling), or with four boxes (pointing)."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from roi_agent.model.toy.layouts.files import render_images, split_seeds, write_json
from roi_agent.model.toy.layouts.scene_questions import scene_questions
from roi_agent.model.toy.world.scenes import RenderedScene, Scene
from roi_agent.prompts import load_blocks

MAX_TELLING, MAX_POINTING = 3, 2  # questions of a scene
_CHOICES = 4
_NAMES = (("kind",), ("colour", "kind"), ("size", "kind"), ("size", "colour", "kind"))  # attributes that a question may name


def write_visual7w(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `dataset_v7w_telling.json`, `dataset_v7w_pointing.json` and `images/v7w_SEED.jpg`."""
    telling, pointing, boxes = list[dict[str, Any]](), list[dict[str, Any]](), list[dict[str, Any]]()
    numbers = count(1)
    for split, chosen in split_seeds(seeds).items():
        names = {seed: f"v7w_{seed}.jpg" for seed in chosen}
        for rendered in render_images(folder, names, side):
            seed, rng = rendered.scene.seed, Random(f"visual7w {rendered.scene.seed}")
            image = {"image_id": seed, "filename": names[seed], "split": split}
            facts = scene_questions(rendered.scene, rng)[:MAX_TELLING]
            pairs = [_pair(next(numbers), seed, each.question, each.answer, list(each.wrong)) for each in facts]
            telling.append(image | {"qa_pairs": pairs})
            found = _boxes(rendered, first=len(boxes))
            pairs = []
            for index, question in _pointing_questions(rendered.scene, rng)[:MAX_POINTING]:
                right = found[index]["box_id"]
                wrong = rng.sample([box["box_id"] for box in found if box["box_id"] != right], _CHOICES - 1)
                pairs.append(_pair(next(numbers), seed, question, right, wrong))
            pointing.append(image | {"qa_pairs": pairs})
            boxes += found
    write_json(folder / "dataset_v7w_telling.json", {"dataset": "visual7w-telling", "images": telling})
    write_json(folder / "dataset_v7w_pointing.json", {"dataset": "visual7w-pointing", "images": pointing, "boxes": boxes})


def _boxes(rendered: RenderedScene, *, first: int) -> list[dict[str, Any]]:
    """Return the boxes of a scene's things, in order.  first: id of the first box."""
    return [
        {"box_id": number, "name": thing.kind, "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        for number, (thing, (x1, y1, x2, y2)) in enumerate(
            zip(rendered.scene.things, rendered.boxes.tolist(), strict=True), start=first
        )
    ]


def _pair(number: int, image: int, question: str, answer: object, wrong: Sequence[object]) -> dict[str, Any]:
    pair = {"qa_id": number, "question": question, "answer": answer, "multiple_choices": wrong}
    return pair | {"type": question.split()[0].lower(), "image_id": image}


def _pointing_questions(scene: Scene, rng: Random) -> list[tuple[int, str]]:
    """Return a question for every thing that words identify, after its index; none with fewer than four things."""
    if len(scene.things) < _CHOICES:
        return []
    found = []
    for index, thing in enumerate(scene.things):
        unique = [
            names for names in _NAMES if [_describe(each, names) for each in scene.things].count(_describe(thing, names)) == 1
        ]
        if unique:
            line = rng.choice(load_blocks("toy_layouts")["which_is"].splitlines())
            found.append((index, line.format(thing=_describe(thing, rng.choice(unique)))))
    rng.shuffle(found)
    return found


def _describe(thing: object, names: Sequence[str]) -> str:
    """Return a description such as "large star"."""
    return " ".join(getattr(thing, name) for name in names)
