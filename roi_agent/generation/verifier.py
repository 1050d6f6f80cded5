"""Verification of proposed conversations: every claim of every turn, and that the answer follows from its claims."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from roi_agent.generation import examiner
from roi_agent.generation.answer_checks import YES_NO, answer_follows
from roi_agent.generation.claims import Claim, Proposal, ProposedTurn
from roi_agent.generation.describing import ATTRIBUTES, Described
from roi_agent.generation.examiner import Support, Verdict
from roi_agent.generation.layout import Layout
from roi_agent.model.data.record import Evidence
from roi_agent.model.protocol.conversation import mentioned

# Reasons for dropping a proposal; those about descriptions are in `examiner`.
UNCLEAR, GEOMETRY = "geometry_unclear", "geometry_disagrees"
UNSUPPORTED, UNKNOWN, MALFORMED, FAILED = "answer_unsupported", "unknown_region", "writer_malformed", "writer_failed"
REPEATED = "repeated"
REASONS = (
    examiner.UNSURE,
    examiner.CHOOSE,
    examiner.DETECTOR,
    examiner.SECOND_LOOK,
    examiner.DESCRIPTION,
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
    """Verifies proposals about one image.

    support: the verdicts on its descriptions.  agrees: returns the verdict on a yes or no that rests on descriptions and was not
    written by a rule.
    """

    things: dict[str, Described]
    layout: Layout
    support: Support
    agrees: Callable[[ProposedTurn], Verdict] = lambda turn: ()

    @classmethod
    def of(cls, things: Sequence[Described], layout: Layout, support: Support, **more: Any) -> "Verifier":
        """Create a verifier for the regions of one image."""
        return cls({thing.region.name: thing for thing in things}, layout, support, **more)

    def verify(self, written: Proposal) -> tuple[Evidence, ...] | str:
        """Return the evidence for a conversation, or the first reason to drop it, one of REASONS."""
        if reason := self.unusable(written):
            return reason
        evidence: dict[Evidence, None] = {}
        for turn in written.turns:
            if not answer_follows(turn):
                return UNSUPPORTED
            for claim in turn.claims:
                found = self._check(claim)
                if isinstance(found, str):
                    return found
                evidence |= dict.fromkeys(found)
            opinion = self.agrees(turn) if YES_NO.match(turn.answer) and turn.about_descriptions else ()
            if isinstance(opinion, str):
                return opinion
            evidence |= dict.fromkeys(opinion)
        return tuple(evidence)

    def unusable(self, written: Proposal) -> str | None:
        """Return why a proposal is invalid, true or not: it names unknown regions, or its claims are malformed; else None."""
        for turn in written.turns:
            names = [*mentioned(turn.question), *mentioned(turn.answer), *(n for claim in turn.claims for n in claim.regions)]
            if any(name not in self.things for name in (*names, *written.regions)):
                return UNKNOWN
            if not turn.question.strip() or not turn.answer.strip() or not all(each.well_formed for each in turn.claims):
                return MALFORMED
        return None if written.turns else MALFORMED

    def _check(self, claim: Claim) -> tuple[Evidence, ...] | str:
        if claim.about not in ATTRIBUTES:
            return self._check_geometry(claim)
        (name,) = claim.regions
        description = self.things[name].description(claim.about).text
        if (description == claim.value.strip().lower()) != claim.holds:
            return examiner.DESCRIPTION
        return self.support[name, claim.about]

    def _check_geometry(self, claim: Claim) -> tuple[Evidence, ...] | str:
        """Check a geometric claim; its regions must be objects: one without a supported description may be part of one."""
        holds = self.layout.confirms(claim)
        if not holds:
            return UNCLEAR if holds is None else GEOMETRY
        evidence = [Evidence("geometry", _with_brackets(self.layout.evidence(claim)))]
        for name in claim.regions:
            verdict = self.support[name, examiner.THERE]
            if isinstance(verdict, str):
                return verdict
            evidence += verdict
        return tuple(evidence)


def _with_brackets(text: str) -> str:
    return re.sub(r"\b(region[0-9]+)\b", r"<\1>", text)
