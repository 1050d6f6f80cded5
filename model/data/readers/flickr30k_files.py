"""The files of Flickr30k Entities (Plummer et al. 2015): captions with marked phrases, and boxes of the phrases.

`Sentences/ID.txt` contains a caption a line, with phrases as `[/EN#7/people A man]`. 7 is the id of the chain of all phrases for
the same object, and 0 means nothing visible.  `Annotations/ID.xml` contains the boxes of chains in the format of PASCAL VOC:
integer pixels that count from 1, with the last pixel included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from roi_agent.model.data.readers.base import MALFORMED, MISSING_IMAGE, NO_TEXT, Trouble, Unusable
from roi_agent.model.data.readers.mdetr import MdetrCaption
from roi_agent.model.errors import RecordInvalid
from roi_agent.model.utils.messages import escaped

Corners = tuple[float, float, float, float]  # xyxy, pixels, outer edges

_MARKED = re.compile(r"\[/EN#(\d+)((?:/\w+)+) ([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase of a caption, text[start:end], and its boxes, if any."""

    start: int
    end: int
    boxes: tuple[Corners, ...]


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption of an image.  number: from 1.  phrases: in the order of the text, without overlaps."""

    number: int
    text: str
    phrases: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """The captions of one image.  size_wh: as stated.  troubles: of unreadable parts."""

    file_name: object
    size_wh: tuple[object, object]
    captions: tuple[Caption, ...]
    troubles: tuple[Trouble, ...]


def read_entities(root: Path, id: str) -> AnnotatedImage:
    """Read an image from its two files.  Error: Unusable."""
    where = f"Annotations/{id}.xml"
    annotation = _xml(root / where, where)
    troubles: list[Trouble] = []
    boxes: dict[str, list[Corners]] = {}
    for number, thing in enumerate(annotation.iterfind("object")):
        if thing.find("bndbox") is None:
            continue  # the whole scene, or something that cannot be boxed
        try:
            corners = _voc_box(thing, f"{where}, object[{number}]")
        except Unusable as unusable:
            troubles.append(unusable.trouble)
            continue
        for name in thing.iterfind("name"):
            boxes.setdefault((name.text or "").strip(), []).append(corners)
    captions = []
    place = f"Sentences/{id}.txt"
    for number, line in enumerate(_lines(root / place, place), start=1):
        try:
            captions.append(_caption(number, line, boxes, f"{place}, line {number}"))
        except Unusable as unusable:
            troubles.append(unusable.trouble)
    size = annotation.findtext("size/width"), annotation.findtext("size/height")
    if None in size:
        raise Unusable(MALFORMED, where, "it states no size")
    return AnnotatedImage(annotation.findtext("filename") or f"{id}.jpg", size, tuple(captions), tuple(troubles))


def from_mdetr(captions: list[MdetrCaption]) -> AnnotatedImage:
    """Read an image from MDETR's format, whose boxes also count pixels from 1, but exclude the last pixel.  Error: Unusable."""
    troubles: list[Trouble] = []
    found = []
    for number, caption in enumerate(captions, start=1):
        try:
            found.append(_mdetr_caption(number, caption, troubles))
        except Unusable as unusable:
            troubles.append(unusable.trouble)
    entry = captions[0].entry
    size = entry.get("width"), entry.get("height")
    return AnnotatedImage(entry.get("file_name"), size, tuple(found), tuple(troubles))


def read_unrelated(path: Path) -> frozenset[tuple[str, int]]:
    """Read `UNRELATED_CAPTIONS`: captions that do not describe their image, as image id and caption number.

    Error: RecordInvalid.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="ascii").split("\n") if line.strip() and line[0] != "#"]
        return frozenset((image, int(number)) for image, number in lines)
    except ValueError:
        raise RecordInvalid(f"{path.name}: a line is not an image and a number", do="fetch the file again") from None


def _xml(path: Path, where: str) -> ElementTree.Element:
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data:  # could define exponentially growing entities
            raise Unusable(MALFORMED, where, "it declares a document type")
        return ElementTree.fromstring(data)
    except OSError:
        raise Unusable(MISSING_IMAGE, where, "the file does not exist") from None
    except ElementTree.ParseError:
        raise Unusable(MALFORMED, where, "it is not XML, or truncated") from None


def _voc_box(thing: ElementTree.Element, where: str) -> Corners:
    try:
        x1, y1, x2, y2 = (float(thing.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError:
        raise Unusable(MALFORMED, where, "its box is not four numbers") from None
    return x1 - 1, y1 - 1, x2, y2


def _lines(path: Path, where: str) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except OSError:
        raise Unusable(NO_TEXT, where, "the file does not exist") from None
    except ValueError:
        raise Unusable(MALFORMED, where, "it is not UTF-8") from None


def _caption(number: int, line: str, boxes: Mapping[str, list[Corners]], where: str) -> Caption:
    """Parse a marked caption."""
    text, phrases, position = "", [], 0
    for match in _MARKED.finditer(line):
        text += line[position : match.start()]
        phrases.append(Phrase(len(text), len(text) + len(match[3]), tuple(boxes.get(match[1], ()))))
        text, position = text + match[3], match.end()
    text += line[position:]
    if "[/EN#" in text:
        raise Unusable(MALFORMED, where, "a marked phrase cannot be read")
    return Caption(number, text, tuple(phrases))


def _mdetr_caption(number: int, caption: MdetrCaption, troubles: list[Trouble]) -> Caption:
    text = caption.entry.get("caption")
    if not isinstance(text, str) or not text.strip():
        raise Unusable(NO_TEXT, caption.where, f"its caption is {escaped(text)}")
    boxes: dict[tuple[int, int], list[Corners]] = {}
    for number, annotation in enumerate(caption.annotations):
        where = f"{caption.where}, annotation {escaped(annotation.get('id', number))}"
        try:
            corners = _mdetr_box(annotation.get("bbox"), where)
            for span in _spans(annotation.get("tokens_positive"), text, where):
                boxes.setdefault(span, []).append(corners)
        except Unusable as unusable:
            troubles.append(unusable.trouble)
    phrases: list[Phrase] = []
    for start, end in sorted(boxes):
        if phrases and start < phrases[-1].end:
            troubles.append(Trouble(MALFORMED, caption.where, f"two phrases overlap at character {start}"))
        else:
            phrases.append(Phrase(start, end, tuple(boxes[start, end])))
    return Caption(number, text, tuple(phrases))


def _mdetr_box(values: object, where: str) -> Corners:
    if not isinstance(values, list) or len(values) != 4 or not all(isinstance(value, int | float) for value in values):
        raise Unusable(MALFORMED, where, f"its box is {escaped(values)}")
    try:
        x, y, width, height = map(float, values)
    except OverflowError:
        raise Unusable(MALFORMED, where, f"its box is {escaped(values)}") from None
    return x - 1, y - 1, x + width, y + height


def _spans(values: Any, text: str, where: str) -> list[tuple[int, int]]:
    spans = [tuple(each) for each in values if isinstance(each, list)] if isinstance(values, list) else []
    for span in spans:
        if len(span) != 2 or not all(isinstance(each, int) for each in span) or not 0 <= span[0] < span[1] <= len(text):
            raise Unusable(MALFORMED, where, f"its span in the caption is {escaped(list(span))}")
    if not spans:
        raise Unusable(NO_TEXT, where, "it has no span in the caption")
    return spans
