"""Regions as tensors: what the processor returns and the region encoder reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from roi_agent.model.gpt4roi.focal import FocalCrops


@dataclass(frozen=True, slots=True)
class RegionInputs:
    """The N regions of one image.

    boxes: (N, 4) float32, xyxy in [0, 1].
    coverage: (N, bins, bins) in [0, 1], the share of each RoIAlign bin under the region's mask, for a model with `mask_pooling`;
        None where no region has a mask.
    crops: crops around M <= N small regions, for a model with `focal_crop`; None where no region is small.
    """

    boxes: Tensor
    coverage: Tensor | None = None
    crops: FocalCrops | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def of(cls, given: "Sequence[Tensor | RegionInputs]") -> "list[RegionInputs]":
        """Wrap plain boxes, B x (N_i, 4)."""
        return [each if isinstance(each, RegionInputs) else cls(each) for each in given]

    def to(self, device: torch.device) -> "RegionInputs":
        """Move boxes and coverage; crops stay on the CPU, from which the model fetches a few at a time."""
        coverage = self.coverage.to(device) if self.coverage is not None else None
        return replace(self, boxes=self.boxes.to(device), coverage=coverage)
