"""Questions to the region model about regions of the workspace: about several at once, about each of many, or a choice.

Small regions get a second look in an enlarged crop, where the model sees more detail.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from roi_agent.model.domain.notes import DomainNote
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

_AnswerOrChoice = TypeVar("_AnswerOrChoice", Answer, Choice)
SecondLook = Literal["small", "always", "never"]
SMALL = 1 / 12  # of the image's side: a region that is smaller in width and height gets a second look
_CONTEXT = 1.5  # margin of the crop, as a share of the region's longer side
_LEAST_CONTEXT = 0.1  # where a second look is requested
_MAX_CROP_SIDE = 0.7  # of the image's side: a larger crop shows nothing new


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and its answer.

    image: the handle of the image.  regions: the regions that the question is about.
    crop: the part of the image that gave the answer, as pixel x1,y1,x2,y2, if the second look was more confident.
    first_look: the answer for the whole image, if there was a second look.
    """

    question: str
    answer: Answer
    image: str
    regions: tuple[Region, ...]
    crop: str | None = None
    first_look: Answer | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader, including one about the second look."""
        if self.first_look is None:
            return self.answer.notes
        first = f"{self.first_look.text!r} with confidence {self.first_look.confidence:.2f}"
        if self.crop:
            return (*self.answer.notes, f"read from a closer look at {self.crop}; the whole image gave {first}")
        return (*self.answer.notes, "a closer look was less confident and was not used")

    @property
    def outside(self) -> bool:
        """Whether the image lies outside the region model's domain."""
        return self.answer.in_domain is False or any(isinstance(note, DomainNote) and note.outside for note in self.answer.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        regions, notes = [region.to_dict() for region in self.regions], list(map(str, self.notes))
        answer = self.answer.to_dict() | {"regions": regions, "notes": notes}
        look = {"text": self.first_look.text, "confidence": self.first_look.confidence} if self.first_look else None
        looks = {"crop": self.crop, "first_look": look, "outside": self.outside}
        return {"question": self.question, "image": self.image, **answer, **looks}

    def sentence(self, *, without: Collection[str] = ()) -> str:
        """Render the answer, for example: red (confidence 0.98).  without: notes to leave out."""
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
    """Ask one question about one or several regions.

    question: refers to regions as `<region1>`, `<region2>`, ...; without any, it is about the whole image.
    image: required only if no region is given and there are several images.  regions: further regions that the question is
        about but does not name.
    points: (x, y) in pixels of the image. The segmenter turns each into a region with the next handle (see `point_at`), which
        the question may name: "What is <region1>?" with one point asks about a click.
    second_look: ask again about a crop and keep the more confident answer. "small" does so if every region is small, "always"
        if a crop shows more detail than the whole image, "never" not at all.
    cancellation: cancels the question if the model supports it.  decoding: the fields of `Decoding`.
    Errors: UnknownRegion, UnknownImage, InvalidSetting for regions of several images or a handle without brackets, PointInvalid,
    and those of the model.
    """
    clicked, point_notes = _segment_points(workspace, points, segmenter, image, cancellation)
    question, whole_image, chosen = _resolve(workspace, question, image, [*workspace.pick(regions), *clicked])
    decoding |= cancellation_argument(model.ask, cancellation)
    with failures_of(REGION_MODEL):
        answer = _check_confidence(model.ask(whole_image.image, question, chosen, **decoding))
    answer = replace(answer, regions=chosen, notes=(*answer.notes, *point_notes))
    crop = _crop(workspace, whole_image, chosen, any_size=second_look == "always") if second_look != "never" and chosen else None
    if crop is None:
        return Asked(question, answer, whole_image.name, chosen)
    with failures_of(REGION_MODEL):
        placed = [workspace.seen_in(region, crop) for region in chosen]
        close_up = _check_confidence(model.ask(crop.image, question, placed, **decoding))
    if close_up.confidence > answer.confidence:
        # Only the whole image decides whether it lies in the model's domain.
        notes = [note for note in close_up.notes if not isinstance(note, DomainNote)]
        notes += [note for note in answer.notes if isinstance(note, DomainNote)]
        close_up = replace(close_up, regions=chosen, notes=tuple(notes), in_domain=answer.in_domain)
        assert crop.box is not None
        return Asked(question, close_up, whole_image.name, chosen, ",".join(f"{value:g}" for value in crop.box.xyxy), answer)
    return Asked(question, answer, whole_image.name, chosen, None, answer)


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
    """Ask one question about each of many regions, in one batch per image.

    question: `<region>` is replaced with each region, as in "What is <region>?".
    regions: default: all regions of the image.  cancellation, decoding: as in `ask`.
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
        for region, answer in zip(group, map(_check_confidence, answers), strict=True):
            asked_question = question.replace("<region>", f"<{region.name}>")
            asked[region.name] = Asked(asked_question, answer, str(name), (region,))
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
    """Choose the likeliest of several answers; arguments and errors are those of `ask`."""
    question, whole_image, chosen = _resolve(workspace, question, image, regions)
    with failures_of(REGION_MODEL):
        keywords = cancellation_argument(model.choose, cancellation)
        choice = _check_confidence(model.choose(whole_image.image, question, options, chosen, **keywords))
    return replace(choice, regions=chosen)


def _check_confidence(given: _AnswerOrChoice) -> _AnswerOrChoice:
    """Return the answer if it has a confidence, which tools compare.  Error: ModelOutputInvalid."""
    confidence: object = given.confidence
    if confidence is None:
        raise ModelOutputInvalid("the region model returned an answer whose confidence is None", do="give one in [0, 1]")
    return given


def _segment_points(
    workspace: Workspace, points: object, segmenter: object, image: ImageName, cancellation: Cancellation
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    if isinstance(points, Sequence) and not points:
        return (), ()
    if segmenter is None:
        raise InvalidSetting("points are given without a segmenter", do='give one, such as load_segmenter("nano")')
    return point_at(workspace, points, segmenter=segmenter, image=image, cancellation=cancellation)


def _resolve(
    workspace: Workspace, question: str, image: ImageName, regions: Sequence[RegionName]
) -> tuple[str, WorkspaceImage, tuple[Region, ...]]:
    """Return the normalized question, the whole image, and the regions, beginning with those that the question names."""
    given = workspace.pick(regions)
    question = with_mentions(question, [region.name for region in given]) if isinstance(question, str) else question
    named = mentioned(question) if isinstance(question, str) else ()
    chosen = tuple({region.name: region for region in (*workspace.pick(named), *given)}.values())
    target = workspace.image(image if image is not None or not chosen else chosen[0].image)
    whole = workspace.image(target.parent) if chosen and target.parent else target
    if elsewhere := [region for region in chosen if region.image != whole.name]:
        problem = f"{elsewhere[0].name} lies in {elsewhere[0].image}, not in {whole.name}"
        raise InvalidSetting(problem, do="ask about regions of one image at a time")
    return question, whole, chosen


def _crop(workspace: Workspace, image: WorkspaceImage, regions: Sequence[Region], *, any_size: bool) -> WorkspaceImage | None:
    """Return a crop around the regions; None if one is too large for `any_size=False` or they lie too far apart."""
    width, height = image.size_wh
    if not any_size and any(region.box.width > SMALL * width or region.box.height > SMALL * height for region in regions):
        return None
    boxes = [region.box for region in regions]
    around = Box(min(b.x1 for b in boxes), min(b.y1 for b in boxes), max(b.x2 for b in boxes), max(b.y2 for b in boxes))
    longest, max_side = max(around.width, around.height), _MAX_CROP_SIDE * max(width, height)
    side = (1 + 2 * _CONTEXT) * longest
    if side > max_side:
        if not any_size or (1 + 2 * _LEAST_CONTEXT) * longest > max_side:
            return None
        side = max_side
    # A square, so that the model's resizing keeps the shapes; moved inwards at the border of the image.
    side = min(side, width, height)
    if side < max(around.width, around.height):
        return None
    (cx, cy), half = around.centre, side / 2
    x1, y1 = min(max(cx - half, 0), width - side), min(max(cy - half, 0), height - side)
    return workspace.cut(Box(x1, y1, x1 + side, y1 + side), image=image)
