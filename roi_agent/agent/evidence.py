"""What an answer rests on, and whether that holds: finds, geometry, confidence, and a closer look.

Nothing here trusts the planner's words: only the replies of tools, which the steps of the run hold, and what the agent asks
itself. What does not hold becomes a doubt, one sentence that says what and why; so does a note of a model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from roi_agent.agent.middleware import record_reply
from roi_agent.agent.running import Run
from roi_agent.model.domain.domains import without_repeats
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

SURE = 0.5  # of the region model; an answer below it is doubted
_CHECKED = 8  # regions of one answer that are checked by asking, at most
_GENERIC = ("thing", "object", "item", "shape")
_HANDLE = re.compile(r"\bregion[1-9]\d{0,3}\b")
_FAULTS = {code for code, kind in all_errors().items() if not issubclass(kind, UserError)}  # no better arguments help
_BETWEEN = re.compile(
    r"<(region\d+)> (?:to the )?(left of|right of|above|below|larger than|smaller than) (?:the one in )?<(region\d+)>"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an answer rests on.

    confidence: of the region model in what it said of the regions, the lowest; None where it said nothing.
    """

    regions: tuple[Region, ...]
    confidence: float | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Statement:
    """What the region model said of some regions.  notes: with the answer, without the one on a second look."""

    question: str
    text: str
    confidence: float
    regions: tuple[str, ...]
    first_look: Answer | None
    notes: tuple[str, ...]


def check_evidence(said: str, run: Run, toolbox: Toolbox, *, verify: bool = True) -> Evidence:
    """What the planner's answer rests on.  verify: also ask the region model about finds that it was not asked about."""
    workspace = toolbox.workspace
    known = {region.name: region for region in workspace.regions()}
    named = tuple(dict.fromkeys(_HANDLE.findall(said)))
    regions = tuple(known[name] for name in named if name in known)
    doubts = [f"the answer names {name}, which no tool gave" for name in named if name not in known]
    if not any(ability.looks for _, ability in _worked(run.steps)) and not regions:
        doubts.append("nothing in the image was looked at")
    if verify:
        doubts += _unconfirmed(regions, run, toolbox)
    statements = list(_statements(run.steps))
    about = [each for each in statements if set(each.regions) & {region.name for region in regions}]
    latest = list({(each.question, each.regions): each for each in about}.values())
    doubts += _unsure(latest)
    doubts += _against_geometry(statements, known)
    doubts += _noted(run.steps, latest, toolbox)
    doubts += _failed(run.steps)
    confidence = min((each.confidence for each in latest), default=None)
    return Evidence(regions, confidence, without_repeats(doubts))


def _worked(steps: Sequence[Step]) -> Iterator[tuple[Step, Ability]]:
    """The steps of tools that did not fail."""
    for step in steps:
        if step.kind != "planner" and not step.error and step.name in ABILITIES:
            yield step, ABILITIES[step.name]


def _statements(steps: Sequence[Step]) -> Iterator[_Statement]:
    for step, _ in _worked(steps):
        for each in answers_in(step.result):
            about = tuple(region.name for region in each.regions)
            if isinstance(each, Asked):
                said = each.answer
                yield _Statement(each.question, said.text, said.confidence, about, each.first_look, said.notes)
            else:
                question = str(step.arguments.get("question", ""))
                yield _Statement(question, each.text, each.confidence, about, None, each.notes)


def _noted(steps: Sequence[Step], latest: Sequence[_Statement], toolbox: Toolbox) -> Iterator[str]:
    """Notes of models: those on the image, and those on regions of the answer; not how an image was read."""
    notes = [note for each in _statements(steps) for note in each.notes if not _HANDLE.search(note)]
    notes += [note for each in latest for note in each.notes if _HANDLE.search(note)]
    for step, ability in _worked(steps):
        if ability.finds:
            found = step.result.result if isinstance(step.result, Judged) else step.result
            notes += found.notes if isinstance(found, Detection | Segmentation) else ()
    of_images = {note for image in toolbox.workspace.images for note in image.image.notes}
    yield from (note for note in notes if note not in of_images)


def _failed(steps: Sequence[Step]) -> Iterator[str]:
    """Tools whose model broke, and which did not work later."""
    broken: dict[str, str] = {}
    for step in steps:
        code, _, problem = step.text.partition(": ")
        if step.kind == "planner":
            continue
        if not step.error:
            broken.pop(step.name, None)
        elif code in _FAULTS:
            broken[step.name] = " ".join(problem.split())
    yield from (f"{name} failed: {problem}" for name, problem in broken.items())


def _unsure(statements: Sequence[_Statement]) -> Iterator[str]:
    for each in statements:
        about = " and ".join(each.regions)
        if each.confidence < SURE:
            yield f'the region model said "{each.text}" of {about} with a confidence of only {each.confidence:.2f}'
        first = each.first_look
        if first and first.text != each.text and first.confidence >= SURE:
            yield f'two looks at {about} disagree: "{first.text}" in the whole image, "{each.text}" from closer'


def _against_geometry(statements: Sequence[_Statement], known: Mapping[str, Region]) -> Iterator[str]:
    """What the region model said of the position or size of two regions, where measuring says otherwise."""
    for each in statements:
        match = _BETWEEN.search(each.question)
        if not match or each.text.split(",")[0] not in ("yes", "no") or not {match[1], match[3]} <= set(known):
            continue
        first, second = known[match[1]], known[match[3]]
        if first.image == second.image and RELATIONS[match[2]](relate(first, second)) != each.text.startswith("yes"):
            yield f'the region model said "{each.text}" to "{each.question}", and the boxes say otherwise'


def _unconfirmed(regions: Sequence[Region], run: Run, toolbox: Toolbox) -> Iterator[str]:
    """Found regions that the region model does not take for what they were found as; asked where it was not yet."""
    spoken_of = {name for each in _statements(run.steps) for name in each.regions}
    found = [region for region in regions if region.source == "detect" and region.label and region.label not in _GENERIC]
    for region in [each for each in found if each.name not in spoken_of][:_CHECKED]:
        if "ask_about_regions" not in toolbox.names or run.why_stopped:
            return
        label = " ".join(str(region.label).split())[:80]
        thing = f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
        question = load_blocks("agent")["is_it"].format(handle=region.name, thing=thing)
        begun, arguments = run.begin(), {"question": question}
        reply = toolbox.call("ask_about_regions", arguments, run.cancellation)
        record_reply(run, "check", "ask_about_regions", arguments, reply, begun, failed=reply.error is not None)
        (asked,) = answers_in(reply.result) or (None,)
        if not isinstance(asked, Asked) or not mentioned(question):
            continue
        if asked.outside:
            yield f"the region model could not check that {region.name} is {thing}"
        elif asked.answer.text.startswith("no") and asked.answer.confidence >= SURE:
            score = f", found with a score of {region.score:.2f}" if region.score is not None else ""
            yield f"the region model does not see {thing} in {region.name}{score}"
