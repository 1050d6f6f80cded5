"""The chat: questions to the region model and tasks for the agent, with streamed progress."""

import io
import logging
from collections.abc import Iterator, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Event
from typing import Any

from roi_agent.agent.events import Finished, Stepped
from roi_agent.agent.result import Result
from roi_agent.model.errors import Cancelled, InvalidSetting, RoiAgentError
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.answers import Answer, Decoding
from roi_agent.model.protocol.conversation import Turn, mentioned
from roi_agent.model.protocol.mentions import read_turns, with_mentions
from roi_agent.model.protocol.region_model import NoRegionModel, RegionModel
from roi_agent.model.protocol.replies import with_notes
from roi_agent.model.utils.cancellation import Cancellation
from roi_agent.model.utils.notebook_html import thumbnail
from roi_agent.tools.models import REGION_MODEL, Models, failures_of
from roi_agent.trace import Step
from roi_agent.trace.record import step_picture
from roi_agent.trace.steps import arguments_text
from roi_agent.ui.markup import linked, plain
from roi_agent.ui.work import THREAD, Message, Work

MAX_QUESTION = 2000  # characters
_ENDED = {"partial": "stopped before an answer", "refused": "refused"}  # of an agent's run
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Question:
    """A question with the earlier ones, ready for a region model.

    implied: the region that the first question is about without mentioning it.  notes: on what the question is about.
    """

    turns: list[Turn]
    regions: tuple[Region, ...]
    implied: str | None
    notes: tuple[str, ...]


def ask(work: Work, text: str, models: Models, leaving: Cancellation) -> Iterator[None]:
    """Ask the region model; yields after each piece that is appended to the chat's last message.

    text: mentions regions as `region1`, or by the rule in `mentions.py`.  A question with mentions starts a new conversation; one
    without, such as "Why?", continues the current one.  A first question without mentions is about the only region, or about the
    whole image.  Errors are shown in the chat, and the failed question does not count.
    leaving: cancelled when the visitor leaves.
    """
    if not _start_turn(work, text):
        yield
        return
    reply = _add_message(work, "")
    stream = None
    try:
        yield
        asked = _parse_question(work, text.strip())
        *earlier, last = asked.turns
        with _region_model(models) as model, failures_of(REGION_MODEL):
            stream = model.reply_stream(work.image.image, asked.turns, asked.regions, Decoding())
            with work.stoppable(stream.cancel), leaving.on_cancel(stream.cancel):
                for piece in stream:
                    reply["content"] += plain(piece)
                    yield
                answer = with_notes(stream.answer(), work.image.image, asked.notes)
        if answer.text.strip():
            work.turns, work.implied = [*earlier, Turn(last.question, answer.text)], asked.implied
        reply["content"] = _answer_markdown(answer, None if earlier else asked.implied)
    except Cancelled:
        reply["content"] += _small_print(["stopped"])
    except GeneratorExit:  # the visitor has left, and may return
        reply["content"] += _small_print(["stopped"])
        raise
    except Exception as error:
        reply["content"] = error_markdown(as_coded_error(error))
    finally:
        if stream is not None:
            stream.cancel()
    yield


def run_agent(work: Work, task: str, leaving: Cancellation) -> Iterator[None]:
    """Run the agent on a task; yields after each message that is added to the chat.  Errors are shown in the chat.

    leaving: cancelled when the visitor leaves.
    """
    if not _start_turn(work, task):
        yield
        return
    before, stop = {region.name for region in work.regions}, Event()
    yield
    try:
        with work.stoppable(stop.set), leaving.on_cancel(stop.set):
            for event in work.agent.stream(None, task, thread=THREAD, words=False, stop=stop):
                if isinstance(event, Stepped):
                    yield from _show_step(work, event.step)
                elif isinstance(event, Finished):
                    _show_result(work, event.result, before)
                    yield
    except Exception as error:
        _add_message(work, error_markdown(as_coded_error(error)))
        yield


def as_coded_error(error: Exception) -> RoiAgentError:
    """Return a coded error unchanged; log any other exception, and return an error to show instead."""
    if isinstance(error, RoiAgentError):
        return error
    _log.error("unexpected error on the page", exc_info=error)
    return RoiAgentError("the question could not be answered", do="ask again")


def error_markdown(error: RoiAgentError) -> str:
    """Return an error as one line of Markdown: the problem, and what to do."""
    return f"**{plain(error.code.replace('_', ' '))}**: {plain('; '.join(filter(None, (error.problem, error.do))))}"


def _start_turn(work: Work, text: str) -> bool:
    """Add a question to the chat, and turn drafts into regions; for an invalid question, add an error and return False."""
    asked = text.strip()
    work.settle()
    if asked and len(asked) <= MAX_QUESTION:
        work.messages.append({"role": "user", "content": linked(asked)})
        return True
    problem, do = f"the question has {len(asked)} characters", f"use {MAX_QUESTION} at most"
    if not asked:
        problem, do = "the question is empty", "ask something, for example: What is region1?"
    _add_message(work, error_markdown(InvalidSetting(problem, do=do)))
    return False


def _parse_question(work: Work, text: str) -> _Question:
    """Parse a question.  Errors: those of `read_turns`, and UnknownRegion."""
    question = with_mentions(text, bare=True)
    earlier = [] if mentioned(question) else work.turns
    implied = work.implied if earlier else _implied(work, question)
    turns = [*earlier, Turn(question)]
    turns, regions, notes = read_turns(turns, _about(work, turns, implied), work.image.size_wh)
    return _Question(turns, regions, implied, notes)


def _region_model(models: Models) -> AbstractContextManager[RegionModel]:
    return models.use("ask") if "ask" in models.roles else nullcontext(NoRegionModel())


def _implied(work: Work, question: str) -> str | None:
    """Return the region that a question is about without mentioning it."""
    return work.regions[0].name if len(work.regions) == 1 and not mentioned(question) else None


def _about(work: Work, turns: Sequence[Turn], implied: str | None) -> tuple[Region, ...]:
    """Return the regions that the questions are about.  Error: UnknownRegion."""
    named = [name for turn in turns for name in mentioned(turn.question)]
    return work.workspace.pick(list(dict.fromkeys([implied, *named] if implied else named)))


def _answer_markdown(answer: Answer, implied: str | None) -> str:
    about, has_text = f"about {implied}" if implied else "", bool(answer.text.strip())
    sure = _confidence_text(answer.confidence if has_text else None)
    return (linked(answer.text) if has_text else "*The model gave no answer.*") + _small_print([about, sure, *answer.notes])


def _confidence_text(confidence: float | None) -> str:
    return "" if confidence is None else f"confidence {confidence:.2f}"


def _small_print(notes: Sequence[str]) -> str:
    kept = [linked(note) for note in notes if note]
    return f"\n\n<small>{' · '.join(kept)}</small>" if kept else ""


def _add_message(work: Work, content: Any, **more: Any) -> Message:
    message: Message = {"role": "assistant", "content": content, **more}
    work.messages.append(message)
    return message


def _show_result(work: Work, result: Result, before: Set[str]) -> None:
    """Show the agent's answer.  before: regions on the page; of newly found ones, only those of the answer are shown."""
    work.trace = result.trace
    has_text = bool(result.answer.strip())
    sure = _confidence_text(result.confidence if has_text else None)
    _add_message(
        work,
        (linked(result.answer) if has_text else "*The agent gave no answer.*")
        + _small_print([_ENDED.get(result.status, ""), sure]),
    )
    kept = before | {region.name for region in result.regions}
    work.hidden |= {region.name for region in work.workspace.regions() if region.source != "user"} - kept
    work.show(result.regions)


def _show_step(work: Work, step: Step) -> Iterator[None]:
    """Add a tool's step with its picture to the chat; planner turns are skipped, because their calls are steps of their own."""
    if step.kind == "planner":
        return
    title = f"{step.number} · {step.name}({arguments_text(step.arguments)})"
    _add_message(
        work,
        linked(step.text) if step.text.strip() else "*nothing*",
        metadata={"title": plain(title[:200]), "status": "done", "duration": round(step.seconds, 2)},
    )
    yield
    picture = step_picture(work.workspace, step)
    if picture is not None:
        name, file = f"step-{len(work.pictures) + 1}.jpg", io.BytesIO()
        thumbnail(picture, 640).save(file, "JPEG", quality=88)
        work.pictures[name] = file.getvalue()
        _add_message(work, f"![Picture of step {step.number}]({work.files}/{name}?{work.key})")
        yield
