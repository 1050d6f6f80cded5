"""Support for descriptions: from likelihoods, from the detector, and from a second look."""

from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from roi_agent.generation.claims import ProposedTurn
from roi_agent.generation.describing import ATTRIBUTES, Described, question_about
from roi_agent.generation.settings import GenerationSettings
from roi_agent.generation.vocabulary import Vocabulary, worded
from roi_agent.model.data.record import Evidence
from roi_agent.model.detection.detector import MAX_PHRASE_CHARACTERS, MAX_PHRASES, PhraseDetector
from roi_agent.model.errors import UserError
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.tools.ask import choose
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import Workspace

# Reasons why a description is not supported.
UNSURE, CHOOSE, DETECTOR = "description_unsure", "choose_disagrees", "detector_disagrees"
SECOND_LOOK, DESCRIPTION = "second_look_disagrees", "description_disagrees"

THERE = "there"  # in addition to the attributes: whether a region is an object at all

_AT_IT = 0.5  # minimum IoU of a detected box with the region
_AROUND = 1.5  # margin of a region's crop, as a multiple of its longer side

Verdict = tuple[Evidence, ...] | str  # the evidence for a description, or the reason against it
Support = dict[tuple[str, str], Verdict]  # by region, and attribute or THERE


@dataclass(frozen=True)
class Examiner:
    """Examines descriptions of regions.  pool: runs questions about several regions concurrently."""

    model: RegionModel
    detector: PhraseDetector
    vocabulary: Vocabulary
    settings: GenerationSettings
    pool: Executor

    def examine(
        self, workspace: Workspace, image: WorkspaceImage, things: Sequence[Described], wanted: Collection[tuple[str, str]]
    ) -> Support:
        """Return the verdicts on the wanted attributes of regions of one image, by (region, attribute).

        A region that the detector found needs no description as evidence that it is there: requiring one would drop just the
        objects that are hard to see, such as partly covered ones.
        """
        support: Support = {(each.region.name, THERE): evidence for each in things if (evidence := self._detected(each.region))}
        hidden = {(name, "kind") for name, about in wanted if about == THERE and (name, THERE) not in support}
        support |= self._describe(workspace, image, things, {*wanted, *hidden})
        return support | {(name, THERE): support[name, kind] for name, kind in hidden}

    def _describe(
        self, workspace: Workspace, image: WorkspaceImage, things: Sequence[Described], wanted: Collection[tuple[str, str]]
    ) -> Support:
        pairs = [
            (each, attribute) for each in things for attribute in ATTRIBUTES if _is_needed(each.region.name, attribute, wanted)
        ]
        if not pairs:
            return {}
        chosen = self.pool.map(lambda pair: self._choice_support(workspace, things, *pair), pairs)
        closer = self.pool.map(lambda pair: self.look_again(workspace, image, *pair), pairs)
        found = self._detector_support(image, pairs)
        support: Support = {}
        for (thing, attribute), verdict, look in zip(pairs, chosen, closer, strict=True):
            name = thing.region.name
            support[name, attribute] = _combined([verdict, found[name, attribute], look])
        for thing, attribute in pairs:
            if attribute == "name":
                support[thing.region.name, attribute] = self._consistent(thing, support)
        return support

    def agrees(self, workspace: Workspace, turn: ProposedTurn) -> Verdict:
        """Check that the region model finds the yes or no of another writer likelier than its opposite."""
        answer, opposite = ("yes", "no") if turn.answer.lower().startswith("yes") else ("no", "yes")
        try:
            choice = choose(workspace, turn.question, [answer, opposite], model=self.model)
        except UserError:  # an invalid question, such as one that is too long
            return CHOOSE
        margin = choice.scores[0] - choice.scores[1]
        if margin < self.settings.margin:
            return CHOOSE
        return (Evidence("choose", f"{answer} to {turn.question!r}, by {margin:.1f} nats a token", round(choice.confidence, 4)),)

    def _choice_support(self, workspace: Workspace, things: Sequence[Described], thing: Described, attribute: str) -> Verdict:
        """Check that the region model is confident, and finds the description likelier than all others by a margin."""
        description = thing.description(attribute)
        if description.confidence < self.settings.confidence:
            return UNSURE
        others = tuple(other for each in things if (other := each.description(attribute).text) != description.text)
        rng = Random(f"{self.settings.seed} {thing.region.box.xyxy} {attribute}")
        options = [worded(attribute, each) for each in self.vocabulary.alternatives(attribute, description.text, others, rng)]
        if len(options) < 2:
            return CHOOSE
        question = question_about(attribute).replace("<region>", f"<{thing.region.name}>")
        choice = choose(workspace, question, options, model=self.model)
        margin = choice.scores[0] - max(choice.scores[1:])
        if margin < self.settings.margin:
            return CHOOSE
        statement = f"<{thing.region.name}> is {options[0]}, by {margin:.1f} nats a token over {len(options) - 1} other answers"
        return (Evidence("choose", statement, round(description.confidence, 4)),)

    def _detected(self, region: Region) -> tuple[Evidence, ...]:
        """Return the evidence that the detector found the region, whatever it is."""
        if region.label is None or region.score is None or region.score < self.settings.found * self.detector.threshold:
            return ()
        return (Evidence("detector", f"finds {region.label!r} at <{region.name}>", round(region.score, 4)),)

    def _detector_support(self, image: WorkspaceImage, pairs: Sequence[tuple[Described, str]]) -> Support:
        """Check that the detector finds kind, colour with kind, and name at the region."""
        phrases = dict.fromkeys(phrase for pair in pairs if len(phrase := _phrase(*pair)) <= MAX_PHRASE_CHARACTERS)
        asked = list(phrases)[:MAX_PHRASES]
        (found,) = self.detector.candidates([image.pixels], asked)
        least, support = self.settings.found * self.detector.threshold, Support()
        for thing, attribute in pairs:
            phrase, there = _phrase(thing, attribute), _iou(np.asarray(found.boxes), thing.region) >= _AT_IT
            score = float(found.scores[there, asked.index(phrase)].max(initial=0.0)) if phrase in asked else 0.0
            evidence = Evidence("detector", f"finds {phrase!r} at <{thing.region.name}>", round(score, 4))
            support[thing.region.name, attribute] = (evidence,) if score >= least else DETECTOR
        return support

    def look_again(self, workspace: Workspace, image: WorkspaceImage, thing: Described, attribute: str) -> Verdict:
        """Check kind and colour of a small region in an enlarged crop; names are skipped, because they contain a size."""
        share, (width, height) = self.settings.small, image.size_wh
        if attribute == "name" or thing.region.box.width >= share * width or thing.region.box.height >= share * height:
            return ()
        crop = workspace.cut(thing.region, margin=_AROUND)
        region = workspace.seen_in(thing.region, crop)
        question = question_about(attribute).replace("<region>", f"<{region.name}>")
        answer = self.model.ask(crop.image, question, [region])
        again = self.vocabulary.read(attribute, answer.text)
        if again != thing.description(attribute).text:
            return SECOND_LOOK
        return (Evidence("second look", f"<{region.name}> enlarged is {again}", round(answer.confidence, 4)),)

    def _consistent(self, thing: Described, support: Support) -> Verdict:
        """Check that a name's kind and colour agree with the other descriptions and are supported."""
        for attribute in ("kind", "colour"):
            verdict = support[thing.region.name, attribute]
            word = self.vocabulary.read(attribute, thing.name.text)
            if word in self.vocabulary.of(attribute) and word != thing.description(attribute).text:
                return DESCRIPTION
            if isinstance(verdict, str) and word in self.vocabulary.of(attribute):
                return verdict
        return support[thing.region.name, "name"]


def _is_needed(name: str, attribute: str, wanted: Collection[tuple[str, str]]) -> bool:
    """Whether a wanted attribute needs this one: a name also needs kind and colour."""
    return (name, attribute) in wanted or (name, "name") in wanted


def _combined(verdicts: Sequence[Verdict]) -> Verdict:
    """Return all evidence, or the first reason against."""
    against = next((each for each in verdicts if isinstance(each, str)), None)
    return against or tuple(each for verdict in verdicts if not isinstance(verdict, str) for each in verdict)


def _phrase(thing: Described, attribute: str) -> str:
    kind = thing.kind.text
    text = {"kind": kind, "colour": f"{thing.colour.text} {kind}", "name": thing.name.text}[attribute]
    return " ".join(text.replace(".", " ").split())


def _iou(boxes: NDArray[np.float64], region: Region) -> NDArray[np.float64]:
    """Return the IoU (N,) of boxes (N, 4) with a region's box."""
    boxes = boxes.reshape(-1, 4)
    x1, y1, x2, y2 = region.box.xyxy
    across = np.minimum(boxes[:, 2], x2) - np.maximum(boxes[:, 0], x1)
    along = np.minimum(boxes[:, 3], y2) - np.maximum(boxes[:, 1], y1)
    shared = np.clip(across, 0, None) * np.clip(along, 0, None)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found: NDArray[np.float64] = shared / np.maximum(areas + region.box.area - shared, 1e-9)
    return found
