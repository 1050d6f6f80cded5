"""A chat model as writer: it reads descriptions and relations of regions, and writes questions, answers and their claims."""

import re
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from pydantic import BaseModel, Field, ValidationError

from roi_agent.agent.planners import is_unreadable, planner_error, planner_name
from roi_agent.generation.claims import Claim, Proposal, ProposedTurn
from roi_agent.generation.page import Page
from roi_agent.generation.verifier import FAILED, MALFORMED
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.prompts import load_blocks

_MAX_FAILURES = 5  # consecutive failed requests after which the run ends
_FATAL_STATUS = (400, 401, 403, 404)  # HTTP status that other requests would get as well
_MAX_TURNS = 6
_BARE = re.compile(r"(?<![<\w])(region[1-9][0-9]*)\b(?!>)")


_FORM = 'each {"turns": [{"question", "answer", "claims": [{"about", "regions", "value", "holds"}]}]}'


class _Claim(BaseModel):
    about: str
    regions: list[str]
    value: str = ""
    holds: bool = True


class _Turn(BaseModel):
    question: str
    answer: str
    claims: list[_Claim]


class _Question(BaseModel):
    turns: list[_Turn] = Field(min_length=1, max_length=_MAX_TURNS)


class Questions(BaseModel):
    """The structured output of the writer; each question is validated alone, so that a malformed one does not affect others."""

    questions: list[dict[str, Any]] = Field(description=_FORM)


class ChatWriter:
    """Writes with any LangChain chat model that supports tools. It sees words only; malformed output is dropped and counted."""

    def __init__(self, model: BaseChatModel) -> None:
        self.name = planner_name(model)
        self._model = model.with_structured_output(Questions, method="function_calling", include_raw=True)
        self._failed = 0

    def write(self, page: Page, count: int) -> list[Proposal | str]:
        """Write up to count conversations.  Error: PlannerFailed if the model refuses, or fails repeatedly."""
        if not page.things:
            return []
        messages = [SystemMessage(load_blocks("generation")["writer"]), HumanMessage(page.text(count))]
        try:
            answer: Any = self._model.invoke(messages)
        except Exception as error:  # the provider's package may raise any exception
            if is_unreadable(error):
                return [MALFORMED]
            self._failed += 1
            if self._failed >= _MAX_FAILURES or getattr(error, "status_code", None) in _FATAL_STATUS:
                raise planner_error(error, self.name) from None
            return [FAILED]
        self._failed = 0
        found = answer.get("parsed")
        if not isinstance(found, Questions):
            return [MALFORMED]
        return [_read(each) for each in found.questions[:count]]


def _read(given: dict[str, Any]) -> Proposal | str:
    try:
        question = _Question.model_validate(given)
    except ValidationError:
        return MALFORMED
    turns = []
    for turn in question.turns:
        claims = tuple(
            Claim(each.about.strip().lower(), tuple(n.strip("<> ") for n in each.regions), each.value.strip(), each.holds)
            for each in turn.claims
        )
        turns.append(ProposedTurn(_with_mentions(turn.question), _with_mentions(turn.answer), claims))
    names = (name for turn in turns for name in (*mentioned(turn.question), *mentioned(turn.answer)))
    return Proposal("written", tuple(turns), tuple(dict.fromkeys(names)))


def _with_mentions(text: str) -> str:
    """Return the text with every region as a mention: writers sometimes omit the brackets."""
    return _BARE.sub(r"<\1>", text.strip())
