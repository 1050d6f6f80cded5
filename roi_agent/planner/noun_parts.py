"""Parts of a noun phrase without a nested phrase: looks, superlatives, places in the image, and images."""

from collections.abc import Iterator
from dataclasses import replace

from roi_agent.planner.language import COLOURS, SIZES
from roi_agent.planner.query import Extreme, Filter, Is, Noun, Placed
from roi_agent.planner.vocabulary import FURTHEST, IMAGES, ORDINALS, RANKS, SIDES, SUPERLATIVES

Words = tuple[str, ...]


def look_parts(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    if words[0] in COLOURS:
        yield filtered(so_far, Is("colour", words[0])), words[1:]
    if words[0] in SIZES:
        yield filtered(so_far, Is("size", SIZES[words[0]])), words[1:]
    if so_far.pick is None:
        article = words[0] == "the"
        if (rest := words[article:]) and (picked := superlative_at(rest)):
            extreme, after = picked
            yield replace(so_far, pick=extreme), after[1:] if after[:1] in (("one",), ("thing",)) else after
        if rest and rest[0] in ("furthest", "farthest"):
            tail = rest[1:]
            for skip in (("to", "the"), ("towards", "the"), ("to",), ()):
                if tail[: len(skip)] == skip and len(tail) > len(skip) and tail[len(skip)] in FURTHEST:
                    yield replace(so_far, pick=Extreme(FURTHEST[tail[len(skip)]])), _after_image(tail[len(skip) + 1 :])


def superlative_at(words: Words) -> tuple[Extreme, Words] | None:
    rank = RANKS.get(words[0], 1)
    rest = words[1:] if words[0] in RANKS else words
    if rest and rest[0] in SUPERLATIVES:
        return Extreme(SUPERLATIVES[rest[0]], rank), rest[1:]
    return None


def place_parts(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    """ "in the top left corner of the image", "on the right", "at the bottom"."""
    if words[0] not in ("in", "on", "at", "near", "to", "towards"):
        return
    rest = words[2:] if words[1:2] == ("the",) else words[1:]
    sides = []
    while rest and rest[0] in SIDES:
        sides.append(SIDES[rest[0]])
        rest = rest[1:]
    if not sides:
        return
    if rest[:1] in (("half",), ("side",), ("part",), ("corner",), ("edge",), ("third",)):
        rest = rest[1:]
    yield (
        filtered(so_far, Placed(" ".join(sorted(sides, key=("top", "bottom", "middle", "left", "right").index)))),
        _after_image(rest),
    )


def image_parts(words: Words, so_far: Noun) -> Iterator[tuple[Noun, Words]]:
    """ "in the image", "in image2", "in the second picture", "here"."""
    if words[0] in ("here", "there"):
        yield so_far, words[1:]
    if words[0] not in ("in", "on", "of", "at", "from"):
        return
    rest = words[2:] if words[1:2] in (("the",), ("this",), ("that",)) else words[1:]
    if rest and rest[0] in IMAGES:
        yield so_far, rest[1:]
    if rest and rest[0].startswith("image") and rest[0][5:].isdecimal():
        yield replace(so_far, image=rest[0]), rest[1:]
    if len(rest) > 1 and rest[0] in ORDINALS and rest[1] in IMAGES:
        yield replace(so_far, image=f"image{ORDINALS[rest[0]]}"), rest[2:]


def _after_image(words: Words) -> Words:
    """Without "of the image" at the beginning."""
    if words[:1] in (("of",), ("in",)) and (rest := words[2:] if words[1:2] == ("the",) else words[1:]) and rest[0] in IMAGES:
        return rest[1:]
    return words


def filtered(so_far: Noun, more: Filter) -> Noun:
    return replace(so_far, filters=(*so_far.filters, more))
