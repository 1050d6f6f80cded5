"""How instructions are generated; the defaults were measured together, on scenes whose truth was withheld."""

from dataclasses import dataclass

from roi_agent.generation.rules import FAMILIES
from roi_agent.model.errors import InvalidSetting

MAX_REGIONS = 15  # of one image, as many as the paper trains on


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What is looked for, what is asked, and what is kept.

    phrases: words for things; by default those of `prompts/generation.md` that the detector knows.
    families: of questions.  per_image: records of one image, at most.  everything: also segment what no word names.
    verify: drop what verification does not support; without it everything is kept that was written.
    confidence: of a description, at least.  margin: by how much it is likelier than any alternative, in nats a token.
    found: the detector's score of the described thing at its region, at least, as a share of the detector's own threshold.
    apart: of two centres or edges, at least, as a share of the image's longer side.  ratio: of two areas, at least.
    small: a region with both sides below this share of the image's is looked at again, enlarged.
    images: that are worked on at once.  seed: of wordings and choices.
    Error: InvalidSetting.
    """

    phrases: tuple[str, ...] = ()
    families: tuple[str, ...] = tuple(FAMILIES)
    per_image: int = 12
    everything: bool = True
    verify: bool = True
    confidence: float = 0.8
    margin: float = 0.5
    found: float = 1.0
    apart: float = 0.03
    ratio: float = 1.2
    small: float = 0.2
    images: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := [name for name in self.families if name not in FAMILIES]:
            raise InvalidSetting(f"there is no family {unknown[0]!r}", do=f"use {', '.join(FAMILIES)}")
        if not self.families:
            raise InvalidSetting("no family of questions is named", do=f"use {', '.join(FAMILIES)}")
        for key, least in (("per_image", 1), ("images", 1)):
            if getattr(self, key) < least:
                raise InvalidSetting(f"{key} is {getattr(self, key)}", do=f"give at least {least}")
        for key, low, high in _RANGES:
            if not low <= getattr(self, key) <= high:
                raise InvalidSetting(f"{key} is {getattr(self, key)}", do=f"give {low} to {high}")


_RANGES = (("confidence", 0, 1), ("margin", 0, 20), ("found", 0, 10), ("apart", 0, 0.5), ("ratio", 1, 100), ("small", 0, 1))
