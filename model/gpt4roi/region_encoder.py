"""The region encoder: a vector in the language model's space for every box (GPT4RoI, section 3).

image features -> feature pyramid -> fusion across levels -> RoIAlign -> merge -> + position of the box -> project.
The fused maps depend on the image alone and can be cached; see `fuse` and `pool`.

Two options go beyond the paper. Both are off by default, and change only the regions that they concern.

Masks (`mask_pooling`). RoIAlign returns P_ij for each bin of the box. With w_ij the maximum coverage of the bin and its eight
neighbours by the mask,

    w_ij P_ij + (1 - w_ij) m,      m = sum w P / sum w

replaces it, per channel and level: bins off the mask get the mean m of the bins on it. A mask that fills its box has w = 1
everywhere and gives the published P. The neighbours preserve the outline, which shows the kind of a thing. Checkpoints trained on
boxes still work, because the mean keeps the scale of the features at any coverage. Results on nano without training, with 64
questions each about overlapping things (boxes alone: colour 0.72, kind 0.52): this method 0.78 and 0.52; without the neighbours
0.83 and 0.17; also with zeros in place of m 0.55 and 0.25.

Focal crops (`focal_crop`). A small region is pooled a second time, from a crop around it that passes through the same tower and
encoder at full resolution. The appearance c in the crop and the first one, a, give a + g (c - a). The learned gate g per channel
starts at 0, where nothing changes; at 1 only the crop counts. In a short training the gate needs a higher learning rate than
the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.ops import roi_align

from roi_agent.model.errors import BoxNotFinite, BoxOutOfBounds, InvalidSetting, MaskInvalid
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.gpt4roi.resized_conv import Resized, conv_of_resized, resize

# Regions pooled at once: 200 regions of the published model would otherwise take gigabytes.
_CHUNK = 64


class RegionEncoder(nn.Module):
    """Maps features of the vision tower and boxes to one vector for each box.

    Shapes: B images, N_i boxes in image i, L levels (finest first), P patches, C channels.
    """

    def __init__(self, config: GPT4RoIConfig) -> None:
        super().__init__()
        self.config = config
        width, dim = config.region_channels, config.region_dim
        # Two more input channels: the x and y coordinate of every cell.
        self.input_convs = nn.ModuleList(nn.Conv2d(channels + 2, width, 1) for channels in config.level_channels or ())
        self.fusions = nn.ModuleList(Fusion(width, config.fusion_groups) for _ in range(config.num_fusions))
        self.merge_convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(config.num_levels))
        self.flatten = nn.Linear(width * config.roi_size**2, dim)
        self.position = box_position(config.position_dim, dim)
        self.up = nn.Linear(dim, config.hidden_size)
        self.focal_gate = nn.Parameter(torch.zeros(dim)) if config.focal_crop else None
        self.gradient_checkpointing = False

    def forward(self, features: list[Tensor], boxes: list[Tensor]) -> list[Tensor]:
        """Encode regions.

        features: L x (B, P, C), shallow first, each a square grid of patches in row order.
        boxes: B x (N_i, 4), xyxy in [0, 1].
        Returns B x (N_i, hidden_size); (0, hidden_size) for an image without boxes.
        Raises BoxNotFinite and BoxOutOfBounds: RoIAlign would crash the process on them.
        """
        return self.pool(self.fuse(features), boxes)

    def fuse(self, features: list[Tensor]) -> list[Tensor]:
        """L x (B, P, C) -> L x (B, region_channels, S_l, S_l) with S_l = pyramid_sizes[l]."""
        sides = self.config.pyramid_sizes
        maps = [self._projected(conv, _as_map(tokens)) for conv, tokens in zip(self.input_convs, features, strict=True)]
        for fusion in self.fusions:
            if self.gradient_checkpointing and self.training:
                maps = checkpoint(fusion, maps, sides, use_reentrant=False)
            else:
                maps = fusion(maps, sides)
        return [resize(level, side) for level, side in zip(maps, sides, strict=True)]

    def pool(
        self, maps: list[Tensor], boxes: Sequence[Tensor | RegionInputs], focal: "FocalAppearance | None" = None
    ) -> list[Tensor]:
        """Fused maps, L x (B, C, S_l, S_l), and boxes, B x (N_i, 4) xyxy in [0, 1] -> B x (N_i, hidden_size).

        boxes: as `RegionInputs` to pass masks; their crops are not read here.  focal: the appearance in the crops.
        Also raises MaskInvalid for a mask off its box, and InvalidSetting for an option that is off in the configuration.
        """
        regions = RegionInputs.of(boxes)
        flat, images = _checked([each.boxes for each in regions], maps[0].device)
        covered = self._checked_coverage(regions, flat)
        seen = self.appearance(maps, flat, images, covered)
        if focal is not None:
            seen = self.with_focal(seen, focal)
        vectors = self.project(seen, flat)
        return list(vectors.split([len(each) for each in regions]))

    def appearance(self, maps: list[Tensor], boxes: Tensor, images: Tensor, coverage: Tensor | None = None) -> Tensor:
        """The content of each box without its position: boxes (N, 4) of images with indices (N,) -> (N, region_dim).

        coverage: (N, roi_size, roi_size); by default all ones.
        """
        covered = coverage.split(_CHUNK) if coverage is not None else [None] * len(boxes.split(_CHUNK))
        chunks = zip(boxes.split(_CHUNK), images.split(_CHUNK), covered, strict=True)
        return torch.cat([self._pooled(maps, *chunk) for chunk in chunks])

    def with_focal(self, appearance: Tensor, focal: "FocalAppearance") -> Tensor:
        """Appearances (N, region_dim), those of small regions interpolated to their crops by the gate."""
        if self.focal_gate is None:
            raise InvalidSetting("the model was made without focal crops", do="leave the crops out, or set focal_crop")
        places = focal.regions.to(appearance.device)
        step = self.focal_gate.to(appearance.dtype) * (focal.appearance - appearance[places])
        return appearance.index_add(0, places, step)

    def project(self, appearance: Tensor, boxes: Tensor) -> Tensor:
        """Appearance (N, region_dim) and boxes (N, 4) -> vectors of the language model (N, hidden_size)."""
        projected: Tensor = self.up(appearance + self.position(boxes).to(appearance.dtype))
        return projected

    def _projected(self, conv: nn.Module, features: Tensor) -> Tensor:
        """(B, C, s, s) -> (B, region_channels, s, s): append coordinates, 1x1 convolution.

        GPT4RoI resizes to the pyramid's sizes first. A 1x1 convolution and a bilinear resize commute, and coordinates
        resized are coordinates, so the resizing is left to the first fusion. The coordinates stay float32.
        """
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        if features.shape[-1] == 1:  # a single cell has no extent for coordinates
            features = features.expand(-1, -1, 2, 2)
        projected = F.conv2d(features, conv.weight[:, :-2])
        axis = torch.linspace(-1, 1, features.shape[-1], device=features.device)
        weight_x, weight_y = conv.weight[:, -2:, 0, 0].float().unbind(1)
        share = weight_x[:, None, None] * axis + weight_y[:, None, None] * axis[:, None] + conv.bias.float()[:, None, None]
        return projected + share.to(projected.dtype)

    def _checked_coverage(self, regions: Sequence[RegionInputs], boxes: Tensor) -> Tensor | None:
        """The coverage of all regions, (N, bins, bins) in float32, ones in images without masks; None without any mask."""
        if all(each.coverage is None for each in regions):
            return None
        if not self.config.mask_pooling:
            raise InvalidSetting("the model was made without mask pooling", do="leave the coverage out, or set mask_pooling")
        bins = self.config.roi_size
        coverage = [torch.ones(len(each), bins, bins) if each.coverage is None else each.coverage for each in regions]
        if [each.shape for each in coverage] != [(len(each), bins, bins) for each in regions]:
            problem = f"the coverage of {len(boxes)} regions has the shapes {[tuple(each.shape) for each in coverage]}"
            raise MaskInvalid(problem, do=f"give (N, {bins}, {bins}) for each image, as the processor does")
        flat = torch.cat([each.to(boxes.device, torch.float32) for each in coverage])
        if not bool(((flat >= 0) & (flat <= 1)).all() & (flat.sum((1, 2)) > 0).all()):
            raise MaskInvalid("a mask covers nothing of its box", do="give shares from 0 to 1, not all of them 0")
        return flat

    def _pooled(self, maps: list[Tensor], boxes: Tensor, images: Tensor, coverage: Tensor | None) -> Tensor:
        merged = None
        for level, conv in zip(maps, self.merge_convs, strict=True):
            rois = torch.cat([images[:, None].float(), boxes * level.shape[-1]], dim=1)
            # float32: RoIAlign has no bf16 kernel on CPU, and half-precision coordinates move the features.
            with torch.autocast(level.device.type, enabled=False):
                pooled = roi_align(
                    level.float(), rois, self.config.roi_size, sampling_ratio=self.config.sampling_ratio, aligned=True
                )
                if coverage is not None:
                    pooled = _painted_over(pooled, coverage[:, None])
            share = conv(pooled.to(level.dtype))
            merged = share if merged is None else merged + share
        assert merged is not None
        flat: Tensor = self.flatten(F.relu(merged).flatten(1))
        return flat


@dataclass(frozen=True, slots=True)
class FocalAppearance:
    """Appearance in focal crops.  appearance: (M, region_dim).  regions: (M), indices into the N regions of the batch."""

    appearance: Tensor
    regions: Tensor


class Fusion(nn.Module):
    """One round of exchange between neighbouring levels; the same weights serve every level."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, maps: list[Tensor], sides: Sequence[int]) -> list[Tensor]:
        """L x (B, C, s_l, s_l), resized to the sides S_l if necessary -> L x (B, C, S_l, S_l)."""
        half, quarters = maps[0].shape[1] // 2, maps[0].shape[1] * 3 // 4
        last, fused = len(maps) - 1, []
        for index, side in enumerate(sides):
            coarser, finer = min(index + 1, last), max(index - 1, 0)
            parts = (
                Resized(maps[index][:, :half], (side,)),
                Resized(maps[coarser][:, quarters:], (sides[coarser], side)),
                Resized(maps[finer][:, half:quarters], (sides[finer], side)),
            )
            fused.append(F.relu(self.norm(conv_of_resized(self.conv, parts))))
        return fused


class CoordinateLinear(nn.Linear):
    """The first layer on coordinates, in float32 for a model of any dtype."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, 4) float32 -> (N, out_features) in the dtype of the weights."""
        with torch.autocast(input.device.type, enabled=False):
            return F.linear(input.float(), self.weight.float(), self.bias.float()).to(self.weight.dtype)


def box_position(inner: int, dim: int) -> nn.Sequential:
    """The position embedding of boxes: (N, 4) xyxy in [0, 1] -> (N, dim)."""
    return nn.Sequential(
        CoordinateLinear(4, inner), nn.ReLU(), nn.LayerNorm(inner), nn.Linear(inner, dim), nn.ReLU(), nn.LayerNorm(dim)
    )


def _painted_over(pooled: Tensor, coverage: Tensor) -> Tensor:
    """Replace uncovered bins by the mean of covered ones: bins (N, C, r, r), coverage (N, 1, r, r)."""
    weights = F.max_pool2d(coverage, 3, stride=1, padding=1)
    mean = (pooled * weights).sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)
    return weights * pooled + (1 - weights) * mean


def _as_map(tokens: Tensor) -> Tensor:
    """(B, P, C) -> (B, C, sqrt P, sqrt P)."""
    batch, patches, channels = tokens.shape
    side = round(patches**0.5)
    assert side * side == patches, f"{patches} patches are not a square grid"
    return tokens.transpose(1, 2).reshape(batch, channels, side, side)


def _checked(boxes: list[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """B x (N_i, 4) -> all boxes (N, 4) in float32, and the index (N,) of each box's image."""
    flat = torch.cat([each.reshape(-1, 4) for each in boxes]).to(device, torch.float32)
    if not bool(torch.isfinite(flat).all()):
        raise BoxNotFinite("a box contains NaN or infinity", do="give four finite numbers, xyxy in [0, 1]")
    if bool(((flat < 0) | (flat > 1)).any()):
        raise BoxOutOfBounds(
            f"normalised boxes reach from {flat.min().item():g} to {flat.max().item():g}",
            do="divide by the image's width and height",
        )
    counts = torch.tensor([len(each) for each in boxes], device=device)
    return flat, torch.repeat_interleave(torch.arange(len(boxes), device=device), counts)
