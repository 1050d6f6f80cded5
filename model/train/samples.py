"""Samples of a mixture as model inputs: pixels, regions, and rows of packed conversations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from roi_agent.model.data.multiple_choice import as_multiple_choice
from roi_agent.model.data.record import Record
from roi_agent.model.errors import CheckpointMismatch, UserError
from roi_agent.model.geometry.regions import Region
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.conversation import Turn, mentioned
from roi_agent.model.train.mixture import Mixture, Part
from roi_agent.model.train.packing import Conversation, Row, empty_row, pack, padded, prefix_ids
from roi_agent.model.train.settings import RecordSettings

_BLANK = 32  # pixels; side of the placeholder for a damaged image


@dataclass(frozen=True, slots=True)
class Sample:
    """One image.  pixels: (3, S, S), normalised.  regions: N of them, each once.

    left_out: skipped records with reasons: conversations that are too long, or all records of a damaged image.
    """

    pixels: Tensor
    regions: RegionInputs
    rows: list[Row]
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class Batch:
    """B images and R rows about them.

    pixels: (B, 3, S, S).  regions: of each image.  ids, labels, positions, segments: (R, T).  row_images: (R).
    row_regions: R lists of indices into all regions of the batch, one for each region token.
    """

    pixels: Tensor
    regions: list[RegionInputs]
    ids: Tensor
    labels: Tensor
    positions: Tensor
    segments: Tensor
    row_images: Tensor
    row_regions: list[list[int]]
    left_out: list[str] = field(default_factory=list)

    @property
    def num_answer_tokens(self) -> int:
        """Tokens with a loss."""
        return int((self.labels != IGNORE).sum())

    @property
    def num_tokens(self) -> int:
        """Tokens processed by the language model, without padding."""
        return int((self.segments >= 0).sum())

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        return replace(
            self,
            pixels=self.pixels.to(device),
            regions=[each.to(device) for each in self.regions],
            ids=self.ids.to(device),
            labels=self.labels.to(device),
            positions=self.positions.to(device),
            segments=self.segments.to(device),
            row_images=self.row_images.to(device),
        )


@dataclass(frozen=True, slots=True)
class RecordFormat:
    """How a record becomes conversations.

    letters: repeat closed questions with lettered options.
    single_turns: make each turn a conversation, with the regions that it mentions.
    """

    letters: bool = False
    single_turns: bool = False

    @classmethod
    def by_part(cls, settings: RecordSettings) -> dict[str, "RecordFormat"]:
        """The format of each record set, by name."""
        return {name: cls(settings.letters, name in settings.single_turns) for name in settings.data}

    def conversations(self, record: Record) -> Iterator[tuple[tuple[Turn, ...], Sequence[Region]]]:
        """The conversations of a record, each with its regions."""
        whole = record.conversation()
        for turns in ((turn,) for turn in whole) if self.single_turns else (whole,):
            yield turns, _mentioned(turns, record.regions) if self.single_turns else record.regions
        for turns in as_multiple_choice(record) if self.letters else ():
            yield turns, record.regions


class Samples(Dataset[Sample]):
    """The samples of a mixture, in training order.

    length: tokens of a row.  formats: of each part, by name.
    Errors on reading a sample: those of records, and ImageUnreadable for a missing image.
    """

    def __init__(
        self,
        mixture: Mixture,
        processor: GPT4RoIProcessor,
        *,
        length: int,
        formats: Mapping[str, RecordFormat] | None = None,
    ) -> None:
        self.mixture, self.processor, self.length, self.formats = mixture, processor, length, formats or {}
        self.prefix = prefix_ids(processor)

    def __len__(self) -> int:
        return len(self.mixture)

    def __getitem__(self, position: int) -> Sample:
        return self.read(*self.mixture.read(position))

    def read(self, part: Part, records: Sequence[Record]) -> Sample:
        """Read a sample from records of a part, all about one image."""
        try:
            image = part.records.image(records[0])
        except UserError as error:
            if not part.records.has_image(records[0]):  # a missing folder would skip everything
                raise
            blank = load_image(Image.new("RGB", (_BLANK, _BLANK)))
            reasons = [f"{each.id}: {error.problem}" for each in records]
            return Sample(self.processor.pixels([blank.pixels])[0], self.processor.region_inputs([], blank), [], reasons)
        conversations, regions = encode_records(self.processor, self.prefix, records, self.formats.get(part.name, RecordFormat()))
        rows, long = pack(self.prefix, conversations, length=self.length)
        left_out = [f"{each}: longer than {self.length} tokens" for each in long]
        pixels = self.processor.pixels([image.pixels])[0]
        return Sample(pixels, self.processor.region_inputs(regions, image), rows, left_out)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Samples -> one batch."""
        starts = [sum(len(before.regions) for before in samples[:index]) for index in range(len(samples))]
        rows = [(image, row) for image, sample in enumerate(samples) for row in sample.rows]
        rows = rows or [(0, empty_row(self.prefix))]  # without answers, but every process must take the step
        tables = padded([row for _, row in rows], pad_id=self.processor.tokenizer.pad_token_id or 0)
        return Batch(
            torch.stack([sample.pixels for sample in samples]),
            [sample.regions for sample in samples],
            *tables,
            row_images=torch.tensor([image for image, _ in rows], dtype=torch.long),
            row_regions=[[starts[image] + region for region in row.regions] for image, row in rows],
            left_out=[each for sample in samples for each in sample.left_out],
        )


def encode_records(
    processor: GPT4RoIProcessor,
    prefix: Sequence[int],
    records: Sequence[Record],
    format: RecordFormat = RecordFormat(),
) -> tuple[list[Conversation], list[Region]]:
    """Encode conversations about one image, and its distinct regions.

    Regions are equal if their boxes are, and their masks too for a model that pools by masks.
    """
    places: dict[Any, int] = {}
    regions: list[Region] = []
    conversations = []
    for record, (turns, given) in ((each, form) for each in records for form in format.conversations(each)):
        prompt = processor.render(turns, given)
        ids, labels = processor.encode(prompt)
        if ids[: len(prefix)] != list(prefix):
            problem = f"the conversation of {record.id} does not begin with the shared prefix"
            raise CheckpointMismatch(problem, do="use the model's processor")
        indices = []
        for region in prompt.regions:
            key = (region.box.xyxy, region.mask.digest if region.mask and processor.mask_bins else None)
            if key not in places:
                places[key] = len(regions)
                regions.append(region)
            indices.append(places[key])
        conversations.append(Conversation(record.id, ids[len(prefix) :], labels[len(prefix) :], indices))
    return conversations, regions


def _mentioned(turns: Sequence[Turn], regions: Sequence[Region]) -> list[Region]:
    names = {name for turn in turns for name in mentioned(f"{turn.question} {turn.answer}")}
    return [region for region in regions if region.name in names]
