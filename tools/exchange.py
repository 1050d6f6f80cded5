"""Conversions of regions to and from COCO JSON, supervision's Detections and plain arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from roi_agent.model.errors import (
    BoxFormatUnknown,
    InvalidSetting,
    MissingExtra,
    ModelOutputInvalid,
    TooManyRegions,
)
from roi_agent.model.geometry.boxes import FORMATS, UNITS
from roi_agent.model.geometry.regions import Region
from roi_agent.model.utils.messages import escaped
from roi_agent.tools.coco_document import OURS, CocoDocument
from roi_agent.tools.new_regions import MAX_NAMES, parse_new_regions
from roi_agent.tools.workspace import Workspace

if TYPE_CHECKING:
    from supervision import Detections

_EXPORTED_KEYS = ("name", "label", "source", "prompt", "parent")


def to_array(
    regions: Sequence[Region], *, format: str = "xyxy", unit: str = "pixel", size_wh: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Return the boxes of regions as an array (N, 4).

    format: xyxy, xywh or cxcywh.  unit: pixel, normalised or thousandths; the last two require the image's size_wh.
    Errors: BoxFormatUnknown, InvalidSetting.
    """
    if format not in FORMATS or unit not in UNITS:
        raise BoxFormatUnknown(f"boxes as {escaped(format)} in {escaped(unit)}", do=f"use one of {', '.join((*FORMATS, *UNITS))}")
    boxes = np.array([region.box.xyxy for region in regions], np.float64).reshape(-1, 4)
    if unit != "pixel":
        if size_wh is None:
            raise InvalidSetting(f"boxes in {unit} without the image's size", do="give size_wh")
        boxes = boxes / np.tile(size_wh, 2) * (1000 if unit == "thousandths" else 1)
    if format == "xyxy":
        return boxes
    corners, sizes = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    return np.hstack([corners if format == "xywh" else corners + sizes / 2, sizes])


def to_supervision(regions: Sequence[Region]) -> "Detections":
    """Convert regions to `supervision.Detections`.

    Labels are numbered in order of first use. data["class_name"] contains the labels, data["name"] the handles.
    Masks are included if every region has one.  Error: MissingExtra without supervision.
    """
    try:
        import supervision
    except ImportError:
        raise MissingExtra("this needs supervision", do="pip install supervision") from None
    if not regions:
        return supervision.Detections.empty()
    labels = [region.label or "" for region in regions]
    ids = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    masks = [region.mask.to_array() for region in regions if region.mask]
    if len({mask.shape for mask in masks}) > 1:
        raise InvalidSetting("the regions lie in images of several sizes", do="export the regions of one image at a time")
    return supervision.Detections(
        xyxy=to_array(regions).astype(np.float32),
        mask=np.stack(masks) if len(masks) == len(regions) else None,
        confidence=np.array([1.0 if region.score is None else region.score for region in regions], np.float32),
        class_id=np.array([ids[label] for label in labels]),
        data={"class_name": np.array(labels), "name": np.array([region.name for region in regions])},
    )


def from_supervision(detections: "Detections") -> list[dict[str, Any]]:
    """Convert `supervision.Detections` to items for `Workspace.add_regions`; masks keep the detector's boxes."""
    labels = detections.data.get("class_name")
    items = []
    for index, box in enumerate(np.asarray(detections.xyxy, np.float64)):
        item: dict[str, Any] = {"box": box.tolist()}
        if labels is not None and str(labels[index]):
            item["label"] = str(labels[index])
        if detections.confidence is not None:
            item["score"] = float(detections.confidence[index])
        if detections.mask is not None:
            item["mask"] = np.asarray(detections.mask[index])
        items.append(item)
    return items


def region_items(found: object) -> object:
    """Convert the output of a detector for `Workspace.add_regions`, to a list if possible.

    found: supervision.Detections; a mapping with "boxes" (N, 4), pixel xyxy, and optionally "scores", "labels" or "text_labels"
        and "masks", as returned by torchvision and transformers, or a list of one; or anything that `add_regions` accepts.
    Error: ModelOutputInvalid for lists of different lengths.
    """
    if hasattr(found, "xyxy") and hasattr(found, "confidence"):
        return from_supervision(found)  # type: ignore[arg-type]  # recognised by its attributes, since supervision may not be installed
    if isinstance(found, list | tuple) and len(found) == 1 and isinstance(found[0], Mapping) and "boxes" in found[0]:
        found = found[0]  # of a batch of one image
    if isinstance(found, Mapping) and "boxes" in found:
        columns = {"box": found["boxes"], "score": found.get("scores"), "mask": found.get("masks")}
        columns["label"] = found.get("text_labels", found.get("labels"))
        listed = {key: _to_list(values) for key, values in columns.items() if values is not None}
        if len({len(values) for values in listed.values()}) > 1:
            lengths = ", ".join(f"{len(values)} of {key}" for key, values in listed.items())
            raise ModelOutputInvalid(f"a detector gave {lengths}", do="give as many of each")
        items = [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]
        return [item | ({"label": str(item["label"])} if item.get("label") is not None else {}) for item in items]
    if hasattr(found, "tolist") and getattr(found, "ndim", 0) == 2:
        return list(found.tolist())
    return list(found) if isinstance(found, tuple) else found


def _to_list(values: Any) -> list[Any]:
    return list(values.tolist() if getattr(values, "ndim", 0) == 1 and hasattr(values, "tolist") else values)


def to_coco(workspace: Workspace) -> dict[str, Any]:
    """Export every whole image and its regions as a COCO instances document.

    Masks are compressed run lengths, boxes are xywh in pixels. Without a mask, "segmentation" is an empty list:
    pycocotools draws and evaluates these boxes, but its `annToMask` and mask evaluation raise IndexError for them. The
    file_name of an image is the name of the file that `Workspace.save` writes. Fields that COCO lacks are under "roi_agent".
    """
    images = [image for image in workspace.images if image.parent is None]
    numbers = {image.name: number for number, image in enumerate(images, start=1)}
    labels = dict.fromkeys(region.label or "thing" for region in workspace.regions())
    categories = {label: number for number, label in enumerate(labels, start=1)}
    annotations = []
    for number, region in enumerate(workspace.regions(), start=1):
        assert region.image is not None
        annotation: dict[str, Any] = {
            "id": number,
            "image_id": numbers[region.image],
            "category_id": categories[region.label or "thing"],
            "bbox": list(region.box.xywh),
            "area": region.mask.area if region.mask else region.box.area,
            "iscrowd": 0,
            "segmentation": region.mask.to_coco() if region.mask else [],
            OURS: {key: value for key, value in region.to_dict().items() if key in _EXPORTED_KEYS and value is not None},
        }
        annotation |= {"score": region.score} if region.score is not None else {}
        annotations.append(annotation)
    return {
        "info": {"description": "regions of a workspace"},
        "licenses": [],
        "images": [
            {
                "id": numbers[image.name],
                "file_name": f"{image.image.digest()}.png",
                "width": image.size_wh[0],
                "height": image.size_wh[1],
            }
            for image in images
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": label, "supercategory": "thing"} for label, number in categories.items()],
    }


class AddedRegions(tuple[Region, ...]):
    """The regions added from a document.  notes: what was left out, one sentence each."""

    notes: tuple[str, ...] = ()


def add_coco(
    workspace: Workspace, document: object, images: str | Path | Mapping[str, object], *, source: str = "coco"
) -> AddedRegions:
    """Add the images and annotations of a COCO instances document, all or nothing.

    document: the document, or the path of its JSON file.
    images: the folder that contains the named files, or a mapping from file names to images.
    Boxes up to a pixel over the border are clipped. Annotations get new handles. Segmentations may be polygons or run lengths,
    compressed or not. Invalid masks are left out, and regions of an unknown category have no label; `notes` of the result
    report both.
    Errors: InvalidSetting naming the annotation, those of `load_image` and of `Workspace.add_regions`.
    """
    coco = CocoDocument.read(document)
    if len(workspace.regions()) + len(coco.annotations) > MAX_NAMES:
        raise TooManyRegions(f"{len(coco.annotations)} annotations are too many", do="start another workspace")
    opened, notes = coco.open_images(images), list[str]()
    items = coco.items({id: image.size_wh for id, image in opened.items()}, notes)
    # Everything is checked before the workspace is touched.
    parsed = {id: parse_new_regions(found, size_wh=opened[id].size_wh) for id, found in items.items()}
    added: list[Region] = []
    for id, found in parsed.items():
        added += workspace.keep_regions(found, image=workspace.add_image(opened[id]), source=source)
    regions = AddedRegions(added)
    regions.notes = tuple(notes)
    return regions
