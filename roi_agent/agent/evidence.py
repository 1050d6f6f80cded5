"""The evidence for an answer and its checks: finds, geometry, confidence, and second looks.

The planner's words are not trusted. Only tool replies, which are in the steps of the run, and the agent's own questions count.
A failed check becomes a doubt: one sentence that states what failed and why. So does a note of a model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from roi_agent.agent.middleware import record_reply
from roi_agent.agent.running import Run
from roi_agent.model.domain.notes import without_repeats
from roi_agent.model.errors import UserError, all_errors
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.answers import Answer
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.prompts import load_blocks
from roi_agent.tools.abilities import ABILITIES
from roi_agent.tools.ability import Ability
from roi_agent.tools.ask import Asked
from roi_agent.tools.detect import Detection
from roi_agent.tools.measure import RELATIONS, relate
from roi_agent.tools.results import Judged, answers_in
from roi_agent.tools.segment import Segmentation
from roi_agent.tools.toolbox import Toolbox
from roi_agent.trace import Step

MIN_CONFIDENCE = 0.5  # of the region model; an answer below is a doubt
_MAX_CHECKS = 8  # maximum number of regions that the agent asks about
_GENERIC = ("thing", "object", "item", "shape")
_HANDLE = re.compile(r"\bregion[1-9]\d{0,3}\b")
# Codes of failures that better arguments cannot avoid.
_MODEL_FAILURES = {code for code, kind in all_errors().items() if not issubclass(kind, UserError)}
_RELATION_QUESTION = re.compile(
    r"<(region\d+)> (?:to the )?(left of|right of|above|below|larger than|smaller than) (?:the one in )?<(region\d+)>"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence for an answer.

    confidence: the lowest confidence of the region model about the regions; None if it was not asked about them.
    """

    regions: tuple[Region, ...]
    confidence: float | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Statement:
    """An answer of the region model about some regions.  notes: without the one about a second look."""

    question: str
    text: str
    confidence: float
    regions: tuple[str, ...]
    first_look: Answer | None
    notes: tuple[str, ...]


def check_evidence(said: str, run: Run, toolbox: Toolbox, *, verify: bool = True) -> Evidence:
    """Check the planner's answer.  verify: also ask the region model about finds that it was not asked about."""
    workspace = toolbox.workspace
    known = {region.name: region for region in workspace.regions()}
    named = tuple(dict.fromkeys(_HANDLE.findall(said)))
    regions = tuple(known[name] for name in named if name in known)
    doubts = [f"the answer names {name}, which no tool returned" for name in named if name not in known]
    if not any(ability.looks for _, ability in _successful_steps(run.steps)) and not regions:
        doubts.append("no tool looked at the image")
    if verify:
        doubts += _unconfirmed_finds(regions, run, toolbox)
    statements = list(_statements(run.steps))
    about = [each for each in statements if set(each.regions) & {region.name for region in regions}]
    latest = list({(each.question, each.regions): each for each in about}.values())
    doubts += _low_confidence_doubts(latest)
    doubts += _geometry_conflicts(statements, known)
    doubts += _model_notes(run.steps, latest, toolbox)
    doubts += _failed_tools(run.steps)
    confidence = min((each.confidence for each in latest), default=None)
    return Evidence(regions, confidence, without_repeats(doubts))


def _successful_steps(steps: Sequence[Step]) -> Iterator[tuple[Step, Ability]]:
    """Yield the steps of tools that did not fail."""
    for step in steps:
        if step.kind != "planner" and not step.error and step.name in ABILITIES:
            yield step, ABILITIES[step.name]


def _statements(steps: Sequence[Step]) -> Iterator[_Statement]:
    for step, _ in _successful_steps(steps):
        for each in answers_in(step.result):
            about = tuple(region.name for region in each.regions)
            if isinstance(each, Asked):
                said = each.answer
                yield _Statement(each.question, said.text, said.confidence, about, each.first_look, said.notes)
            else:
                question = str(step.arguments.get("question", ""))
                yield _Statement(question, each.text, each.confidence, about, None, each.notes)


def _model_notes(steps: Sequence[Step], latest: Sequence[_Statement], toolbox: Toolbox) -> Iterator[str]:
    """Yield notes of models about the image and the regions of the answer, but not about how an image was read."""
    notes = [note for each in _statements(steps) for note in each.notes if not _HANDLE.search(note)]
    notes += [note for each in latest for note in each.notes if _HANDLE.search(note)]
    for step, ability in _successful_steps(steps):
        if ability.finds:
            found = step.result.result if isinstance(step.result, Judged) else step.result
            notes += found.notes if isinstance(found, Detection | Segmentation) else ()
    of_images = {note for image in toolbox.workspace.images for note in image.image.notes}
    yield from (note for note in notes if note not in of_images)


def _failed_tools(steps: Sequence[Step]) -> Iterator[str]:
    """Yield a doubt for each tool that failed because of its model and did not succeed later."""
    broken: dict[str, str] = {}  # LangChain's message of a failed tool has no artifact: the code is only in its text
    for step in steps:
        code, _, problem = step.text.partition(": ")
        if step.kind == "planner":
            continue
        if not step.error:
            broken.pop(step.name, None)
        elif code in _MODEL_FAILURES:
            broken[step.name] = " ".join(problem.split())
    yield from (f"{name} failed: {problem}" for name, problem in broken.items())


def _low_confidence_doubts(statements: Sequence[_Statement]) -> Iterator[str]:
    for each in statements:
        about = " and ".join(each.regions)
        if each.confidence < MIN_CONFIDENCE:
            yield f'the region model said "{each.text}" of {about} with a confidence of only {each.confidence:.2f}'
        first = each.first_look
        if first and first.text != each.text and first.confidence >= MIN_CONFIDENCE:
            yield f'two looks at {about} disagree: "{first.text}" in the whole image, "{each.text}" from closer'


def _geometry_conflicts(statements: Sequence[_Statement], known: Mapping[str, Region]) -> Iterator[str]:
    """Yield a doubt for each answer about the position or size of two regions that contradicts the measurement."""
    for each in statements:
        match = _RELATION_QUESTION.search(each.question)
        if not match or each.text.split(",")[0] not in ("yes", "no") or not {match[1], match[3]} <= set(known):
            continue
        first, second = known[match[1]], known[match[3]]
        if first.image == second.image and RELATIONS[match[2]](relate(first, second)) != each.text.startswith("yes"):
            yield f'the region model said "{each.text}" to "{each.question}", but the boxes contradict it'


def _unconfirmed_finds(regions: Sequence[Region], run: Run, toolbox: Toolbox) -> Iterator[str]:
    """Ask about finds that were not asked about, and yield a doubt for each that the region model does not confirm."""
    asked_about = {name for each in _statements(run.steps) for name in each.regions}
    found = [region for region in regions if region.source == "detect" and region.label and region.label not in _GENERIC]
    for region in [each for each in found if each.name not in asked_about][:_MAX_CHECKS]:
        if "ask_about_regions" not in toolbox.names or run.stop_reason:
            return
        label = " ".join(str(region.label).split())[:80]
        thing = f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
        question = load_blocks("agent")["is_it"].format(handle=region.name, thing=thing)
        start, arguments = run.start_step(), {"question": question}
        reply = toolbox.call("ask_about_regions", arguments, run.cancellation)
        record_reply(run, "check", "ask_about_regions", arguments, reply, start, failed=reply.error is not None)
        (asked,) = answers_in(reply.result) or (None,)
        if not isinstance(asked, Asked) or not mentioned(question):
            continue
        if asked.outside:
            yield f"the region model could not check that {region.name} is {thing}"
        elif asked.answer.text.startswith("no") and asked.answer.confidence >= MIN_CONFIDENCE:
            score = f", found with a score of {region.score:.2f}" if region.score is not None else ""
            yield f"the region model does not see {thing} in {region.name}{score}"
