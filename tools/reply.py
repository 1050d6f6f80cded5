"""What a tool gives back: a short text that names handles, with regions, data and a picture beside it."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from roi_agent.model.geometry.regions import Region


class Result(Protocol):
    """What a tool found out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


@dataclass(frozen=True, slots=True)
class ToolReply:
    """What a tool gives.

    text: for the planner.  regions: that the text is about.  result: in full, typed or as plain JSON values.
    picture: RGB.  error: the code of what went wrong, else none; the workspace is then as it was.
    """

    text: str
    regions: tuple[Region, ...] = ()
    result: Result | Mapping[str, Any] = field(default_factory=dict)
    picture: Image.Image | None = None
    error: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return dict(self.result) if isinstance(self.result, Mapping) else self.result.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Text, regions and data as plain JSON values; masks are left out for their length."""
        regions = [{key: value for key, value in region.to_dict().items() if key != "mask"} for region in self.regions]
        error = {"error": self.error} if self.error else {}
        return {"text": self.text, "regions": regions, "data": _without_regions(self.data), **error}

    def to_json(self) -> str:
        """`to_dict` as JSON, for planners that are sent text alone."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def artifact(self) -> "Artifact":
        """Plain JSON values, the picture as a PNG in base64."""
        return Artifact(self)


class Artifact(dict[str, Any]):
    """A reply as plain JSON values, for LangChain's messages.  reply: as it was, for whoever works in the same process."""

    def __init__(self, reply: ToolReply) -> None:
        picture = {"picture": {"mime_type": "image/png", "base64": png_base64(reply.picture)}} if reply.picture else {}
        super().__init__(regions=[region.to_dict() for region in reply.regions], data=reply.data, **picture)
        self.reply = reply


def listing(regions: tuple[Region, ...]) -> str:
    """For example: region3 (red star) in image1 at 10,20,110,140; region4 ..."""
    return "; ".join(_described(region) for region in regions)


def png_base64(picture: Image.Image) -> str:
    """The picture as a PNG, in base64."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _described(region: Region) -> str:
    label = f" ({region.label})" if region.label else ""
    return f"{region.name}{label} in {region.image} at {','.join(f'{value:.0f}' for value in region.box.xyxy)}"


def _without_regions(value: Any) -> Any:
    """Data without the regions that stand beside it."""
    if isinstance(value, Mapping):
        return {key: _without_regions(each) for key, each in value.items() if key != "regions"}
    return [_without_regions(each) for each in value] if isinstance(value, list) else value
