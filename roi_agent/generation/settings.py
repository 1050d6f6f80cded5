"""Settings of the generation of instructions; the defaults were measured together on scenes with hidden ground truth."""

from dataclasses import dataclass

from roi_agent.generation.rules import FAMILIES
from roi_agent.model.errors import InvalidSetting

MAX_REGIONS = 15  # per image, as in the paper's training


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """What to look for, what to ask, and what to keep.

    phrases: to look for; by default those of `prompts/generation.md` that the detector knows.
    families: of questions.  per_image: maximum number of records per image.  everything: also segment unnamed objects.
    verify: drop what verification does not support; otherwise every proposal is kept.
    confidence: minimum for a description.  margin: minimum by which it is likelier than any alternative, in nats per token.
    found: minimum detector score of the described object at its region, as a fraction of the detector's own threshold.
    apart: minimum distance of two centres or edges, as a fraction of the image's longer side.  ratio: minimum ratio of two areas.
    small: a region with both sides below this fraction of the image's is examined again, enlarged.
    images: processed at once.  seed: of wordings and choices.
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
