"""Images of which one side would vanish at the size that a model reads: they have masks and are searched as any other."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GroundingDinoImageProcessor

from roi_agent import Workspace
from roi_agent.model.detection.detector import TransformersDetector
from roi_agent.model.detection.original import OriginalDetector
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.segmentation.original import as_segmenter
from roi_agent.model.segmentation.segmenter import Prompt, TransformersSegmenter
from roi_agent.tools.detect import detect
from roi_agent.tools.segment import segment, segment_everything
from tests import tiny
from tests.original_sam import original_sam

SIZES = [(5, 20000), (20000, 5), (1, 600), (600, 1), (40, 12000), (1, 1)]


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: "{}x{}".format(*size))
def image(request: pytest.FixtureRequest) -> LoadedImage:
    width, height = request.param
    return load_image(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))


@pytest.fixture(scope="module", params=["sam", "sam2", "segment-anything"])
def segmenter(request: pytest.FixtureRequest) -> Any:
    if request.param == "segment-anything":
        return as_segmenter(original_sam())
    return TransformersSegmenter(*(tiny.sam() if request.param == "sam" else tiny.sam2()))


def test_every_kind_of_prompt_is_answered(image: LoadedImage, segmenter: Any) -> None:
    held, (width, height) = Workspace(), image.size_wh
    held.add_image(image)
    prompts: list[dict[str, Any]] = [
        {"points": [(width / 2, height / 2)]},
        {"points": [(0, 0), (width, height, 0)]},
        {"boxes": [[0, 0, width, height]]},
        {"mask": np.ones((height, width), bool)},
    ]
    for prompt in prompts:
        for region in segment(held, segmenter=segmenter, several=True, **prompt).regions:
            assert region.mask is not None and region.mask.size_wh == image.size_wh
    segment_everything(held, segmenter=segmenter, points_per_side=4, min_score=0.0, min_stability=0.0)


def test_a_point_keeps_its_place(segmenter: Any) -> None:
    """What lies at either end of a thin image differs as much as in one that is only narrow."""
    row = np.zeros((600, 1, 3), np.uint8)
    row[:200] = 255
    thin, wide = load_image(row), load_image(np.repeat(row, 30, axis=1))
    for y in (50, 550):
        (one,), (other,) = (segmenter.masks(each, [Prompt(points=((each.size_wh[0] / 2, y, True),))]) for each in (thin, wide))
        shares = [each[0].mask.area / np.prod(each[0].mask.size_wh) if each[0].mask else 0.0 for each in (one, other)]
        assert shares[0] == pytest.approx(shares[1], abs=0.35)


class Live(torch.nn.Module):
    """As a model of the groundingdino package is called: pixels and captions to boxes and logits."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.tokenizer, self.scale = tokenizer, torch.nn.Parameter(torch.ones(1))

    def forward(self, pixels: torch.Tensor, captions: list[str]) -> dict[str, torch.Tensor]:
        assert min(pixels.shape) > 0
        return {"pred_logits": torch.zeros(1, 2, 256), "pred_boxes": torch.full((1, 2, 4), 0.5)}


@pytest.fixture(scope="module", params=["fixed", "longest", "owlv2", "groundingdino"])
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("detector")
    if request.param == "owlv2":
        return TransformersDetector(*tiny.owlv2(folder), threshold=0.0)
    if request.param == "groundingdino":
        return OriginalDetector(Live(tiny.bert_tokenizer(folder)))
    model, processor = tiny.grounding_dino(folder)
    if request.param == "longest":  # as the published ones have it
        processor.image_processor = GroundingDinoImageProcessor(size={"shortest_edge": 80, "longest_edge": 133})
    return TransformersDetector(model, processor, threshold=0.0)


def test_things_are_looked_for(image: LoadedImage, detector: Any) -> None:
    held, (width, height) = Workspace(), image.size_wh
    held.add_image(image)
    found = detect(held, "star . umbrella", detector=detector, threshold=0.0)
    assert set(found.best_scores) == {"star", "umbrella"}
    assert all(each.box.x2 <= width and each.box.y2 <= height for each in found.regions)
