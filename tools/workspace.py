"""The workspace: the images and regions of one conversation, under handles that all tools share.

It is the only mutable state, and it only grows: a handle always refers to the same image or region.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from roi_agent.model.errors import ImageTooLarge, InvalidSetting, TooManyRegions, UnknownImage, UnknownRegion
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.utils.messages import escaped
from roi_agent.tools import storage
from roi_agent.tools.crops import lies_in, moved, widened
from roi_agent.tools.new_regions import MAX_NAMES, earlier_find, parse_new_regions
from roi_agent.tools.storage import WorkspaceImage

ImageName = str | WorkspaceImage | None
RegionName = str | Region


class Workspace:
    """Images and regions under stable handles. Thread-safe.

    Regions always belong to a whole image: finds in a crop are mapped back to the image that it was cut from.
    Arguments for images and regions accept handles or the objects themselves.

    max_image_bytes: maximum memory of the pixels of all images, used by servers.
    """

    def __init__(self, *, max_image_bytes: int | None = None) -> None:
        self._max_image_bytes = max_image_bytes
        self._images: dict[str, WorkspaceImage] = {}
        self._regions: dict[str, Region] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Workspace: {len(self._images)} images, {len(self._regions)} regions>"

    def _repr_html_(self) -> str:
        from roi_agent.tools.workspace_html import workspace_html

        return workspace_html(self.images, self.regions())

    @property
    def images(self) -> tuple[WorkspaceImage, ...]:
        """All images, including crops, in order of their handles."""
        with self._lock:
            return tuple(self._images.values())

    @property
    def image_bytes(self) -> int:
        """Memory of the pixels of all images, in bytes."""
        return sum(each.image.nbytes for each in self.images)

    def regions(self, image: ImageName = None) -> tuple[Region, ...]:
        """Return all regions in order of their handles, or those of one image; for a crop, those entirely inside it.

        Error: UnknownImage.
        """
        with self._lock:
            everything = tuple(self._regions.values())
            if image is None:
                return everything
            target = self.image(image)
            whole = self._whole_of(target).name
            return tuple(region for region in everything if region.image == whole and lies_in(region.box, target.box))

    def image(self, name: ImageName = None) -> WorkspaceImage:
        """Return an image by its handle; default: the only whole image.  Error: UnknownImage."""
        with self._lock:
            known = list(self._images)
            if name is None:
                whole = [each for each in self._images.values() if each.parent is None]
                if len(whole) == 1:
                    return whole[0]
                problem = "the workspace has no image" if not whole else "no image is named"
                raise UnknownImage(problem, do=f"name one of {_handle_range(known)}" if whole else "add an image first")
            handle = name.name if isinstance(name, WorkspaceImage) else name
            if not isinstance(handle, str) or handle not in self._images:
                raise UnknownImage(
                    escaped(handle).strip("'"), do=f"there is {_handle_range(known)}" if known else "there is no image yet"
                )
            return self._images[handle]

    def region(self, name: RegionName) -> Region:
        """Return a region by its handle.  Error: UnknownRegion, which lists the known handles."""
        return self.pick([name])[0]

    def pick(self, names: Sequence[RegionName]) -> tuple[Region, ...]:
        """Return regions by their handles, in the order given.  Error: UnknownRegion."""
        if isinstance(names, str | Region):
            names = [names]
        with self._lock:
            handles = [name.name if isinstance(name, Region) else str(name).strip("<>") for name in names]
            unknown = [handle for handle in handles if handle not in self._regions]
            if unknown:
                there = f"there is {_handle_range(list(self._regions))}" if self._regions else "there is no region yet"
                raise UnknownRegion(", ".join(escaped(handle).strip("'") for handle in unknown), do=there)
            return tuple(self._regions[handle] for handle in handles)

    def add_image(self, image: object) -> WorkspaceImage:
        """Add an image under the next handle; an image with the pixels of an earlier whole image gets its handle.

        image: anything that `load_image` accepts.  Errors: those of `load_image`, and ImageTooLarge for a workspace with a limit.
        """
        loaded = load_image(image)
        digest = loaded.digest()
        with self._lock:
            same = (each for each in self._images.values() if each.parent is None and each.image.digest() == digest)
            return next(same, None) or self._keep_image(WorkspaceImage(self._next_handle("image", self._images), loaded))

    def add_crop(self, place: object, *, image: ImageName = None, margin: float = 0.0) -> WorkspaceImage:
        """Add a part of an image as an image with its own handle; the same part gets the same handle.

        place: a region or its handle, or a box of `image`.  margin: added on every side, as a share of the longer side.
        The part is rounded out to whole pixels inside the image.
        Errors: UnknownRegion, UnknownImage, InvalidSetting, and those of `Box.parse`.
        """
        with self._lock:
            part = self.cut(place, image=image, margin=margin)
            for each in self._images.values():
                if (each.parent, each.box, each.region) == (part.parent, part.box, part.region):
                    return each
            return self._keep_image(replace(part, name=self._next_handle("image", self._images)))

    def cut(self, place: object, *, image: ImageName = None, margin: float = 0.0) -> WorkspaceImage:
        """As `add_crop`, but without adding the crop to the workspace; its name is that of its image."""
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin <= 10:
            raise InvalidSetting(f"the margin is {escaped(margin)}", do="give 0 to 10, as a share of the longer side")
        with self._lock:
            if isinstance(place, str | Region):
                region: Region | None = self.region(place)
                assert region is not None
                parent, box = self.image(region.image), region.box
            else:
                region, target = None, self.image(image)
                parent = self._whole_of(target)
                box = moved(Box.parse(place, size_wh=target.size_wh), target.box)
        part = widened(box, margin, parent.size_wh)
        pixels = parent.pixels.crop(tuple(map(int, part.xyxy)))  # type: ignore[arg-type]  # four whole numbers
        loaded = LoadedImage(pixels, f"part of {parent.name}", parent.image.notes, whole=parent.image)
        return WorkspaceImage(parent.name, loaded, parent.name, part, region.name if region else None)

    def add_regions(
        self,
        regions: object,
        *,
        image: ImageName = None,
        format: str = "xyxy",
        unit: str = "pixel",
        source: str | None = None,
        prompt: str | None = None,
        same_iou: float | None = None,
    ) -> tuple[Region, ...]:
        """Add regions under the next handles; none is added if one is invalid.

        regions, format, unit: as in `parse_regions`, in pixels of `image`; the workspace assigns the names. An existing region
            with the same box, mask, label and origin keeps its handle.
        image: default: the only image.  Regions of a crop are mapped back to the whole image, and the crop's region becomes
            their parent.
        source, prompt: origin of items without one.
        same_iou: IoU from which a region with the label and source of an earlier one is treated as that one.
        Errors: UnknownImage, TooManyRegions, and those of `parse_regions`.
        """
        target = self.image(image)
        parsed = parse_new_regions(regions, size_wh=target.size_wh, format=format, unit=unit)
        return self.keep_regions(parsed, image=target, source=source, prompt=prompt, same_iou=same_iou)

    def keep_regions(
        self,
        parsed: Sequence[Region],
        *,
        image: ImageName = None,
        source: str | None = None,
        prompt: str | None = None,
        same_iou: float | None = None,
    ) -> tuple[Region, ...]:
        """As `add_regions`, for regions that `parse_new_regions` has checked against the image; their names are ignored.

        Errors: UnknownImage, TooManyRegions.
        """
        target = self.image(image)
        with self._lock:
            known = {replace(region, name="region1"): region for region in self._regions.values()}
            added: list[Region] = []
            count = len(self._regions)
            for region in parsed:
                mapped = self._to_whole_image(region, target, source, prompt)
                if same_iou is not None and (earlier := earlier_find(mapped, self._regions.values(), same_iou)):
                    known[mapped] = earlier
                if mapped not in known:
                    count += 1
                    if count > MAX_NAMES:
                        raise TooManyRegions(f"more than {MAX_NAMES} regions in a workspace", do="start another workspace")
                    known[mapped] = replace(mapped, name=f"region{count}")
                added.append(known[mapped])
            self._regions |= {region.name: region for region in added}
            return tuple(added)

    def seen_in(self, region: RegionName, image: ImageName) -> Region:
        """Convert a region, with the visible part of its mask, to pixels of a crop that contains its box.

        Errors: UnknownRegion, UnknownImage, and BoxOutOfBounds for a region that extends outside the crop.
        """
        known, target = self.region(region), image if isinstance(image, WorkspaceImage) else self.image(image)
        if known.image != self._whole_of(target).name:
            raise UnknownImage(f"{known.name} lies in {known.image}, not in {target.name}", do=f"ask about {known.image}")
        if target.box is None:
            return known
        corner = (target.box.x1, target.box.y1) * 2
        values = [value - offset for value, offset in zip(known.box.xyxy, corner, strict=True)]
        mask = known.mask.crop(target.box) if known.mask else None
        return replace(known, box=Box.parse(values, size_wh=target.size_wh), image=target.name, mask=mask)

    @classmethod
    def of(cls, images: Iterable[WorkspaceImage], regions: Iterable[Region]) -> "Workspace":
        """Create a workspace of images and regions that already have handles, such as an earlier state of another one."""
        workspace = cls()
        workspace._images = {image.name: image for image in images}
        workspace._regions = {region.name: region for region in regions}
        return workspace

    # Saving: see `storage` for the folder's format.

    def save(self, folder: str | Path) -> None:
        """Write everything to a folder, which may contain an earlier state of this workspace.

        Errors: WorkspaceConflict if the folder contains something else, WorkspaceUnreadable if it cannot be written.
        """
        with storage.locked(folder):
            self._save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Workspace":
        """Load the last complete state from a folder.  Error: WorkspaceUnreadable."""
        return cls.of(*storage.read(folder))

    @classmethod
    @contextmanager
    def opened(cls, folder: str | Path) -> Iterator["Workspace"]:
        """Open the workspace of a folder, or a new one, and save it at the end unless there is an error.

        The folder is locked meanwhile, so that two programs never assign the same handle.
        Errors: WorkspaceUnreadable, and WorkspaceConflict after a long wait.
        """
        with storage.locked(folder):
            workspace = cls.load(folder) if storage.exists(folder) else cls()
            yield workspace
            workspace._save(folder)

    def _save(self, folder: str | Path) -> None:
        with self._lock:
            storage.write(folder, self.images, self.regions())

    def _to_whole_image(self, region: Region, target: WorkspaceImage, source: str | None, prompt: str | None) -> Region:
        """Map a region of the target image to the whole image."""
        whole = self._whole_of(target)
        box, mask = moved(region.box, target.box), region.mask
        if mask is not None and target.box is not None:
            mask = mask.pasted((int(target.box.x1), int(target.box.y1)), whole.size_wh)
        origin = source if source and region.source == "user" else region.source
        asked = region.prompt if region.prompt is not None else prompt
        parent = target.region or region.parent
        return replace(region, name="region1", box=box, mask=mask, image=whole.name, source=origin, prompt=asked, parent=parent)

    def _whole_of(self, image: WorkspaceImage) -> WorkspaceImage:
        return self._images[image.parent] if image.parent else image

    def _keep_image(self, image: WorkspaceImage) -> WorkspaceImage:
        limit, total_bytes = self._max_image_bytes, self.image_bytes + image.image.nbytes
        if limit is not None and total_bytes > limit:
            problem = (
                f"with this image, the images of the workspace take {total_bytes} bytes of memory, over the limit of {limit}"
            )
            raise ImageTooLarge(problem, do="open it in another workspace, or make it smaller")
        self._images[image.name] = image
        return image

    @staticmethod
    def _next_handle(kind: str, known: Mapping[str, object]) -> str:
        if len(known) >= MAX_NAMES:
            raise InvalidSetting(f"more than {MAX_NAMES} {kind}s in a workspace", do="start another workspace")
        return f"{kind}{len(known) + 1}"


def _handle_range(names: Sequence[str]) -> str:
    """Abbreviate consecutive handles as 'region1..region4'."""
    return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
