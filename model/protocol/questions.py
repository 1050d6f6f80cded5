"""Parsing and checking of a user's input to a region model: image, regions, question, options and decoding."""

from collections.abc import Sequence
from typing import Any

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.mentions import read_turns, with_mentions
from roi_agent.model.utils.unicode_text import check_unicode

Question = tuple[Sequence[Turn], Sequence[Region]]  # a conversation whose last turn has no answer, and its regions
ClosedQuestion = tuple[Sequence[Turn], Sequence[Region], Sequence[str]]  # the same, with the options for its last turn


def read_image_and_regions(image: object, regions: object, format: str, unit: str) -> tuple[LoadedImage, tuple[Region, ...]]:
    """Load the image and parse the regions in it.  Errors: those of `load_image` and `parse_regions`."""
    loaded = load_image(image)
    return loaded, parse_regions(regions, size_wh=loaded.size_wh, format=format, unit=unit)


def one_question_each(question: str, regions: Sequence[Region]) -> list[Question]:
    """Return one question for each region, for which `<region>` stands.  Error: InvalidSetting."""
    text = with_mentions(_checked_question(question), each=True)
    return [([Turn(text.replace("<region>", f"<{region.name}>"))], [region]) for region in regions]


def read_question(
    turns: Sequence[Turn], regions: tuple[Region, ...], image: LoadedImage
) -> tuple[list[Turn], tuple[Region, ...], tuple[str, ...]]:
    """Return the turns for a model, the regions that they are about, and notes; see `read_turns`.  Error: InvalidSetting."""
    _checked_question(turns[-1].question)
    return read_turns(turns, regions, image.size_wh)


def read_options(options: Sequence[str]) -> list[str]:
    """Return the checked options of a choice.  Error: InvalidSetting."""
    if isinstance(options, str) or len(options) < 2 or not all(isinstance(each, str) and each.strip() for each in options):
        raise InvalidSetting(f"the options are {options!r}", do="give at least two texts that are not empty")
    for each in options:
        check_unicode(each, "an option")
    return list(options)


def read_decoding(values: dict[str, Any]) -> Decoding:
    """Return a `Decoding` from its fields.  Error: InvalidSetting."""
    unknown = sorted(set(values) - set(Decoding.__dataclass_fields__))
    if unknown:
        raise InvalidSetting(f"unknown options {', '.join(unknown)}", do=f"use {', '.join(Decoding.__dataclass_fields__)}")
    return Decoding(**values)


def _checked_question(question: str) -> str:
    if not isinstance(question, str) or not question.strip():
        raise InvalidSetting("the question is empty", do="ask something, for example: What is <region1>?")
    return question
