"""Claims: the facts that an answer rests on, in a form that can be verified."""

from dataclasses import dataclass

from roi_agent.generation.describing import ATTRIBUTES

# extreme -> the order of `tools.measure` in which that region comes first
EXTREMES = {
    "leftmost": "left to right",
    "rightmost": "right to left",
    "topmost": "top to bottom",
    "lowest": "bottom to top",
    "largest": "largest to smallest",
    "smallest": "smallest to largest",
}
DIRECTIONS = ("left of", "right of", "above", "below")
RELATIONS = (*DIRECTIONS, "larger than", "smaller than", "touching")
OPPOSITES = {"left of": "right of", "above": "below", "larger than": "smaller than"}
OPPOSITES |= {value: key for key, value in OPPOSITES.items()}
PLACE = "place"  # in the image, in thirds: "top left", ..., "centre"


@dataclass(frozen=True, slots=True)
class Claim:
    """A fact about regions.

    about: one of ATTRIBUTES or PLACE, of one region, with its `value`; one of RELATIONS, of the first of two regions to the
    second; or one of EXTREMES, of the first region among all of them.  holds: False if the claim is negated.
    """

    about: str
    regions: tuple[str, ...]
    value: str = ""
    holds: bool = True

    @property
    def well_formed(self) -> bool:
        """Whether it has the right number of distinct regions, and a value if one is required."""
        if len(set(self.regions)) != len(self.regions):
            return False
        if self.about in (*ATTRIBUTES, PLACE):
            return len(self.regions) == 1 and bool(self.value.strip())
        return len(self.regions) == 2 if self.about in RELATIONS else self.about in EXTREMES and len(self.regions) >= 2


@dataclass(frozen=True, slots=True)
class ProposedTurn:
    """A question and an answer with `<regionN>` mentions, and the claims that the answer rests on."""

    question: str
    answer: str
    claims: tuple[Claim, ...]

    @property
    def about_descriptions(self) -> bool:
        """Whether it rests on the description of a region."""
        return any(claim.about in ATTRIBUTES for claim in self.claims)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A conversation that a writer proposes.  family: of its questions.  regions: names of the regions given with it."""

    family: str
    turns: tuple[ProposedTurn, ...]
    regions: tuple[str, ...]
