"""Ask the region model about regions of the workspace: about several at once, about each of many, or to choose.

A small region is looked at a second time, in an enlarged crop, where the model sees more of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from roi_agent.model.domain.domains import OUTSIDE, is_verdict
from roi_agent.model.errors import InvalidSetting, ModelOutputInvalid, TooManyRegions
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import MAX_REGIONS, Region
from roi_agent.model.protocol.answers import Answer, Choice
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.protocol.mentions import with_mentions
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.utils.cancellation import NEVER, Cancellation, cancellation_argument
from roi_agent.tools.models import REGION_MODEL, failures_of
from roi_agent.tools.segment import point_at
from roi_agent.tools.storage import WorkspaceImage
from roi_agent.tools.workspace import ImageName, RegionName, Workspace

_Given = TypeVar("_Given", Answer, Choice)
SecondLook = Literal["small", "always", "never"]
SMALL = 1 / 12  # of the image's side: a region that is smaller both ways is looked at again
_CONTEXT = 1.5  # of the region's longer side, around it in the crop
_LEAST_CONTEXT = 0.1  # where a closer look is asked for
_PART = 0.7  # of the image's side: a crop that is larger shows nothing new


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and what was answered.

    image: that was asked about.  regions: those the question is about.
    crop: the part of it that the answer was read from, as pixel x1,y1,x2,y2, where a second look was the better one.
    first_look: the answer to the whole image, where there was a second look.
    """

    question: str
    answer: Answer
    image: str
    regions: tuple[Region, ...]
    crop: str | None = None
    first_look: Answer | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader should know, the second look included."""
        if self.first_look is None:
            return self.answer.notes
        first = f"{self.first_look.text!r} with confidence {self.first_look.confidence:.2f}"
        if self.crop:
            return (*self.answer.notes, f"read from a closer look at {self.crop}; the whole image gave {first}")
        return (*self.answer.notes, "a closer look was less sure and not used")

    @property
    def outside(self) -> bool:
        """Whether the image is none of those that the region model knows."""
        return self.answer.in_domain is False or any(note.startswith(OUTSIDE) for note in self.answer.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        answer = self.answer.to_dict() | {"regions": [region.to_dict() for region in self.regions], "notes": list(self.notes)}
        look = {"text": self.first_look.text, "confidence": self.first_look.confidence} if self.first_look else None
        told = {"crop": self.crop, "first_look": look, "outside": self.outside}
        return {"question": self.question, "image": self.image, **answer, **told}

    def sentence(self, *, without: Collection[str] = ()) -> str:
        """For example: red (confidence 0.98).  without: notes to leave out."""
        notes = [note for note in self.notes if note not in without]
        return "; ".join([f"{self.answer.text} (confidence {self.answer.confidence:.2f})", *notes])

    def _repr_html_(self) -> str:
        from markupsafe import Markup

        from roi_agent.model.utils.notebook_html import soft, stacked

        answer = replace(self.answer, regions=self.regions, notes=self.notes)
        return stacked(soft(self.question), Markup(answer._repr_html_()))


def ask(
    workspace: Workspace,
    question: str,
    *,
    model: RegionModel,
    image: ImageName = None,
    regions: Sequence[RegionName] = (),
    points: object = (),
    segmenter: object = None,
    second_look: SecondLook = "small",
    cancellation: Cancellation = NEVER,
    **decoding: Any,
) -> Asked:
    """One question about one or several regions.

    question: `<region1>`, `<region2>`, ... point at regions of the workspace; one that names none is about the whole image.
    image: needed only where no region is named and there are several images.  regions: more of them, which the question
        does not name but is about.
    points: (x, y) in pixels of the image, each on a thing, which the segmenter finds first (see `point_at`): it becomes a region
        under the next handle, which the question may name. So "What is <region1>?" with one point asks about a click.
    second_look: ask again about a crop and keep the answer that the model is surer of: where every region is small, "always"
        where a crop shows more than the whole image, or "never".
    cancellation: takes the question back, where the model can.  decoding: the fields of `Decoding`.
    Errors: UnknownRegion, UnknownImage, InvalidSetting for regions of several images or a handle without brackets, PointInvalid,
    and those of the model.
    """
    pointed, told = _pointed(workspace, points, segmenter, image, cancellation)
    question, seen, chosen = _about(workspace, question, image, [*workspace.pick(regions), *pointed])
    decoding |= cancellation_argument(model.ask, cancellation)
    with failures_of(REGION_MODEL):
        answer = _sure(model.ask(seen.image, question, chosen, **decoding))
    answer = replace(answer, regions=chosen, notes=(*answer.notes, *told))
    crop = _crop(workspace, seen, chosen, any_size=second_look == "always") if second_look != "never" and chosen else None
    if crop is None:
        return Asked(question, answer, seen.name, chosen)
    with failures_of(REGION_MODEL):
        placed = [workspace.seen_in(region, crop) for region in chosen]
        again = _sure(model.ask(crop.image, question, placed, **decoding))
    if again.confidence > answer.confidence:
        # Whether the image is one that the model knows is told by the whole of it.
        notes = [note for note in again.notes if not is_verdict(note)]
        notes += [note for note in answer.notes if is_verdict(note)]
        again = replace(again, regions=chosen, notes=tuple(notes), in_domain=answer.in_domain)
        assert crop.box is not None
        return Asked(question, again, seen.name, chosen, ",".join(f"{value:g}" for value in crop.box.xyxy), answer)
    return Asked(question, answer, seen.name, chosen, None, answer)


def ask_each(
    workspace: Workspace,
    question: str,
    regions: Sequence[RegionName] | None = None,
    *,
    model: RegionModel,
    image: ImageName = None,
    cancellation: Cancellation = NEVER,
    **decoding: Any,
) -> list[Asked]:
    """One question about each of many regions, as one batch for each image.

    question: `<region>` stands for the region, as in "What is <region>?".
    regions: all of the image's where none are given.  cancellation, decoding: as in `ask`.
    Errors: UnknownRegion, UnknownImage, InvalidSetting, TooManyRegions, and those of the model.
    """
    chosen = workspace.pick(regions) if regions is not None else workspace.regions(workspace.image(image))
    if not chosen:
        raise InvalidSetting("there is no region to ask about", do="find some first, or give boxes")
    question = with_mentions(question, each=True) if isinstance(question, str) else question
    if named := mentioned(question):
        raise InvalidSetting(f"the question names <{named[0]}>", do="write <region>, which stands for each of them")
    if len(chosen) > MAX_REGIONS:
        raise TooManyRegions(f"{len(chosen)} regions, and {MAX_REGIONS} are allowed at once", do="name fewer of them")
    decoding |= cancellation_argument(model.ask_each, cancellation)
    asked: dict[str, Asked] = {}
    for name in dict.fromkeys(region.image for region in chosen):
        group = [region for region in chosen if region.image == name]
        with failures_of(REGION_MODEL):
            answers = model.ask_each(workspace.image(name).image, question, group, **decoding)
        for region, answer in zip(group, map(_sure, answers), strict=True):
            said = question.replace("<region>", f"<{region.name}>")
            asked[region.name] = Asked(said, answer, str(name), (region,))
    return [asked[region.name] for region in chosen]


def choose(
    workspace: Workspace,
    question: str,
    options: Sequence[str],
    *,
    model: RegionModel,
    image: ImageName = None,
    regions: Sequence[RegionName] = (),
    cancellation: Cancellation = NEVER,
) -> Choice:
    """The likeliest of several answers; the arguments are those of `ask`.  Errors: those of `ask`."""
    question, seen, chosen = _about(workspace, question, image, regions)
    with failures_of(REGION_MODEL):
        choice = _sure(model.choose(seen.image, question, options, chosen, **cancellation_argument(model.choose, cancellation)))
    return replace(choice, regions=chosen)


def _sure(given: _Given) -> _Given:
    """The same, with a confidence, which tools weigh.  Error: ModelOutputInvalid for a model that gives none."""
    confidence: object = given.confidence
    if confidence is None:
        raise ModelOutputInvalid("the region model returned an answer whose confidence is None", do="give one in [0, 1]")
    return given


def _pointed(
    workspace: Workspace, points: object, segmenter: object, image: ImageName, cancellation: Cancellation
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    if isinstance(points, Sequence) and not points:
        return (), ()
    if segmenter is None:
        raise InvalidSetting("points are given without a segmenter", do='give one, such as load_segmenter("nano")')
    return point_at(workspace, points, segmenter=segmenter, image=image, cancellation=cancellation)


def _about(
    workspace: Workspace, question: str, image: ImageName, regions: Sequence[RegionName]
) -> tuple[str, WorkspaceImage, tuple[Region, ...]]:
    """The question as it is read, the whole image and the regions that it is about, those that it names first."""
    given = workspace.pick(regions)
    question = with_mentions(question, [region.name for region in given]) if isinstance(question, str) else question
    named = mentioned(question) if isinstance(question, str) else ()
    chosen = tuple({region.name: region for region in (*workspace.pick(named), *given)}.values())
    seen = workspace.image(image if image is not None or not chosen else chosen[0].image)
    whole = workspace.image(seen.parent) if chosen and seen.parent else seen
    if elsewhere := [region for region in chosen if region.image != whole.name]:
        problem = f"{elsewhere[0].name} lies in {elsewhere[0].image}, not in {whole.name}"
        raise InvalidSetting(problem, do="ask about regions of one image at a time")
    return question, whole, chosen


def _crop(workspace: Workspace, image: WorkspaceImage, regions: Sequence[Region], *, any_size: bool) -> WorkspaceImage | None:
    """A part of the image around small regions; None where one is large and must not be, or where they lie far apart."""
    width, height = image.size_wh
    if not any_size and any(region.box.width > SMALL * width or region.box.height > SMALL * height for region in regions):
        return None
    boxes = [region.box for region in regions]
    around = Box(min(b.x1 for b in boxes), min(b.y1 for b in boxes), max(b.x2 for b in boxes), max(b.y2 for b in boxes))
    longest, most = max(around.width, around.height), _PART * max(width, height)
    side = (1 + 2 * _CONTEXT) * longest
    if side > most:
        if not any_size or (1 + 2 * _LEAST_CONTEXT) * longest > most:
            return None
        side = most
    # A square, so that the model's own resizing does not change the shapes; at the frame it is moved inwards.
    side = min(side, width, height)
    if side < max(around.width, around.height):
        return None
    (cx, cy), half = around.centre, side / 2
    x1, y1 = min(max(cx - half, 0), width - side), min(max(cy - half, 0), height - side)
    return workspace.cut(Box(x1, y1, x1 + side, y1 + side), image=image)
