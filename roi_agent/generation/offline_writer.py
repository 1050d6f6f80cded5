"""The offline writer: conversations by rules, of one question, of one and its reason, or of several."""

from collections.abc import Sequence
from typing import Protocol

from roi_agent.generation.claims import Proposal, ProposedTurn
from roi_agent.generation.facts import Fact
from roi_agent.generation.page import Page
from roi_agent.generation.rules import ABOUT_ONE, FAMILIES, SINGLE, WITH_REASON
from roi_agent.model.protocol.conversation import mentioned

_TRIES = 4  # draws for each question: not every image offers every family
_MAX_TURNS = 6
_SHARES = [4 if name in ABOUT_ONE else 1 for name in SINGLE]  # people mostly ask about one region at a time
_WHY = 0.3  # of the answers with a reason are followed by "why?" in a conversation
_WITH_OTHERS = 0.4  # of the questions come with regions that they do not mention
_MAX_OTHERS = 3


class Writer(Protocol):
    """Writes questions with answers about a page that it sees as words only."""

    name: str

    def write(self, page: Page, count: int) -> list[Proposal | str]:
        """Up to so many conversations; in the place of one that cannot be read, why: one of the reasons in `verifying`."""


class OfflineWriter:
    """Rules; wordings stand in `prompts/generation.md`.  families: of which questions are drawn, in turn."""

    name = "offline"

    def __init__(self, families: Sequence[str] = FAMILIES) -> None:
        self.families = tuple(families)

    def write(self, page: Page, count: int) -> list[Proposal | str]:
        """Conversations of the families in turn, none twice."""
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
    """Up to six questions about a few regions."""
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
    """The regions that a question is about, and perhaps others, but where it asks about all that are given."""
    others = [each for each in page.things if each not in fact.things] if mentioned(fact.question) else []
    many = page.rng.randint(0, min(_MAX_OTHERS, len(others))) if page.rng.random() < _WITH_OTHERS else 0
    return tuple(each.region.name for each in (*fact.things, *page.rng.sample(others, many)))


def _turn(fact: Fact) -> ProposedTurn:
    return ProposedTurn(fact.question, fact.answer, fact.claims)


def _why(page: Page, fact: Fact) -> ProposedTurn:
    return ProposedTurn(page.phrase("why", ()), fact.reason, fact.claims)
