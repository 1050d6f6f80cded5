"""Questions about one scene, what the model itself generates, and runners that are watched or held."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from roi_agent.model.engine import Completion, Request, Runner
from roi_agent.model.engine.cache import CachedImage
from roi_agent.model.engine.kv_cache import BatchedKVCache
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import Region
from roi_agent.model.gpt4roi.processing import normalised_boxes
from roi_agent.model.images.loading import LoadedImage
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import Turn

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
UMBRELLA, FLAG, SMALL_FLAG, SQUARE = [123, 194, 303, 377], [141, 9, 246, 134], [16, 54, 84, 135], [315, 145, 504, 334]
BOXES = [UMBRELLA, FLAG, SMALL_FLAG, SQUARE]
SIXTEEN = [
    *(f"What is <region{n}>?" for n in (1, 2, 3, 4)),
    *(f"What colour is <region{n}>?" for n in (1, 2, 3, 4)),
    *(f"Is <region{n}> left of <region{n + 1}>?" for n in (1, 2, 3)),
    "Which is larger, <region1> or <region4>?",
    "Which region is the largest?",
    "Do <region2> and <region3> have the same colour?",
    "How many of <region1>, <region2> and <region3> are flags?",
    "Where is <region2>?",
]


def request(nano: LocalRegionModel, image: LoadedImage, regions: Sequence[Region], question: str, **decoding: Any) -> Request:
    return nano._request(image, [Turn(question)], regions, Decoding(**decoding))


def generated(nano: LocalRegionModel, request: Request) -> list[int]:
    output = nano.model.generate(
        input_ids=torch.tensor([list(request.ids)]),
        pixel_values=nano.processor.pixels([request.image.pixels]),
        boxes=[normalised_boxes(request.regions, request.image.size_wh)],
        max_new_tokens=request.decoding.max_new_tokens,
        do_sample=False,
        eos_token_id=nano.processor.end_ids(),
        pad_token_id=0,
    )
    return without_end(nano, output[0, len(request.ids) :].tolist())


def without_end(nano: LocalRegionModel, ids: list[int]) -> list[int]:
    (end,) = nano.processor.end_ids()
    return ids[: ids.index(end)] if end in ids else ids


def ids_of(written: Completion) -> list[int]:
    return [token.id for token in written.tokens]


class Watched(Runner):
    """A runner that calls `before(what, rows)` before every pass: encode, prefill, step."""

    def __init__(self, nano: LocalRegionModel, before: Callable[[str, int], object]) -> None:
        super().__init__(nano.model, nano.processor)
        self._before = before

    def encode(self, image: LoadedImage) -> CachedImage:
        self._before("encode", 1)
        return super().encode(image)

    def prefill(self, requests: Sequence[Request], kept: Sequence[CachedImage]) -> tuple[BatchedKVCache, list[Tensor]]:
        self._before("prefill", len(requests))
        return super().prefill(requests, kept)

    def step(self, rows: BatchedKVCache, tokens: Sequence[int]) -> Tensor:
        self._before("step", len(rows))
        return super().step(rows, tokens)


class Gate:
    """Holds the engine at its next pass of one kind until it is opened."""

    def __init__(self, at: str) -> None:
        self.at, self.reached, self.open = at, threading.Event(), threading.Event()

    def __call__(self, what: str, rows: int) -> None:
        if what == self.at and not self.open.is_set():
            self.reached.set()
            assert self.open.wait(30)
