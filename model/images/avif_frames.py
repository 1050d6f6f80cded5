"""The sizes of the frames in an AVIF file: a decoder allocates memory for them, and they may differ from the header's."""

from collections.abc import Iterator

_Span = tuple[int, int]  # start and end
_SEQUENCE_HEADER = 1  # a type of AV1 unit
_MAX_PARTS = 4096  # pieces of coded data


def frame_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield width and height of every sequence of frames, in pixels.  Errors: any exception, for a damaged file."""
    for chunk in _coded_chunks(data):
        position = 0
        while position < len(chunk):
            head, position = chunk[position], position + 1 + (chunk[position] >> 2 & 1)
            size, position = _leb128(chunk, position) if head & 2 else (len(chunk) - position, position)
            if head >> 3 & 15 == _SEQUENCE_HEADER:
                yield _size_wh(chunk[position : position + size])
            position += size


def _coded_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the coded data of each image, and of each chunk of a track."""
    parts = 0
    for kind, span in _boxes(data, (0, len(data))):
        if kind == b"meta":
            inside = dict(_boxes(data, (span[0] + 4, span[1])))
            if b"iloc" in inside:
                for spans in _item_spans(data, inside[b"iloc"], inside.get(b"idat", (0, 0))[0]):
                    parts += len(spans)
                    if parts > _MAX_PARTS:
                        raise ValueError
                    yield b"".join(data[start:end] for start, end in spans)
        elif kind == b"moov":
            for start in _chunk_offsets(data, span):
                parts += 1
                if parts > _MAX_PARTS:
                    return
                yield data[start:][: 1 << 12]  # a sequence starts with its header


def _boxes(data: bytes, span: _Span) -> Iterator[tuple[bytes, _Span]]:
    position, end = span
    while position + 8 <= end:
        size, kind, body = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8], position + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        size = size or end - position
        if size < body - position:
            raise ValueError
        yield kind, (body, min(position + size, end))
        position += size


def _item_spans(data: bytes, span: _Span, idat: int) -> Iterator[list[_Span]]:
    """Yield the spans of each image's data, from the box `iloc`."""
    position = span[0]

    def read(size: int) -> int:
        nonlocal position
        position += size
        if position > span[1]:
            raise ValueError
        return int.from_bytes(data[position - size : position], "big")

    version = read(4) >> 24
    sizes = read(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    for _ in range(read(4 if version == 2 else 2)):
        read(4 if version == 2 else 2)
        in_idat = version > 0 and read(2) & 15 == 1
        read(2)
        base = read(base_size) + (idat if in_idat else 0)
        spans = []
        for _ in range(read(2)):
            read(index_size if version > 0 else 0)
            start = base + read(offset_size)
            spans.append((start, start + (read(length_size) or len(data))))
        yield spans


def _chunk_offsets(data: bytes, span: _Span) -> Iterator[int]:
    """Yield the offsets of the chunks of all tracks."""
    for kind, inside in _boxes(data, span):
        if kind in (b"trak", b"mdia", b"minf", b"stbl"):
            yield from _chunk_offsets(data, inside)
        elif kind in (b"stco", b"co64"):
            width, first = (4 if kind == b"stco" else 8), inside[0] + 8
            for position in range(first, inside[1], width):
                yield int.from_bytes(data[position : position + width], "big")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for count in range(8):
        value |= (data[position + count] & 127) << 7 * count
        if data[position + count] < 128:
            return value, position + count + 1
    raise ValueError


def _size_wh(header: bytes) -> tuple[int, int]:
    """Return the largest frame that a sequence's header allows; see the AV1 bitstream, 5.5.1."""
    bits = iter("".join(f"{byte:08b}" for byte in header[:128]))

    def read(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)) or "0", 2)

    read(4)
    if read(1):  # the reduced header of a still picture
        read(5)
    else:
        delay_bits = 0
        if read(1):  # timing
            read(64)
            if read(1):
                while not read(1):  # a number with as many bits as there are zeros before it
                    delay_bits += 1
                read(delay_bits)
                delay_bits = 0
            if read(1):
                delay_bits = read(5) + 1
                read(42)
        delay_present = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if delay_bits and read(1):
                read(2 * delay_bits + 1)
            if delay_present and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1
