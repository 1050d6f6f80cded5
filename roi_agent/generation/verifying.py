"""Whether what was written is true, as far as the system can tell: every claim of every turn, and what the answer makes of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roi_agent.generation import supporting
from roi_agent.generation.claims import EXTREMES, RELATIONS, Claim, Written, WrittenTurn
from roi_agent.generation.describing import ATTRIBUTES, Described
from roi_agent.generation.relating import Layout
from roi_agent.generation.supporting import Support
from roi_agent.model.conversation import mentioned
from roi_agent.model.data.record import Evidence

# Why something written is dropped; those of descriptions stand in `supporting`.
UNCLEAR, GEOMETRY = "geometry_unclear", "geometry_disagrees"
UNSUPPORTED, UNKNOWN, MALFORMED, FAILED = "answer_unsupported", "unknown_region", "writer_malformed", "writer_failed"
REPEATED = "repeated"
REASONS = (
    supporting.UNSURE,
    supporting.CHOOSE,
    supporting.DETECTOR,
    supporting.SECOND_LOOK,
    supporting.DESCRIPTION,
    UNCLEAR,
    GEOMETRY,
    UNSUPPORTED,
    UNKNOWN,
    MALFORMED,
    FAILED,
    REPEATED,
)


@dataclass(frozen=True)
class Verifier:
    """Judges what was written about one image.  support: the verdicts on its descriptions."""

    things: dict[str, Described]
    layout: Layout
    support: Support

    @classmethod
    def of(cls, things: Sequence[Described], layout: Layout, support: Support) -> "Verifier":
        """For the regions of one image."""
        return cls({thing.region.name: thing for thing in things}, layout, support)

    def verify(self, written: Written) -> tuple[Evidence, ...] | str:
        """The evidence for a conversation, or the first reason to drop it, one of REASONS."""
        if reason := self.unusable(written):
            return reason
        evidence: dict[Evidence, None] = {}
        for turn in written.turns:
            if not says(turn):
                return UNSUPPORTED
            for claim in turn.claims:
                found = self._check(claim)
                if isinstance(found, str):
                    return found
                evidence |= dict.fromkeys(found)
        return tuple(evidence)

    def unusable(self, written: Written) -> str | None:
        """Why it is no conversation about this image, whatever is true: it names what is not there, or rests on nothing."""
        for turn in written.turns:
            names = [*mentioned(turn.question), *mentioned(turn.answer), *(n for claim in turn.claims for n in claim.regions)]
            if any(name not in self.things for name in (*names, *written.regions)):
                return UNKNOWN
            if not turn.question.strip() or not turn.answer.strip() or not all(each.well_formed for each in turn.claims):
                return MALFORMED
        return None if written.turns else MALFORMED

    def _check(self, claim: Claim) -> tuple[Evidence, ...] | str:
        if claim.about not in ATTRIBUTES:
            holds = self.layout.confirms(claim)
            if holds is None:
                return UNCLEAR
            return (Evidence("geometry", _bracketed(self.layout.evidence(claim))),) if holds else GEOMETRY
        (name,) = claim.regions
        told = self.things[name].told(claim.about).text
        if (told == claim.value.strip().lower()) != claim.holds:
            return supporting.DESCRIPTION
        return self.support[name, claim.about]


def says(turn: WrittenTurn) -> bool:
    """Whether the answer says what its claims do.

    A yes rests on no claim that something is not so alone; any other answer holds a claim's value, a region that is first in one,
    or a word for its relation. What rules write follows from their claims by construction, and passes all the same.
    """
    if not turn.claims:
        return False
    answer = turn.answer.lower()
    if re.match(r"(yes|no)\b", answer):
        return _polarity(turn)
    told = [claim.value.lower() for claim in turn.claims if claim.about in ATTRIBUTES]
    regions = {name for claim in turn.claims for name in claim.regions}
    words = [word for claim in turn.claims if claim.about not in ATTRIBUTES for word in _WORDS[claim.about]]
    named = set(mentioned(turn.answer))
    if named - regions:
        return False
    counted = re.fullmatch(r"(none|nothing|one|two|three|four|five|six|[0-9]+)\.?", answer) is not None
    return bool(named) or counted or any(each in answer for each in (*told, *words) if each)


def _polarity(turn: WrittenTurn) -> bool:
    """Of one relation that is asked for in its own words, yes and no follow from the claim."""
    claims = [claim for claim in turn.claims if claim.about in RELATIONS]
    if len(turn.claims) != 1 or not claims:
        return True
    (claim,) = claims
    question, yes = turn.question.lower(), turn.answer.lower().startswith("yes")
    asked = [about for about in RELATIONS if about in question or any(word in question for word in _ASKED.get(about, ()))]
    if len(asked) != 1 or mentioned(turn.question) not in (claim.regions, claim.regions[::-1]):
        return True
    (about,) = asked
    if about == "touching":
        return claim.about != about or yes == claim.holds
    same = mentioned(turn.question) == claim.regions
    about = about if same else _MIRRORED[about]
    if about == claim.about:
        return yes == claim.holds
    return not (about == _MIRRORED[claim.about] and claim.holds and yes)


def _bracketed(text: str) -> str:
    return re.sub(r"\b(region[0-9]+)\b", r"<\1>", text)


_MIRRORED = {"left of": "right of", "above": "below", "larger than": "smaller than", "touching": "touching"}
_MIRRORED |= {value: key for key, value in _MIRRORED.items()}
_ASKED = {"touching": ("touch", "overlap"), "larger than": ("bigger than",)}
_WORDS: dict[str, tuple[str, ...]] = {
    "left of": ("left",),
    "right of": ("right",),
    "above": ("above",),
    "below": ("below",),
    "larger than": ("larger", "bigger"),
    "smaller than": ("smaller",),
    "touching": ("touch", "overlap", "gap"),
    **{extreme: (extreme,) for extreme in EXTREMES},
}
