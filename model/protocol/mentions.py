"""How a question mentions regions: the same rule for every interface.

`<region1>` mentions a region; unambiguous variants are accepted: `<1>`, `<Region 1>`, `<region_01/>`. A handle without brackets
adds no region: it refers to one that is given. Brackets that name no region are refused, and a question that mentions no
region is asked about the whole image.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from roi_agent.model.errors import InvalidSetting, UnknownRegion
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.conversation import Turn, mentioned

WHOLE_IMAGE = "the question names no region: it was asked about the whole image"

_TAG = re.compile(r"(<\s*(?:[0-9]+|/?[A-Za-z][^<>]{0,80})\s*/?>)")
_NUMBER = r"[\s_#-]{0,2}0*([1-9][0-9]{0,3})"
_REGION = re.compile(rf"(?:region{_NUMBER}|0*([1-9][0-9]{{0,3}}))", re.IGNORECASE)
_BARE = re.compile(rf"(?<!\w)region(s?){_NUMBER}\b", re.IGNORECASE)
_LIKE_A_NAME = re.compile(r"/?(?:region.*|\w+|[\w\s-]*[0-9]+)", re.IGNORECASE | re.DOTALL)


def with_mentions(question: str, given: Collection[str] = (), *, each: bool = False, bare: bool = False) -> str:
    """Return the question with every mention written as `<region1>`.

    given: names of regions that belong to the question anyway; they may be written without brackets.
    each: `<region>` stands for each of several regions.
    bare: a handle without brackets counts as a mention, for people who see the names next to the boxes.
    Errors: UnknownRegion for brackets that name no region, InvalidSetting for a bare handle of a region that is not given.
    """
    parts = [_mention(part, each) if index % 2 else part for index, part in enumerate(_TAG.split(question))]
    known = {*given, *mentioned("".join(parts))}

    def handle(found: re.Match[str]) -> str:
        return f"<region{found[2]}>" if bare and not found[1] else _handle(found, known, each)

    return "".join(part if index % 2 else _BARE.sub(handle, part) for index, part in enumerate(parts))


def read_turns(
    turns: Sequence[Turn], regions: Sequence[Region], size_wh: tuple[int, int]
) -> tuple[list[Turn], tuple[Region, ...], tuple[str, ...]]:
    """Return a conversation for a region model: its turns, its regions, and notes for the answer.

    regions: of an image of size_wh pixels; if there are none and no question mentions one, the whole image is the region.
    Errors: those of `with_mentions`.
    """
    given = [region.name for region in regions]
    read = [replace(turn, question=with_mentions(turn.question, given)) for turn in turns]
    if regions or any(mentioned(turn.question) for turn in read):
        return read, tuple(regions), ()
    whole = Region("region1", Box(0, 0, *map(float, size_wh)), source="whole image")
    return read, (whole,), (WHOLE_IMAGE,)


def _mention(tag: str, each: bool) -> str:
    """Return `<...>` as a mention, or unchanged if it does not try to name a region.  Error: UnknownRegion."""
    inside = tag[1:-1].removesuffix("/").strip()
    if each and inside.lower() == "region":
        return "<region>"
    if match := _REGION.fullmatch(inside):
        return f"<region{match[1] or match[2]}>"
    if _LIKE_A_NAME.fullmatch(inside):
        do = "write <region>, which stands for each of them" if each else "write <region1>, or leave the brackets out"
        raise UnknownRegion(f"the question names {tag}, which is not a region", do=do)
    return tag


def _handle(bare: re.Match[str], known: Collection[str], each: bool) -> str:
    name = f"region{bare[2]}"
    if name in known and not bare[1]:
        return name
    do = "write <region>, which stands for each of them" if each else f"write <{name}>"
    raise InvalidSetting(f"the question names {bare[0]} without brackets", do=do)
