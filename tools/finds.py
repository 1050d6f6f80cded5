"""The output of a user's own detector, checked find by find, so that a bad one does not affect the others."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image

from roi_agent.model.errors import ModelOutputInvalid, RoiAgentError, UserError
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.tools.models import failures_of
from roi_agent.tools.new_regions import check_unnamed

_MAX_OVERHANG = 1.0  # pixels over the border, from the rounding of detectors that resize
_MASK_THRESHOLD = 0.5  # of soft masks
_FIELDS = ("box", "label", "score", "source", "prompt", "image", "parent", "mask")  # of a region, without its name

Item = dict[str, Any]


def call_detector(function: Callable[..., Any], picture: Image.Image, phrases: Sequence[str]) -> Any:
    """Call a function with a picture, and with the phrases if it has a parameter for them.

    Errors: ModelFailed, and ModelOutputInvalid for None.
    """
    with failures_of("the detector"):
        given = _call(function, picture, list(phrases))
    if given is None:
        raise ModelOutputInvalid("the detector returned None", do="return a list of boxes, empty if nothing is found")
    return given


def as_item(given: object) -> Item:
    """Convert a find to a mapping with "box" or "mask", a text label, plain numbers and a plain mask."""
    if isinstance(given, Region):
        item: Item = {key: getattr(given, key) for key in _FIELDS}
    elif isinstance(given, Mapping):
        item = dict(given)
    else:
        item = {"mask" if isinstance(given, Mask) else "box": given}
    for key in ("label", "score"):
        value = item.get(key)
        if value is not None and hasattr(value, "tolist"):
            item[key] = value.tolist()
    if item.get("label") is not None:
        item["label"] = str(item["label"])
    if item.get("mask") is not None:
        item["mask"] = _mask(item["mask"])
    return item


def score_of(item: Item) -> float:
    """Return the score, or 1 without one."""
    score = item.get("score")
    return float(score) if isinstance(score, Real) and not isinstance(score, bool) else 1.0


def label_of(item: Item) -> str | None:
    """Return the label, normalized like a phrase; None without one."""
    label = item.get("label")
    return None if label is None else " ".join(str(label).lower().split())


def usable_regions(items: Sequence[Item], image: str, size_wh: tuple[int, int]) -> tuple[list[Region], list[str]]:
    """Parse finds as regions of an image; also return a note for each find or mask that was left out.

    Error: ModelOutputInvalid if there are finds but none is usable, or if a usable one has a name.
    """
    regions, used, notes, faults = list[Region](), list[Item](), list[str](), list[UserError]()
    for item in items:
        clipped = item | ({"box": _clipped(item, size_wh)} if "box" in item else {})
        region, fault = _region(clipped, size_wh)
        if fault is not None:
            notes.append(f"a {'find' if region is None else 'mask'} was left out: {_reason(fault)}")
            faults.append(fault)
        if region is not None:
            regions.append(region)
            used.append(item)
    with unusable(image):
        if faults and not regions:
            raise faults[0]
        check_unnamed(used)
    return regions, notes


@contextmanager
def unusable(image: str) -> Iterator[None]:
    """Report invalid finds in an image as an error of the detector.  Error: ModelOutputInvalid."""
    try:
        yield
    except RoiAgentError as error:
        problem = f"the detector's regions in {image} cannot be used: {error.problem}"
        raise ModelOutputInvalid(problem, do=error.do) from None


def _call(function: Callable[..., Any], picture: Image.Image, phrases: list[str]) -> Any:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return function(picture)
    place = parameters.get("phrases")
    if place is not None and place.kind in (place.POSITIONAL_OR_KEYWORD, place.KEYWORD_ONLY):
        return function(picture, **({"phrases": phrases} if phrases or place.default is place.empty else {}))
    positional = [each for each in parameters.values() if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = [each for each in positional if each.default is each.empty]
    return function(picture, phrases) if len(needed) > 1 else function(picture)


def _region(item: Item, size_wh: tuple[int, int]) -> tuple[Region | None, UserError | None]:
    """Parse an item, or only its box if the mask is invalid; also return what is wrong with the item."""
    try:
        return parse_regions([item], size_wh=size_wh)[0], None
    except UserError as error:
        fault = error
    if item.get("box") is not None and "mask" in item:
        with suppress(UserError):
            return parse_regions([{key: value for key, value in item.items() if key != "mask"}], size_wh=size_wh)[0], fault
    return None, fault


def _reason(fault: UserError) -> str:
    return fault.problem.removeprefix("region1: ").replace("region1", "it")


def _clipped(item: Item, size_wh: tuple[int, int]) -> Any:
    """Clip a box that is up to a pixel over the border; return any other box unchanged."""
    given, (width, height) = item["box"], size_wh
    if item.get("format") not in (None, "xyxy") or item.get("unit") not in (None, "pixel"):
        return given
    values = given.xyxy if isinstance(given, Box) else given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(values, Sequence) or len(values) != 4:
        return given
    numbers = [each.tolist() if hasattr(each, "tolist") else each for each in values]
    if not all(isinstance(each, Real) and not isinstance(each, bool) for each in numbers):
        return given
    sides = (width, height, width, height)
    if not all(-_MAX_OVERHANG <= value <= side + _MAX_OVERHANG for value, side in zip(numbers, sides, strict=True)):
        return given
    return [min(max(value, 0.0), float(side)) for value, side in zip(numbers, sides, strict=True)]


def _mask(given: Any) -> Any:
    """Convert a mask that is a tensor, soft, or has extra axes to an array (H, W); return anything else unchanged."""
    if isinstance(given, Mask | Mapping):
        return given
    if isinstance(given, torch.Tensor):
        tensor = given.detach().cpu()
        given = tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
    values = np.asarray(given)
    while values.ndim > 2 and values.shape[0] == 1:
        values = values[0]
    soft = values.dtype.kind == "f" and values.size > 0 and bool((values >= 0).all() and (values <= 1).all())
    return values > _MASK_THRESHOLD if soft else values
