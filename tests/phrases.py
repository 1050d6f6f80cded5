"""What a phrase means, read from its words alone: a second opinion on what the data says."""

from roi_agent.model.data.english import plural
from roi_agent.model.toy.questions.phrases import words
from roi_agent.model.toy.world.art import COLOURS, KINDS
from roi_agent.model.toy.world.scenes import Thing

SIZE_WORDS = {"small": "small", "little": "small", "medium": "medium", "large": "large", "big": "large"}
NOUNS = {noun: kind for kind in KINDS for noun in (kind, plural(kind))}


def read(text: str) -> dict[str, str]:
    """What a phrase asks for, by its words alone."""
    asked = {}
    for word in text.split():
        if word in SIZE_WORDS:
            asked["size"] = SIZE_WORDS[word]
        elif word in COLOURS:
            asked["colour"] = word
        elif word in NOUNS:
            asked["kind"] = NOUNS[word]
        elif word not in words():
            asked["unknown"] = word
    return asked


def true_of(text: str, thing: Thing) -> bool:
    """Whether the words fit the thing."""
    return all(getattr(thing, name, None) == value for name, value in read(text).items())
