"""What a planner may pass to each tool: schemas whose descriptions are written for it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from roi_agent.model.geometry.regions import MAX_REGIONS
from roi_agent.tools.measure import NEARNESS, ORDERS, PLACES, RELATIONS

_Handle = Annotated[str, Field(pattern=r"^<?region[1-9][0-9]{0,3}>?$", description="A region's handle, such as region1.")]
_Image = Annotated[
    str | None,
    Field(default=None, pattern=r"^image[1-9][0-9]{0,3}$", description="An image's handle; needed only where there are several."),
]
_Regions = Annotated[list[_Handle], Field(max_length=MAX_REGIONS)]
_Box = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels.")]
_Point = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2, description="x, y in pixels.")]
_Question = Annotated[str, Field(min_length=1, max_length=2000)]
_Closer = Annotated[
    bool, Field(default=False, description="Look again at an enlarged part around the regions, for an answer that is not sure.")
]


class Arguments(BaseModel):
    """The base of all schemas: unknown arguments are refused."""

    model_config = ConfigDict(extra="forbid")


class FindArguments(Arguments):
    """Arguments of find_regions."""

    phrases: list[str] = Field(
        min_length=1, max_length=100, description='What to look for, as short names: ["red umbrella", "star"]. Not a question.'
    )
    image: _Image
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="Lowest score that counts; leave it out, or lower it to see uncertain finds."
    )


class SegmentArguments(Arguments):
    """Arguments of segment_regions."""

    regions: _Regions = Field(default=[], description="Regions to make masks of, one new region for each.")
    boxes: list[_Box] = Field(default=[], max_length=MAX_REGIONS, description="Boxes to make masks of, one new region for each.")
    points: list[_Point] = Field(default=[], max_length=100, description="Points that all lie on ONE thing.")
    outside: list[_Point] = Field(default=[], max_length=100, description="Points that this thing does not cover.")
    image: _Image


class EverythingArguments(Arguments):
    """Arguments of segment_everything."""

    image: _Image


class AddArguments(Arguments):
    """Arguments of add_region."""

    box: _Box
    label: str | None = Field(default=None, max_length=200, description="What it shows, if that is known.")
    image: _Image


class ListArguments(Arguments):
    """Arguments of list_regions."""

    image: _Image


class AskArguments(Arguments):
    """Arguments of ask_about_regions."""

    question: _Question = Field(
        description='With every region in angle brackets: "What is <region1>?", "Is <region1> left of <region3>?"'
    )
    regions: _Regions = Field(default=[], description="Further regions that the question is about and does not name.")
    closer: _Closer
    image: _Image


class AskEachArguments(Arguments):
    """Arguments of ask_each_region."""

    question: _Question = Field(description='With <region>, which stands for each of them: "What colour is <region>?"')
    regions: _Regions | None = Field(default=None, description="All regions of the image where left out.")
    image: _Image


class ChooseArguments(Arguments):
    """Arguments of choose_answer."""

    question: _Question = Field(description='With every region in angle brackets: "What is <region1>?"')
    options: list[str] = Field(min_length=2, max_length=100, description='The answers to choose from: ["a cup", "a ball"].')
    regions: _Regions = Field(default=[], description="Further regions that the question is about and does not name.")
    image: _Image


class CompareArguments(Arguments):
    """Arguments of compare_regions."""

    first: _Handle
    second: _Handle


class OrderArguments(Arguments):
    """Arguments of order_regions."""

    order: Literal[(*ORDERS, *NEARNESS)] = Field(  # type: ignore[valid-type]
        description="The order; the first of the result is the leftmost, the topmost, the nearest, ..."
    )
    regions: _Regions | None = Field(default=None, description="All regions of the image where left out.")
    to: _Handle | None = Field(default=None, description='For "nearest first" and "farthest first": from which region.')
    image: _Image


class SelectArguments(Arguments):
    """Arguments of select_regions."""

    regions: _Regions | None = Field(default=None, description="All regions of the image where left out.")
    relation: Literal[tuple(RELATIONS)] | None = Field(default=None, description="How they lie to the region of `to`.")  # type: ignore[valid-type]
    to: _Handle | None = Field(default=None, description="The region that the relation is to.")
    place: Literal[PLACES] | None = Field(default=None, description="The part of the image that their centres lie in.")  # type: ignore[valid-type]
    image: _Image


class CountArguments(Arguments):
    """Arguments of count_regions."""

    image: _Image


class LookArguments(Arguments):
    """Arguments of look_at_image."""

    image: _Image
    regions: _Regions | None = Field(default=None, description="Only these are drawn; all of the image where left out.")


class ZoomArguments(Arguments):
    """Arguments of zoom_in."""

    region: _Handle
    margin: float = Field(default=0.25, ge=0, le=10, description="Surroundings to show, as a share of the region's longer side.")
