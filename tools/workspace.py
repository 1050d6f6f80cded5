"""The workspace: the images and regions of one conversation, under handles that every tool shares.

It is the only state that changes, and it only grows: a handle once given means the same image or region for ever.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from roi_agent.model.errors import ImageTooLarge, InvalidSetting, TooManyRegions, UnknownImage, UnknownRegion
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.utils.messages import escaped
from roi_agent.tools import storage
from roi_agent.tools.crops import lies_in, moved, widened
from roi_agent.tools.measure import relate
from roi_agent.tools.storage import WorkspaceImage

MAX_NAMES = 9999  # images, and regions, of one workspace

ImageName = str | WorkspaceImage | None
RegionName = str | Region


class Workspace:
    """Images and regions under stable handles. Safe under threads.

    Regions always lie in a whole image: what is found in a crop is mapped back to the image that it was cut from.
    Names of things may be given as handles or as the objects that stand for them.

    max_image_bytes: that the pixels of all its images may take in memory; a server's workspaces have such a limit.
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
        """All images in the order of their handles, crops too."""
        with self._lock:
            return tuple(self._images.values())

    @property
    def image_bytes(self) -> int:
        """Bytes that the pixels of all images take in memory."""
        return sum(each.image.nbytes for each in self.images)

    def regions(self, image: ImageName = None) -> tuple[Region, ...]:
        """All regions in the order of their handles; or those of one image, of a crop those that lie in it whole.

        Error: UnknownImage.
        """
        with self._lock:
            everything = tuple(self._regions.values())
            if image is None:
                return everything
            seen = self.image(image)
            whole = self._whole(seen).name
            return tuple(region for region in everything if region.image == whole and lies_in(region.box, seen.box))

    def image(self, name: ImageName = None) -> WorkspaceImage:
        """One image by its handle; without one, the only whole image there is.  Error: UnknownImage."""
        with self._lock:
            known = list(self._images)
            if name is None:
                whole = [each for each in self._images.values() if each.parent is None]
                if len(whole) == 1:
                    return whole[0]
                problem = "the workspace has no image" if not whole else "no image is named"
                raise UnknownImage(problem, do=f"name one of {_listed(known)}" if whole else "add an image first")
            handle = name.name if isinstance(name, WorkspaceImage) else name
            if not isinstance(handle, str) or handle not in self._images:
                raise UnknownImage(
                    escaped(handle).strip("'"), do=f"there is {_listed(known)}" if known else "there is no image yet"
                )
            return self._images[handle]

    def region(self, name: RegionName) -> Region:
        """One region by its handle.  Error: UnknownRegion, which says what there is."""
        return self.pick([name])[0]

    def pick(self, names: Sequence[RegionName]) -> tuple[Region, ...]:
        """Regions by their handles, in the order given.  Error: UnknownRegion."""
        if isinstance(names, str | Region):
            names = [names]
        with self._lock:
            handles = [name.name if isinstance(name, Region) else str(name).strip("<>") for name in names]
            unknown = [handle for handle in handles if handle not in self._regions]
            if unknown:
                there = f"there is {_listed(list(self._regions))}" if self._regions else "there is no region yet"
                raise UnknownRegion(", ".join(escaped(handle).strip("'") for handle in unknown), do=there)
            return tuple(self._regions[handle] for handle in handles)

    def add_image(self, image: object) -> WorkspaceImage:
        """An image under the next handle; one with the same pixels as an earlier whole image keeps that one's handle.

        image: whatever `load_image` takes.  Errors: those of `load_image`, and ImageTooLarge where the workspace has a limit.
        """
        loaded = load_image(image)
        digest = loaded.digest()
        with self._lock:
            same = (each for each in self._images.values() if each.parent is None and each.image.digest() == digest)
            return next(same, None) or self._keep_image(WorkspaceImage(self._next("image", self._images), loaded))

    def add_crop(self, place: object, *, image: ImageName = None, margin: float = 0.0) -> WorkspaceImage:
        """A part of an image as an image under its own handle; the same part again keeps its handle.

        place: a region or its handle, or a box of `image`.  margin: added on every side, as a share of the longer side.
        The part reaches over whole pixels and stays within the image.
        Errors: UnknownRegion, UnknownImage, InvalidSetting, and those of `Box.parse`.
        """
        with self._lock:
            part = self.cut(place, image=image, margin=margin)
            for each in self._images.values():
                if (each.parent, each.box, each.region) == (part.parent, part.box, part.region):
                    return each
            return self._keep_image(replace(part, name=self._next("image", self._images)))

    def cut(self, place: object, *, image: ImageName = None, margin: float = 0.0) -> WorkspaceImage:
        """As `add_crop`, for a look only: the part becomes no image of the workspace and is named after its own."""
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 <= margin <= 10:
            raise InvalidSetting(f"the margin is {escaped(margin)}", do="give 0 to 10, as a share of the longer side")
        with self._lock:
            if isinstance(place, str | Region):
                region: Region | None = self.region(place)
                assert region is not None
                parent, box = self.image(region.image), region.box
            else:
                region, seen = None, self.image(image)
                parent = self._whole(seen)
                box = moved(Box.parse(place, size_wh=seen.size_wh), seen.box)
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
        """Regions under the next handles; all of them, or none where one is wrong.

        regions, format, unit: as in `parse_regions`, in pixels of `image`; the workspace gives the names itself. A region
            that is there already, with the same mask, label and origin, keeps its handle.
        image: a handle; without one, the only image there is.  In a crop, regions are mapped back to the whole image, and
            the crop's region is their parent.
        source, prompt: where they come from, for items that do not say it.
        same_iou: from this IoU on, a region with the label and source of an earlier one counts as that one.
        Errors: UnknownImage, TooManyRegions, and those of `parse_regions`.
        """
        seen = self.image(image)
        parsed = parse_regions(_unnamed(regions), size_wh=seen.size_wh, format=format, unit=unit, max_regions=MAX_NAMES)
        with self._lock:
            known = {replace(region, name="region1"): region for region in self._regions.values()}
            added: list[Region] = []
            count = len(self._regions)
            for region in parsed:
                mapped = self._mapped(region, seen, source, prompt)
                if same_iou is not None and (earlier := _same(mapped, self._regions.values(), same_iou)):
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
        """The region with its box, and what the crop shows of its mask, in pixels of a crop that it lies in.

        Errors: UnknownRegion, UnknownImage, and BoxOutOfBounds for a region that reaches outside the crop.
        """
        known, seen = self.region(region), image if isinstance(image, WorkspaceImage) else self.image(image)
        if known.image != self._whole(seen).name:
            raise UnknownImage(f"{known.name} lies in {known.image}, not in {seen.name}", do=f"ask about {known.image}")
        if seen.box is None:
            return known
        corner = (seen.box.x1, seen.box.y1) * 2
        values = [value - offset for value, offset in zip(known.box.xyxy, corner, strict=True)]
        mask = known.mask.crop(seen.box) if known.mask else None
        return replace(known, box=Box.parse(values, size_wh=seen.size_wh), image=seen.name, mask=mask)

    @classmethod
    def of(cls, images: Iterable[WorkspaceImage], regions: Iterable[Region]) -> "Workspace":
        """A workspace of images and regions that have their handles already, such as an earlier state of another one."""
        workspace = cls()
        workspace._images = {image.name: image for image in images}
        workspace._regions = {region.name: region for region in regions}
        return workspace

    # Saving: see `storage` for the folder's format.

    def save(self, folder: str | Path) -> None:
        """Write everything to a folder, which may hold an earlier state of this workspace.

        Errors: WorkspaceConflict where it holds something else, WorkspaceUnreadable where it cannot be written.
        """
        with storage.locked(folder):
            self._save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Workspace":
        """The last complete state in a folder.  Error: WorkspaceUnreadable."""
        return cls.of(*storage.read(folder))

    @classmethod
    @contextmanager
    def opened(cls, folder: str | Path) -> Iterator["Workspace"]:
        """The workspace of a folder, new where there is none, saved at the end unless something failed.

        Other programs wait meanwhile, so that two of them never give the same handle.
        Errors: WorkspaceUnreadable, and WorkspaceConflict after a long wait.
        """
        with storage.locked(folder):
            workspace = cls.load(folder) if storage.exists(folder) else cls()
            yield workspace
            workspace._save(folder)

    def _save(self, folder: str | Path) -> None:
        with self._lock:
            storage.write(folder, self.images, self.regions())

    def _mapped(self, region: Region, seen: WorkspaceImage, source: str | None, prompt: str | None) -> Region:
        """A region of `seen`, without a name of its own, as one of the whole image."""
        whole = self._whole(seen)
        box, mask = moved(region.box, seen.box), region.mask
        if mask is not None and seen.box is not None:
            mask = mask.pasted((int(seen.box.x1), int(seen.box.y1)), whole.size_wh)
        origin = source if source and region.source == "user" else region.source
        asked = region.prompt if region.prompt is not None else prompt
        parent = seen.region or region.parent
        return replace(region, name="region1", box=box, mask=mask, image=whole.name, source=origin, prompt=asked, parent=parent)

    def _whole(self, image: WorkspaceImage) -> WorkspaceImage:
        return self._images[image.parent] if image.parent else image

    def _keep_image(self, image: WorkspaceImage) -> WorkspaceImage:
        most, taken = self._max_image_bytes, self.image_bytes + image.image.nbytes
        if most is not None and taken > most:
            problem = f"with this image, those of the workspace take {taken} bytes in memory, over the limit of {most}"
            raise ImageTooLarge(problem, do="open it in another workspace, or make it smaller")
        self._images[image.name] = image
        return image

    @staticmethod
    def _next(kind: str, known: Mapping[str, object]) -> str:
        if len(known) >= MAX_NAMES:
            raise InvalidSetting(f"more than {MAX_NAMES} {kind}s in a workspace", do="start another workspace")
        return f"{kind}{len(known) + 1}"


def _same(region: Region, known: Iterable[Region], iou: float) -> Region | None:
    """The earlier region that shows the same thing as this one does, found by the same tool under the same label."""
    alike = [each for each in known if (each.image, each.label, each.source) == (region.image, region.label, region.source)]
    alike = [each for each in alike if each.mask or not region.mask]  # a new mask is not thrown away
    return next((each for each in alike if relate(each, region).iou >= iou), None)


def _unnamed(regions: object) -> object:
    """The same regions without names, which are not theirs to bring."""
    if not isinstance(regions, list | tuple):
        return regions
    if any(isinstance(item, Mapping) and item.get("name") for item in regions):
        raise InvalidSetting("a new region comes with a name", do="leave the name out: the workspace gives it")
    return [replace(item, name=f"region{i}") if isinstance(item, Region) else item for i, item in enumerate(regions, 1)]


def _listed(names: Sequence[str]) -> str:
    """'region1..region4' for consecutive handles."""
    return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
