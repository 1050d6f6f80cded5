"""Questions about a whole scene, without regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.toy.world.scenes import Scene
from roi_agent.prompts import load_blocks


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """A question, its answer, and three wrong answers; those that are true of another thing in the scene come first."""

    question: str
    answer: str
    wrong: tuple[str, ...]


def scene_questions(scene: Scene, rng: Random) -> list[SceneQuestion]:
    """Return all questions about the colour of a thing with a unique kind, or the kind of a thing with a unique colour."""
    found = []
    for name, known, asked, values in (("colour_of", "kind", "colour", tuple(COLOURS)), ("kind_of", "colour", "kind", KINDS)):
        given = [getattr(thing, known) for thing in scene.things]
        for thing, value in zip(scene.things, given, strict=True):
            if given.count(value) > 1:
                continue
            answer = getattr(thing, asked)
            line = rng.choice(load_blocks("toy_layouts")[name].splitlines())
            wrong = _wrong(answer, [getattr(each, asked) for each in scene.things], values, rng)
            found.append(SceneQuestion(line.format(thing=value), answer, wrong))
    rng.shuffle(found)
    return found


def _wrong(answer: str, in_scene: Sequence[str], values: Sequence[str], rng: Random) -> tuple[str, ...]:
    others = dict.fromkeys(rng.sample(in_scene, len(in_scene)) + rng.sample(values, len(values)))
    return tuple([each for each in others if each != answer][:3])
