"""A benchmark of questions about scenes as people write them: contractions, typos, follow-ups, two images.

The wordings are in `prompts/natural_questions.md`, at least eight for each intent, and each is asked once.  Slots and answers
come from held-out scenes in which the answer is unambiguous.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from roi_agent.model.data.english import plural
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.questions.natural_intents import INTENTS
from roi_agent.model.toy.questions.natural_terms import Drawn
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.toy.world.scenes import Scene, make_scene
from roi_agent.prompts import load_blocks

REFUSAL = "refusal"  # the right reply to a question that no image can answer

_HANDLES = re.compile(r"<?\bregion\s?\d+\b>?")
_NUMBERS = {"no": 0, "nothing": 0, "zero": 0, **{word: number for number, word in enumerate(COUNTS)}}
_KINDS = {form: kind for kind in KINDS for form in (kind, plural(kind))}
_PLACES = {"upper": "top", "lower": "bottom", "center": "centre", "middle": "centre"}
_PLACES |= {word: word for word in ("top", "bottom", "left", "right", "centre")}
_IMAGES = {"1": "image1", "image1": "image1", "first": "image1", "2": "image2", "image2": "image2", "second": "image2"}


@dataclass(frozen=True, slots=True)
class NaturalQuestion:
    """A conversation about one or two scenes, whose last turn is scored.

    number: of the wording among those of the intent.
    reply: the kind of answer, such as "number" or "colours"; see `is_right`.  truth: its values.
    """

    intent: str
    number: int
    scenes: tuple[Scene, ...]
    turns: tuple[str, ...]
    reply: str
    truth: tuple[str, ...]


def natural_questions(*, first_seed: int = 0) -> Iterator[NaturalQuestion]:
    """Yield a question for each wording, each about another scene; they depend on the seed only.

    Error: InvalidSetting, possibly after some questions, if there are not enough held-out seeds.
    """
    seed = first_seed
    for intent, wordings in load_blocks("natural_questions").items():
        for number, wording in enumerate(wordings.splitlines()):
            scenes, drawn, seed = _next_scenes(intent, seed, wants_yes=number % 2 == 0)
            turns = tuple(_sentence(turn.format(**drawn.slots)) for turn in wording.split(" | "))
            yield NaturalQuestion(intent, number, scenes, turns, drawn.reply, drawn.truth)


def is_right(question: NaturalQuestion, answer: str) -> bool:
    """Whether the answer contains the truth and no other value of its kind, in any words.

    Not for REFUSAL, which is checked by the status of a run and not by its answer.
    """
    return _READERS[question.reply](_HANDLES.sub(" ", answer.lower()), question.truth)


def _next_scenes(intent: str, seed: int, *, wants_yes: bool) -> tuple[tuple[Scene, ...], Drawn, int]:
    """Return the next scenes with an unambiguous answer for the intent, and the seed after them."""
    draw = INTENTS[intent]
    for first in range(seed, TRAINING_SEEDS - draw.images + 1):
        scenes = tuple(make_scene(first + i) for i in range(draw.images))
        drawn = draw.from_scenes(scenes, Random(f"{intent} {first}"), wants_yes)
        if drawn is not None:
            return scenes, drawn, first + draw.images
    raise InvalidSetting(f"seed {TRAINING_SEEDS} belongs to training", do=f"start far enough below {TRAINING_SEEDS}")


def _sentence(text: str) -> str:
    """Capitalise a sentence that begins with a slot."""
    return text[0].upper() + text[1:] if text.startswith(tuple(COLOURS)) else text


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", text)


def _yes_no(text: str, truth: tuple[str, ...]) -> bool:
    return _words(text)[:1] == list(truth)


def _number(text: str, truth: tuple[str, ...]) -> bool:
    numbers = [int(word) if word.isdigit() else _NUMBERS[word] for word in _words(text) if word.isdigit() or word in _NUMBERS]
    return numbers[:1] == [int(truth[0])]


def _colours(text: str, truth: tuple[str, ...]) -> bool:
    return [word for word in _words(text) if word in COLOURS] == list(truth)


def _thing(text: str, truth: tuple[str, ...]) -> bool:
    """Whether the text names the kind and no other kind, and no other colour; the colour is optional."""
    colour, kind = truth
    kinds = {_KINDS[word] for word in _words(text) if word in _KINDS}
    return kinds == {kind} and {word for word in _words(text) if word in COLOURS} <= {colour}


def _kinds(text: str, truth: tuple[str, ...]) -> bool:
    return {_KINDS[word] for word in _words(text) if word in _KINDS} == set(truth)


def _place(text: str, truth: tuple[str, ...]) -> bool:
    return {_PLACES[word] for word in _words(text) if word in _PLACES} == set(truth)


def _image(text: str, truth: tuple[str, ...]) -> bool:
    return {_IMAGES[word] for word in re.findall(r"[a-z]+\d+|[a-z]+|\d+", text) if word in _IMAGES} == set(truth)


_READERS: dict[str, Callable[[str, tuple[str, ...]], bool]] = {
    "yes_no": _yes_no,
    "number": _number,
    "colours": _colours,
    "thing": _thing,
    "kinds": _kinds,
    "place": _place,
    "image": _image,
}
