"""Evaluation during training: loss and exact match on held-out records."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from roi_agent.model.data.record import Record
from roi_agent.model.errors import UserError
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.train.mixture import Mixture, Part, open_parts
from roi_agent.model.train.samples import Samples
from roi_agent.model.train.settings import EvaluationSettings

_log = logging.getLogger(__name__)
_AT_ONCE = 8  # answers generated in one batch


@dataclass(frozen=True, slots=True)
class Scores:
    """loss: a mean over answer tokens.  exact: the share of last answers with an exact match."""

    loss: float
    exact: float


class HeldOut:
    """The first records of a held-out set.

    Every process evaluates all of them: FSDP gathers weights in all processes at once, and the records are few.
    """

    def __init__(self, root: Path, settings: EvaluationSettings, processor: GPT4RoIProcessor, *, length: int) -> None:
        (part,) = open_parts(root, {settings.data: 1.0}, conversations=1)
        self.settings, self.processor = settings, processor
        count = min(settings.records, part.num_samples)
        self.records = [record for index in range(count) if _is_readable(part, record := part.read(index)[0])]
        self.part: Part = part
        self.samples = Samples(Mixture.make([part], epochs=1, batch=1, seed=0), processor, length=length)

    @torch.no_grad()
    def evaluate(self, module: nn.Module, device: torch.device) -> Scores:
        """Evaluate a `PackedLoss` and restore its mode."""
        learning = [each for each in module.modules() if each.training]
        module.eval()
        loss, tokens, right = 0.0, 0, 0
        for start in range(0, len(self.records), _AT_ONCE):
            records = self.records[start : start + _AT_ONCE]
            batch = self.samples.collate([self.samples.read(self.part, [record]) for record in records]).to(device)
            if batch.num_answer_tokens:
                loss += module(batch).item()
                tokens += batch.num_answer_tokens
            right += sum(_is_exact(*pair) for pair in zip(self._answers(module, records, device), records, strict=True))
        if isinstance(module, FSDPModule):
            module.reshard()  # otherwise a checkpoint could not read the gathered weights
        for each in learning:
            each.training = True
        return Scores(loss / max(1, tokens), right / max(1, len(self.records)))

    def _answers(self, module: nn.Module, records: Sequence[Record], device: torch.device) -> list[str]:
        prompts = self._prompts(records, device)
        ids: Tensor = module(None, prompts)
        return [self.processor.decode_answer(row.tolist()) for row in ids[:, prompts["input_ids"].shape[1] :]]

    def _prompts(self, records: Sequence[Record], device: torch.device) -> dict[str, Any]:
        """The last question of each record, after the reference answers to earlier ones; padded on the left."""
        rows, pointed = [], []
        images = [self.part.records.image(record) for record in records]
        for record, image in zip(records, images, strict=True):
            turns = record.conversation()
            prompt = self.processor.render([*turns[:-1], Turn(turns[-1].question)], record.regions)
            rows.append(self.processor.encode(prompt)[0])
            pointed.append(self.processor.region_inputs(prompt.regions, image))
        longest, pad = max(map(len, rows)), self.processor.tokenizer.pad_token_id or 0
        return {
            "input_ids": torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device),
            "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device),
            "pixel_values": self.processor.pixels([image.pixels for image in images]).to(device),
            "boxes": [each.to(device) for each in pointed],
            "max_new_tokens": self.settings.max_new_tokens,
            "do_sample": False,
            **self.processor.stopping(longest),
        }


def _is_readable(part: Part, record: Record) -> bool:
    try:
        part.records.image(record)
    except UserError as error:
        _log.warning("the held-out record %s is skipped: %s", record.id, error.problem)
        return False
    return True


def _is_exact(text: str, record: Record) -> bool:
    """Exact match up to case, white space and a full stop, with any of the reference answers."""
    turn = record.turns[-1]
    return _normalized(text) in {_normalized(answer) for answer in (turn.answer, *turn.references)}


def _normalized(text: str) -> str:
    return " ".join(re.sub(r"<(region\d+)>", r"\1", text.lower()).split()).rstrip(".")
