"""Regions from `--box` and `--point`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roi_agent.cli.options import err
from roi_agent.model_choice import ModelChoice

if TYPE_CHECKING:
    from roi_agent.model.geometry.regions import Region
    from roi_agent.model.images.loading import LoadedImage
    from roi_agent.tools.workspace import Workspace


@dataclass(frozen=True)
class Pointing:
    """Boxes, and points on objects, which the segmenter of `choice` segments."""

    boxes: list[list[float]]
    points: list[tuple[float, float]]
    format: str
    unit: str
    choice: ModelChoice

    def regions_of(self, image: "LoadedImage", *, announce: bool = True) -> tuple[Any, Sequence[str]]:
        """Return regions for a region model, the boxes first, and notes."""
        from roi_agent.tools.workspace import Workspace

        if not self.points:
            return self.boxes, ()
        workspace = Workspace()
        return self.add_to(workspace, workspace.add_image(image).name, announce=announce)

    def add_to(
        self, workspace: "Workspace", image: str | None, *, announce: bool = True
    ) -> tuple[tuple["Region", ...], Sequence[str]]:
        """Add the regions to a workspace; return them and notes.  announce: print their names."""
        format, unit = self.format, self.unit
        added = workspace.add_regions(self.boxes, image=image, format=format, unit=unit) if self.boxes else ()
        notes: Sequence[str] = ()
        if self.points:
            from roi_agent.model.utils.progress import waiting

            with waiting("segmenting the points"):
                from roi_agent.loading import load_role
                from roi_agent.tools.segment import point_at

                segmenter = load_role("segment", self.choice)
                pointed, notes = point_at(workspace, self.points, segmenter=segmenter, image=image)
            added = (*added, *pointed)
        for region in added if announce else ():
            err.print(f"{region.name} is the box {','.join(f'{value:g}' for value in region.box.xyxy)}", soft_wrap=True)
        return added, notes
