"""The chat: questions to the region model, and tasks for the agent, told while they are worked on."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from roi_agent.agent.events import Finished, Stepped
from roi_agent.model.answers import Answer, Decoding
from roi_agent.model.conversation import Turn, mentioned
from roi_agent.model.errors import InvalidSetting, RoiAgentError
from roi_agent.model.protocol import RegionModel
from roi_agent.model.regions import Region
from roi_agent.trace import Step
from roi_agent.trace.record import arguments_text, shrunk, step_picture
from roi_agent.ui.markup import linked, plain
from roi_agent.ui.work import THREAD, Message, Work

MAX_QUESTION = 2000  # characters
_MENTION = re.compile(r"<?\b(region[1-9][0-9]*)\b>?")


def ask(work: Work, text: str, model: RegionModel) -> Iterator[None]:
    """Ask the region model, in the light of the earlier questions; after each piece the chat's last message has grown.

    text: names regions as `region1` or `<region1>`.  A first question that names none is about the only region there is, or
    about the whole image.  What goes wrong is told in the chat, and the conversation is as it was before.
    """
    try:
        question = _MENTION.sub(r"<\1>", _checked(text))
    except RoiAgentError as error:
        _say(work, told(error))
        yield
        return
    work.messages.append({"role": "user", "content": linked(_checked(text))})
    work.settle()
    reply = _say(work, "")
    yield
    stream = None
    try:
        turns = [*work.turns, Turn(question)]
        if not work.turns:
            work.implied = work.regions[0].name if len(work.regions) == 1 and not mentioned(question) else None
        regions = _about(work, turns)
        stream = model.reply_stream(work.image.image, turns, regions, Decoding())
        for piece in stream:
            reply["content"] += plain(piece)
            yield
        answer = stream.answer()
    except RoiAgentError as error:
        reply["content"] = told(error)
        yield
        return
    finally:
        if stream is not None:
            stream.cancel()
    implied = work.implied if not work.turns else None
    work.turns.append(Turn(question, answer.text))
    reply["content"] = _answered(answer, implied)
    yield


def work_on(work: Work, task: str) -> Iterator[None]:
    """Let the agent work on a task; after each step the chat has one more message.  What goes wrong is told in the chat."""
    try:
        work.messages.append({"role": "user", "content": linked(_checked(task))})
    except RoiAgentError as error:
        _say(work, told(error))
        yield
        return
    work.settle()
    before = {region.name for region in work.regions}
    yield
    try:
        for event in work.agent.stream(None, _checked(task), thread=THREAD, words=False):
            if isinstance(event, Stepped):
                yield from _stepped(work, event.step)
            elif isinstance(event, Finished):
                result = event.result
                work.trace = result.trace
                sure = "" if result.confidence is None else f"confidence {result.confidence:.2f}"
                _say(work, linked(result.answer) + _small([sure]))
                # What it looked at on the way stays in the trace; the page shows what the answer rests on.
                kept = before | {region.name for region in result.regions}
                work.hidden |= {region.name for region in work.workspace.regions()} - kept
                work.show(result.regions)
                yield
    except RoiAgentError as error:
        _say(work, told(error))
        yield


def told(error: RoiAgentError) -> str:
    """An error in one line of Markdown: what is wrong, and what to do."""
    return f"**{plain(error.code.replace('_', ' '))}**: {plain('; '.join(filter(None, (error.problem, error.do))))}"


def _checked(text: str) -> str:
    asked = text.strip()
    if not asked:
        raise InvalidSetting("the question is empty", do="ask something, for example: What is region1?")
    if len(asked) > MAX_QUESTION:
        raise InvalidSetting(f"the question has {len(asked)} characters", do=f"use {MAX_QUESTION} at most")
    return asked


def _about(work: Work, turns: Sequence[Turn]) -> tuple[Region, ...]:
    """The regions that the questions so far are about.  Error: UnknownRegion."""
    named = [name for turn in turns for name in mentioned(turn.question)]
    return work.workspace.pick(list(dict.fromkeys([work.implied, *named] if work.implied else named)))


def _answered(answer: Answer, implied: str | None) -> str:
    about = f"about {implied}" if implied else ""
    return linked(answer.text) + _small([about, f"confidence {answer.confidence:.2f}", *answer.notes])


def _small(notes: Sequence[str]) -> str:
    kept = [linked(note) for note in notes if note]
    return f"\n\n<small>{' · '.join(kept)}</small>" if kept else ""


def _say(work: Work, content: Any, **more: Any) -> Message:
    message: Message = {"role": "assistant", "content": content, **more}
    work.messages.append(message)
    return message


def _stepped(work: Work, step: Step) -> Iterator[None]:
    """A tool's step with its picture; of a planner's turn what it said, its calls being steps themselves."""
    if step.kind == "planner":
        return
    title = f"{step.number} · {step.name}({arguments_text(step.arguments)})"
    _say(work, linked(step.text), metadata={"title": plain(title[:200]), "status": "done", "duration": round(step.seconds, 2)})
    yield
    seen = step_picture(work.workspace, step)
    if seen is not None:
        name, file = f"step-{len(work.pictures) + 1}.jpg", io.BytesIO()
        shrunk(seen, 640).save(file, "JPEG", quality=88)
        work.pictures[name] = file.getvalue()
        _say(work, f"![Picture of step {step.number}]({work.files}/{name}?{work.key})")
        yield
