"""Checks that an answer follows from its claims, for writers other than the rules."""

import re
from collections import Counter

from roi_agent.generation.claims import EXTREMES, OPPOSITES, PLACE, RELATIONS, Claim, ProposedTurn
from roi_agent.generation.describing import ATTRIBUTES
from roi_agent.model.protocol.conversation import mentioned

YES_NO = re.compile(r"(yes|no)\b", re.IGNORECASE)
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_REGION = re.compile(r"<region[0-9]+>[.]?")


def answer_follows(turn: ProposedTurn) -> bool:
    """Whether an answer follows from its claims, judging by its words; false for an answer without claims.

    Yes and no follow from the relation in the question; if they rest on descriptions, the region model is asked. A number is
    the number of regions with the same value. A region alone is the first of a relation, or the one described. Any other
    answer contains the value of a claim, or the word for its relation. Answers written by rules pass by construction.
    """
    if not turn.claims:
        return False
    answer = turn.answer.strip().lower()
    if YES_NO.match(answer):
        return _yes_no_follows(turn)
    if not set(mentioned(turn.answer)) <= {name for claim in turn.claims for name in claim.regions}:
        return False
    if _REGION.fullmatch(answer):
        return any(turn.about_descriptions or claim.regions[0] in answer for claim in turn.claims)
    if re.match(r"(none|nothing)\b", answer):
        return not any(_matches_question(turn, name) for claim in turn.claims for name in claim.regions)
    if number := _number(answer):
        return number in Counter(claim.value.lower() for claim in turn.claims if claim.about in ATTRIBUTES).values()
    values = [claim.value.lower() for claim in turn.claims if claim.about in (*ATTRIBUTES, PLACE)]
    words = [word for claim in turn.claims for word in _WORDS.get(claim.about, ())]
    return any(each in answer for each in (*values, *words) if each) or any(answer in _parts(each) for each in turn.claims)


def _matches_question(turn: ProposedTurn, name: str) -> bool:
    """Whether a question contains all values that are claimed of a region."""
    values = [claim.value.lower() for claim in turn.claims if name in claim.regions]
    return bool(any(values)) and all(each in turn.question.lower() for each in values)


def _parts(claim: Claim) -> list[str]:
    """Return the words of a name, each of which describes its object: size, colour, kind."""
    return claim.value.lower().split() if claim.about == "name" else []


def _number(answer: str) -> int | None:
    word = answer.rstrip(".")
    return _NUMBERS.get(word, int(word) if word.isascii() and word.isdigit() and len(word) < 4 else None)


def _yes_no_follows(turn: ProposedTurn) -> bool:
    """Whether yes or no follows from the claimed relation; for other claims, whether the region model can be asked."""
    (claim, *others) = turn.claims
    asked = _asked_for(turn)
    if others or claim.about not in RELATIONS or asked is None:
        return turn.about_descriptions
    yes = bool(re.match("yes", turn.answer, re.IGNORECASE))
    if asked == claim.about:
        return yes == claim.holds
    return asked == OPPOSITES.get(claim.about) and claim.holds and not yes


def _asked_for(turn: ProposedTurn) -> str | None:
    """Return the relation of the claim's first region to its second that a question asks for; None for none or several."""
    question, (claim, *_) = turn.question.lower(), turn.claims
    asked = [about for about in RELATIONS if any(word in question for word in (about, *_ASKED.get(about, ())))]
    if len(asked) != 1 or set(mentioned(turn.question)) != set(claim.regions):
        return None
    return asked[0] if mentioned(turn.question) == claim.regions else OPPOSITES.get(asked[0], asked[0])


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
