"""Building blocks of tool arguments, with descriptions for planners."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from roi_agent.model.geometry.regions import MAX_REGIONS

RegionHandle = Annotated[str, Field(pattern=r"^<?region[1-9][0-9]{0,3}>?$", description="A region's handle, such as region1.")]
RegionHandles = Annotated[list[RegionHandle], Field(max_length=MAX_REGIONS)]
ImageHandle = Annotated[
    str | None,
    Field(default=None, pattern=r"^image[1-9][0-9]{0,3}$", description="An image's handle; needed only where there are several."),
]
PixelBox = Annotated[list[FiniteFloat], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels.")]
PixelPoint = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2, description="x, y in pixels.")]


class Arguments(BaseModel):
    """Base class of all argument schemas; unknown arguments are rejected."""

    model_config = ConfigDict(extra="forbid")
