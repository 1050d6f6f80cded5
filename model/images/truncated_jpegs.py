"""JPEG files without their end marker, as left by interrupted copies and some cameras."""

import hashlib
import re
from random import Random

from PIL import Image

from roi_agent.model.images.formats import EncodedImage

NOTE = "JPEG without an end marker: all pixels were read"

_FRAMES, _SCAN = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA), 0xDA
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # except for stuffed bytes and restarts, which occur within scans
_LAST_COEFFICIENT = 63

_END_MARK = b"\xff\xd9"
_FILLER = bytes(Random(0).choices(range(255), k=256))  # never 0xff, which starts a marker
# All restart markers, so that a decoder continues wherever it is.
_FILLER_TAIL = _FILLER + b"".join(bytes((0xFF, 0xD0 + number)) + _FILLER for number in range(8)) + _END_MARK


def read_without_end(file: EncodedImage) -> Image.Image | None:
    """Return the decoded picture of a file that lacks only its end marker, otherwise None.

    A decoder invents missing pixels.  The file is therefore also decoded with filler bytes appended: they change the picture
    unless it was complete.  Errors: those of Pillow.
    """
    data = file.data.removesuffix(b"\xff")
    if not _has_every_scan(data):
        return None
    images = (EncodedImage(file.opener, data + tail).opened() for tail in (_END_MARK, _FILLER_TAIL))
    digests = []
    for image in images:
        image.load()
        digests.append(hashlib.sha256(image.tobytes()).digest())
    return image if digests[0] == digests[1] else None


def _has_every_scan(data: bytes) -> bool:
    """Whether the scans give every coefficient of every component to its last bit; some files have several scans for each."""
    components, whole = b"", set[tuple[int, int]]()
    place = 2
    while (mark := _MARK.search(data, place)) is not None:
        kind, place = mark[0][1], mark.end()
        body = data[place + 2 : place + int.from_bytes(data[place : place + 2], "big")]
        if kind in _FRAMES:
            components = body[6::3]
        elif kind == _SCAN:
            first, last, bits = body[-3:]
            whole |= {(each, k) for each in body[1:-3:2] for k in range(first, last + 1)} if bits & 15 == 0 else set()
        place += len(body) + 2
    return all((each, k) in whole for each in components for k in range(_LAST_COEFFICIENT + 1))
