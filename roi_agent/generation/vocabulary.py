"""The vocabulary of descriptions: kinds to look for, and alternatives to compare a description with."""

import re
from dataclasses import dataclass
from random import Random

from PIL import Image

from roi_agent.model.data.english import with_article
from roi_agent.model.detection.detector import PhraseDetector, parse_phrases
from roi_agent.model.errors import InvalidSetting
from roi_agent.prompts import load_blocks

_CHOICES = 12  # maximum options of one choice: each costs a forward pass of the language model
_SIDE = 64  # of the blank image for finding out a detector's unknown words


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words for kinds of objects, colours and sizes, in lower case."""

    kinds: tuple[str, ...]
    colours: tuple[str, ...]
    sizes: tuple[str, ...]

    @classmethod
    def known_to(cls, detector: PhraseDetector, phrases: tuple[str, ...] = ()) -> "Vocabulary":
        """Return the given phrases as kinds, or those of `prompts/generation.md`, without words that the detector does not know.

        Error: InvalidSetting if it knows none of them.
        """
        blocks = {name: tuple(load_blocks("generation")[name].splitlines()) for name in ("kinds", "colours", "sizes")}
        wanted = parse_phrases(phrases or blocks["kinds"])
        unknown = detector.candidates([Image.new("RGB", (_SIDE, _SIDE))], wanted)[0].unknown
        if not (kinds := tuple(phrase for phrase in wanted if phrase not in unknown)):
            raise InvalidSetting("the detector knows none of the words", do='name others: --phrases "dog . red car"')
        return cls(kinds, blocks["colours"], blocks["sizes"])

    def of(self, attribute: str) -> tuple[str, ...]:
        """Return the words for "kind" or "colour"."""
        return self.kinds if attribute == "kind" else self.colours

    def read(self, attribute: str, answer: str) -> str:
        """Return the only (longest) word of the vocabulary in an answer, otherwise the answer without its article."""
        text = re.sub(r"^(?:an?|the) ", "", " ".join(answer.lower().split()).rstrip("."))
        if attribute == "name":
            return text
        found = [word for word in self.of(attribute) if re.search(rf"\b{re.escape(word)}\b", text)]
        longest = [word for word in found if not any(word != other and word in other for other in found)]
        return longest[0] if len(longest) == 1 else text

    def alternatives(self, attribute: str, text: str, others: tuple[str, ...], rng: Random) -> tuple[str, ...]:
        """Return the options for a choice: the description itself, those of other regions of the image, then random words."""
        pool = self._changed(text, rng) if attribute == "name" else rng.sample(self.of(attribute), len(self.of(attribute)))
        options = dict.fromkeys([text, *others, *pool])
        return tuple(options)[:_CHOICES]

    def _changed(self, name: str, rng: Random) -> list[str]:
        """Return the name with one of its words replaced, and some kinds alone."""
        changed = []
        for words, count in ((self.sizes, 2), (self.colours, 3), (self.kinds, 3)):
            for word in (each for each in words if re.search(rf"\b{re.escape(each)}\b", name)):
                others = [each for each in words if each != word]
                for other in rng.sample(others, min(count, len(others))):
                    changed.append(re.sub(rf"\b{re.escape(word)}\b", other, name))
        return [*changed, *rng.sample(self.kinds, min(4, len(self.kinds)))]


def worded(attribute: str, text: str) -> str:
    """Return a description as it appears in an answer: "red", "star", "a large red star"."""
    return with_article(text) if attribute == "name" else text
