"""English words for the offline planner: tokens, colours, sizes, numbers, singular and plural."""

import re
from dataclasses import dataclass

COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black", "grey", "violet", "beige",
    "turquoise", "cyan", "magenta", "golden", "silver",
)  # fmt: skip
_SPELLINGS = {"gray": "grey", "color": "colour", "colors": "colours", "colored": "coloured", "center": "centre", "photo": "image"}
SIZES = {
    "small": "small", "little": "small", "tiny": "small", "medium": "medium", "medium-sized": "medium",
    "large": "large", "big": "large", "huge": "large",
}  # fmt: skip
GENERIC = ("thing", "object", "item", "one", "shape", "anything", "something", "everything", "region", "element")
PRONOUNS = ("it", "they", "them", "these", "those", "this", "that")
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_TOKEN = re.compile(r"<region[1-9]\d*>|[^\W_]+(?:[-'’][^\W_]+)*|[,;:]")  # noqa: RUF001 - users type this apostrophe
_CONTRACTED = re.compile(r"\b(what|where|who|which|there|it|that)['’]s\b")  # noqa: RUF001
_HANDLE = re.compile(r"<?(region[1-9]\d*)>?")
_SAME_IN_PLURAL = ("fish", "scissors", "sheep", "glasses", "trousers", "deer")
_IRREGULAR = {"people": "person", "men": "man", "women": "woman", "children": "child", "mice": "mouse", "feet": "foot"}
_IRREGULAR |= {"leaves": "leaf", "knives": "knife", "geese": "goose", "shelves": "shelf", "wolves": "wolf", "buses": "bus"}


@dataclass(frozen=True, slots=True)
class Description:
    """The attributes in a description such as "a large red star"; None for missing ones."""

    kind: str | None
    colour: str | None = None
    size: str | None = None

    @property
    def short(self) -> str:
        """Colour and kind, as in "red star"."""
        return " ".join(word for word in (self.colour, self.kind) if word)


def tokens(sentence: str) -> tuple[str, ...]:
    """Split a sentence into words in lower case; handles become <region1>, commas are words."""
    found = []
    plain = _CONTRACTED.sub(r"\1 is", sentence.lower())
    for word in _TOKEN.findall(plain.replace("’s", "").replace("'s", "")):  # noqa: RUF001
        handle = _HANDLE.fullmatch(word)
        found.append(f"<{handle[1]}>" if handle else "," if word in ":;" else _SPELLINGS.get(word, word))
    return tuple(found)


def sentences(task: str) -> list[str]:
    """Split a task into sentences without final punctuation."""
    parts = re.split(r"(?<=[.?!])\s+|\n+|;\s+", task.strip())
    return [cleaned for part in parts if (cleaned := part.strip(" \t.?!,;:"))]


def described(text: str) -> Description:
    """Parse a description such as "a large red star"; the words besides colour and size are the kind."""
    words = [word for word in tokens(text) if word not in ("a", "an", "the", ",")]
    colour = next((word for word in words if word in COLOURS), None)
    size = next((SIZES[word] for word in words if word in SIZES), None)
    rest = [word for word in words if word not in SIZES and word not in COLOURS]
    return Description(" ".join(rest) or None, colour, size)


def singular(word: str) -> str:
    """Return the singular of a noun, by rule."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _SAME_IN_PLURAL or word.endswith(("ss", "us", "is")) or len(word) < 4:
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")) or (word.endswith("uses") and not word.endswith("ouses")):
        return word[:-2]
    return word.removesuffix("s")


def is_plural(word: str) -> bool:
    """Whether a noun is plural; words with identical singular and plural count as singular."""
    return singular(word) != word


def number(count: int) -> str:
    """Write a count in words up to twelve, "none" for zero."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)
