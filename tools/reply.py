"""The reply of a tool: a short text that names handles, with regions, data and a picture."""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from roi_agent.model.geometry.regions import Region


class Result(Protocol):
    """The typed result of a tool."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""


@dataclass(frozen=True, slots=True)
class ToolReply:
    """The reply of a tool.

    text: for the planner.  regions: what the text is about.  result: the full result, typed or as plain JSON values.
    picture: RGB.  error: the code of a failure, after which the workspace is unchanged.
    """

    text: str
    regions: tuple[Region, ...] = ()
    result: Result | Mapping[str, Any] = field(default_factory=dict)
    picture: Image.Image | None = None
    error: str | None = None

    @property
    def data(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return dict(self.result) if isinstance(self.result, Mapping) else self.result.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Return text, regions and data as plain JSON values; masks are left out for their size."""
        regions = [{key: value for key, value in region.to_dict().items() if key != "mask"} for region in self.regions]
        error = {"error": self.error} if self.error else {}
        return {"text": self.text, "regions": regions, "data": _without_regions(self.data), **error}

    def to_json(self) -> str:
        """Return `to_dict` as JSON, for planners that only read text."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def artifact(self) -> "Artifact":
        """Return plain JSON values with the picture as a PNG in base64."""
        return Artifact(self)


class Artifact(dict[str, Any]):
    """A reply as plain JSON values for LangChain's messages.  reply: the typed reply, for code in the same process."""

    def __init__(self, reply: ToolReply) -> None:
        picture = {"picture": {"mime_type": "image/png", "base64": png_base64(reply.picture)}} if reply.picture else {}
        super().__init__(regions=[region.to_dict() for region in reply.regions], data=reply.data, **picture)
        self.reply = reply


def listing(regions: tuple[Region, ...]) -> str:
    """List regions, for example: region3 (red star) in image1 at 10,20,110,140; region4 ..."""
    return "; ".join(_described(region) for region in regions)


def png_base64(picture: Image.Image) -> str:
    """Encode a picture as a PNG in base64."""
    data = io.BytesIO()
    picture.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _described(region: Region) -> str:
    label = f" ({region.label})" if region.label else ""
    return f"{region.name}{label} in {region.image} at {','.join(f'{value:.0f}' for value in region.box.xyxy)}"


def _without_regions(value: Any) -> Any:
    """Return data without the regions that the reply already contains."""
    if isinstance(value, Mapping):
        return {key: _without_regions(each) for key, each in value.items() if key != "regions"}
    return [_without_regions(each) for each in value] if isinstance(value, list) else value
