"""Scenes as LLaVA-Instruct-150k: conversations about whole images, and simulated detections."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from roi_agent.model.toy.layouts.files import render_images, split_seeds, write_json
from roi_agent.model.toy.layouts.scene_questions import scene_questions
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.scenes import RenderedScene, make_scene

MOST_TURNS = 3
_SURE, _UNSURE = (0.5, 0.99), (0.05, 0.29)  # score ranges of right and of wrong detections


def write_llava(folder: Path, seeds: Sequence[int], side: int) -> None:
    """Write `llava_instruct_150k.json`, `detections.json` and `images/`.

    The data set has a training split only, so held-out scenes are skipped, as are scenes without a question.
    """
    samples, detections = [], {}
    train = split_seeds(seeds)["train"]
    facts = {seed: scene_questions(make_scene(seed), Random(f"llava {seed}"))[:MOST_TURNS] for seed in train}
    names = {seed: f"{seed:012d}.jpg" for seed, found in facts.items() if found}
    for rendered in render_images(folder, names, side):
        seed, rng = rendered.scene.seed, Random(f"llava detections {rendered.scene.seed}")
        messages = [text for fact in facts[seed] for text in (fact.question, fact.answer)]
        messages[0] = f"{messages[0]}\n<image>" if rng.random() < 0.5 else f"<image>\n{messages[0]}"
        turns = [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(messages)]
        samples.append({"id": f"{seed:012d}", "image": names[seed], "conversations": turns})
        detections[names[seed]] = _detections(rendered, rng)
    write_json(folder / "llava_instruct_150k.json", samples)
    write_json(folder / "detections.json", detections)


def _detections(rendered: RenderedScene, rng: Random) -> list[dict[str, Any]]:
    """Return a detection of every thing, and one with a wrong kind and a low score, as detectors produce."""
    found = [
        {"box": list(box), "label": thing.kind, "score": rng.uniform(*_SURE)}
        for thing, box in zip(rendered.scene.things, rendered.boxes.tolist(), strict=True)
    ]
    there = {thing.kind for thing in rendered.scene.things}
    wrong = rng.choice([kind for kind in KINDS if kind not in there])
    found.append({"box": rng.choice(found)["box"], "label": wrong, "score": rng.uniform(*_UNSURE)})
    rng.shuffle(found)
    return found
