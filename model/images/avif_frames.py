"""The frames that an AVIF file holds, whose sizes may be others than its header states: a decoder makes room for them."""

from collections.abc import Iterator

_Span = tuple[int, int]  # where something begins and ends
_SEQUENCE_HEADER = 1  # of the kinds of unit in AV1
_MOST_PARTS = 4096  # places of coded data


def frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of every sequence of frames, in pixels.  Errors: anything, for a damaged file."""
    for coded in _coded(data):
        place = 0
        while place < len(coded):
            head, place = coded[place], place + 1 + (coded[place] >> 2 & 1)
            size, place = _leb128(coded, place) if head & 2 else (len(coded) - place, place)
            if head >> 3 & 15 == _SEQUENCE_HEADER:
                yield _size_wh(coded[place : place + size])
            place += size


def _coded(data: bytes) -> Iterator[bytes]:
    """Coded data of each image, and of each chunk of a track."""
    parts = 0
    for kind, span in _boxes(data, (0, len(data))):
        if kind == b"meta":
            inside = dict(_boxes(data, (span[0] + 4, span[1])))
            if b"iloc" in inside:
                for spans in _items(data, inside[b"iloc"], inside.get(b"idat", (0, 0))[0]):
                    parts += len(spans)
                    if parts > _MOST_PARTS:
                        raise ValueError
                    yield b"".join(data[start:end] for start, end in spans)
        elif kind == b"moov":
            for start in _chunks(data, span):
                parts += 1
                if parts > _MOST_PARTS:
                    return
                yield data[start:][: 1 << 12]  # a sequence's header stands at its start


def _boxes(data: bytes, span: _Span) -> Iterator[tuple[bytes, _Span]]:
    place, end = span
    while place + 8 <= end:
        size, kind, body = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], place + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        size = size or end - place
        if size < body - place:
            raise ValueError
        yield kind, (body, min(place + size, end))
        place += size


def _items(data: bytes, span: _Span, idat: int) -> Iterator[list[_Span]]:
    """The places of each image's data, by the box `iloc`."""
    place = span[0]

    def take(size: int) -> int:
        nonlocal place
        place += size
        if place > span[1]:
            raise ValueError
        return int.from_bytes(data[place - size : place], "big")

    version = take(4) >> 24
    sizes = take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(take(4 if version == 2 else 2)):
        take(4 if version == 2 else 2)
        in_idat = version > 0 and take(2) & 15 == 1
        take(2)
        base = take(base_size) + (idat if in_idat else 0)
        spans = []
        for _ in range(take(2)):
            take(index_size if version > 0 else 0)
            start = base + take(offset_size)
            spans.append((start, start + (take(length_size) or len(data))))
        yield spans


def _chunks(data: bytes, span: _Span) -> Iterator[int]:
    """Where the chunks of all tracks begin."""
    for kind, inside in _boxes(data, span):
        if kind in (b"trak", b"mdia", b"minf", b"stbl"):
            yield from _chunks(data, inside)
        elif kind in (b"stco", b"co64"):
            width, first = (4 if kind == b"stco" else 8), inside[0] + 8
            for place in range(first, inside[1], width):
                yield int.from_bytes(data[place : place + width], "big")


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        value |= (data[place + count] & 127) << 7 * count
        if data[place + count] < 128:
            return value, place + count + 1
    raise ValueError


def _size_wh(header: bytes) -> tuple[int, int]:
    """The largest frame that a sequence's header allows; see the AV1 bitstream, 5.5.1."""
    bits = iter("".join(f"{byte:08b}" for byte in header[:128]))

    def take(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)) or "0", 2)

    take(4)
    if take(1):  # a reduced header, of a still picture
        take(5)
    else:
        delay_bits = 0
        if take(1):  # timing
            take(64)
            if take(1):
                while not take(1):  # a number of as many bits as zeros stand before it
                    delay_bits += 1
                take(delay_bits)
                delay_bits = 0
            if take(1):
                delay_bits = take(5) + 1
                take(42)
        shown = take(1)
        for _ in range(take(5) + 1):
            take(12)
            if take(5) > 7:
                take(1)
            if delay_bits and take(1):
                take(2 * delay_bits + 1)
            if shown and take(1):
                take(4)
    width_bits, height_bits = take(4) + 1, take(4) + 1
    return take(width_bits) + 1, take(height_bits) + 1
