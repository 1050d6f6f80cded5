"""The words in which things are described: kinds to look for, and what a description is compared with."""

import re
from dataclasses import dataclass
from random import Random

from PIL import Image

from roi_agent.model.data.wording import article
from roi_agent.model.detection.detector import PhraseDetector, parse_phrases
from roi_agent.model.errors import InvalidSetting
from roi_agent.prompts import load_blocks

_CHOICES = 12  # options of one choice, at most: each costs a pass of the language model
_SIDE = 64  # of a blank image, on which a detector is asked for its words


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words for kinds of things, colours and sizes, in lower case."""

    kinds: tuple[str, ...]
    colours: tuple[str, ...]
    sizes: tuple[str, ...]

    @classmethod
    def known_to(cls, detector: PhraseDetector, phrases: tuple[str, ...] = ()) -> "Vocabulary":
        """The given phrases as kinds, or else those of `prompts/generation.md`; without those that the detector never learned.

        Error: InvalidSetting where it knows none of them.
        """
        blocks = {name: tuple(load_blocks("generation")[name].splitlines()) for name in ("kinds", "colours", "sizes")}
        wanted = parse_phrases(phrases or blocks["kinds"])
        unknown = detector.candidates([Image.new("RGB", (_SIDE, _SIDE))], wanted)[0].unknown
        if not (kinds := tuple(phrase for phrase in wanted if phrase not in unknown)):
            raise InvalidSetting("the detector knows none of the words", do='name others: --phrases "dog . red car"')
        return cls(kinds, blocks["colours"], blocks["sizes"])

    def of(self, attribute: str) -> tuple[str, ...]:
        """The words for "kind" or "colour"."""
        return self.kinds if attribute == "kind" else self.colours

    def read(self, attribute: str, answer: str) -> str:
        """What an answer says: the only word of the vocabulary in it, the longest first, else all of it without an article."""
        text = re.sub(r"^(?:an?|the) ", "", " ".join(answer.lower().split()).rstrip("."))
        if attribute == "name":
            return text
        found = [word for word in self.of(attribute) if re.search(rf"\b{re.escape(word)}\b", text)]
        longest = [word for word in found if not any(word != other and word in other for other in found)]
        return longest[0] if len(longest) == 1 else text

    def alternatives(self, attribute: str, text: str, others: tuple[str, ...], rng: Random) -> tuple[str, ...]:
        """What might have been said as well, the told one first: what other regions of the image show, then words at random."""
        pool = self._changed(text, rng) if attribute == "name" else rng.sample(self.of(attribute), len(self.of(attribute)))
        options = dict.fromkeys([text, *others, *pool])
        return tuple(options)[:_CHOICES]

    def _changed(self, name: str, rng: Random) -> list[str]:
        """The name with one of its words exchanged, and bare kinds."""
        changed = []
        for words, count in ((self.sizes, 2), (self.colours, 3), (self.kinds, 3)):
            for word in (each for each in words if re.search(rf"\b{re.escape(each)}\b", name)):
                others = [each for each in words if each != word]
                for other in rng.sample(others, min(count, len(others))):
                    changed.append(re.sub(rf"\b{re.escape(word)}\b", other, name))
        return [*changed, *rng.sample(self.kinds, min(4, len(self.kinds)))]


def worded(attribute: str, text: str) -> str:
    """A description as an answer says it: "red", "star", "a large red star"."""
    return article(text) if attribute == "name" else text
