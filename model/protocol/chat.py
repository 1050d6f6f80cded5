"""A conversation with a region model about one image."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from roi_agent.model.geometry.regions import Region, parse_regions
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Answer, Decoding
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.questions import read_decoding, read_question
from roi_agent.model.protocol.replies import with_notes

Reply = Callable[[LoadedImage, Sequence[Turn], Sequence[Region], Decoding], Answer]  # `RegionModel.reply`


class Chat:
    """A conversation: questions and answers about one image and its regions."""

    def __init__(self, reply: Reply, image: LoadedImage, regions: tuple[Region, ...]) -> None:
        self.image, self.regions, self.turns = image, regions, list[Turn]()
        self._reply = reply

    def point(self, place: object, *, format: str = "xyxy", unit: str = "pixel") -> Region:
        """Add a region to the conversation under the next free number.

        place: one item as for `parse_regions`: four numbers, a Box, a Mask, or a Region, as from `point_at`.
        Errors: those of `parse_regions`.
        """
        number = 1 + max((int(region.name.removeprefix("region")) for region in self.regions), default=0)
        (parsed,) = parse_regions([place], size_wh=self.image.size_wh, format=format, unit=unit)
        region = replace(parsed, name=f"region{number}")
        self.regions = (*self.regions, region)
        return region

    def ask(self, question: str, **decoding: Any) -> Answer:
        """Answer a question in the context of the earlier ones. A question that fails does not change the conversation."""
        turns, about, notes = read_question([*self.turns, Turn(question)], self.regions, self.image)
        answer = with_notes(self._reply(self.image, turns, about, read_decoding(decoding)), self.image, notes)
        self.turns.append(Turn(turns[-1].question, answer.text))
        return answer

    def _repr_html_(self) -> str:
        from roi_agent.model.utils.notebook_html import picture, regions_table, stacked, table

        exchanges = [(turn.question, turn.answer) for turn in self.turns]
        return stacked(
            picture(self.image.pixels, self.image.source),
            regions_table(self.regions, self.image.pixels),
            table(("question", "answer"), exchanges) if exchanges else "",
        )
