"""The offline writer: conversations by rules, with one question, a question and its reason, or several questions."""

from collections.abc import Sequence
from typing import Protocol

from roi_agent.generation.claims import Proposal, ProposedTurn
from roi_agent.generation.facts import Fact
from roi_agent.generation.page import Page
from roi_agent.generation.rules import ABOUT_ONE, FAMILIES, SINGLE, WITH_REASON
from roi_agent.model.protocol.conversation import mentioned

_TRIES = 4  # draws per question: not every image allows every family
_MAX_TURNS = 6
_SHARES = [4 if name in ABOUT_ONE else 1 for name in SINGLE]  # most questions of people are about one region
_WHY = 0.3  # fraction of answers with a reason that are followed by "why?" in a conversation
_WITH_OTHERS = 0.4  # fraction of questions that come with regions that they do not mention
_MAX_OTHERS = 3


class Writer(Protocol):
    """A writer of questions and answers about a page."""

    name: str

    def write(self, page: Page, count: int) -> list[Proposal | str]:
        """Write up to count conversations; an unreadable one is replaced by its reason, one of those in `verifier`."""


class OfflineWriter:
    """Writes by rules; the wordings are in `prompts/generation.md`.  families: of questions, used in turn."""

    name = "offline"

    def __init__(self, families: Sequence[str] = FAMILIES) -> None:
        self.families = tuple(families)

    def write(self, page: Page, count: int) -> list[Proposal | str]:
        """Write conversations of the families in turn, without duplicates."""
        written: dict[tuple[str, ...], Proposal] = {}
        start = page.rng.randrange(len(self.families))
        for number in range(_TRIES * count):
            if len(written) == count:
                break
            conversation = _conversation(page, self.families[(start + number) % len(self.families)])
            if conversation:
                written.setdefault(tuple(turn.question for turn in conversation.turns), conversation)
        return list(written.values())


def _conversation(page: Page, family: str) -> Proposal | None:
    if not page.things:
        return None
    if family == "turns":
        return _several_turns(page)
    drawn = page.rng.choice(WITH_REASON) if family == "why" else family
    fact = SINGLE[drawn](page)
    if fact is None or (family == "why" and not fact.reason):
        return None
    turns = [_turn(fact), *([_why(page, fact)] if family == "why" else [])]
    return Proposal(family, tuple(turns), _given(page, fact))


def _several_turns(page: Page) -> Proposal | None:
    """Return a conversation of up to six questions about a few regions."""
    few = page.among(page.rng.sample(page.things, page.rng.randint(1, min(5, len(page.things)))))
    turns: list[ProposedTurn] = []
    for family in page.rng.choices(list(SINGLE), _SHARES, k=_MAX_TURNS):
        fact = SINGLE[family](few)
        if fact and all(turn.question != fact.question for turn in turns):
            turns.append(_turn(fact))
            if fact.reason and page.rng.random() < _WHY:
                turns.append(_why(page, fact))
    return Proposal("turns", tuple(turns[:_MAX_TURNS]), few.names) if len(turns) > 1 else None


def _given(page: Page, fact: Fact) -> tuple[str, ...]:
    """Return a question's regions, and sometimes others, unless it asks about all given regions."""
    others = [each for each in page.things if each not in fact.things] if mentioned(fact.question) else []
    many = page.rng.randint(0, min(_MAX_OTHERS, len(others))) if page.rng.random() < _WITH_OTHERS else 0
    return tuple(each.region.name for each in (*fact.things, *page.rng.sample(others, many)))


def _turn(fact: Fact) -> ProposedTurn:
    return ProposedTurn(fact.question, fact.answer, fact.claims)


def _why(page: Page, fact: Fact) -> ProposedTurn:
    return ProposedTurn(page.phrase("why", ()), fact.reason, fact.claims)
