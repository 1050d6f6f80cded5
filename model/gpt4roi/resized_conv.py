"""A 3x3 convolution over resized maps that avoids the resize where that is cheaper.

A bilinear resize from s x s to S x S is R P R' for every channel P, with R of shape (S, s). A tap of the convolution shifts the
rows of R, and zero padding is a row of zeros. So the convolution, a sum over the nine taps W_yx, is

    sum over y, x of  R_y (W_yx P) R_x'   =   A M A',    A = [R_-1 R_0 R_1],   M = the 3 x 3 blocks W_yx P

and mixes channels on the small grid: 64 times less often for 16 x 16 to 128 x 128.  Sizes are sides of squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Cost of a multiplication in A M A', in float32 on small matrices, relative to one in a convolution.
_INTERPOLATION_COST = 8


@dataclass(frozen=True, slots=True)
class Resized:
    """A map (B, C, s, s) and the sides to which it is resized in turn."""

    map: Tensor
    sides: tuple[int, ...]

    def tensor(self) -> Tensor:
        """The resized map (B, C, S, S), S the last side."""
        resized = self.map
        for side in self.sides:
            resized = resize(resized, side)
        return resized

    def matrix(self) -> Tensor:
        """The matrix that resizes one axis, (S, s) in float32."""
        small = self.map.shape[-1]
        axes = torch.eye(small, device=self.map.device)[None]
        for side in self.sides:
            axes = F.interpolate(axes, side, mode="linear", align_corners=True)
        return axes[0].T


def conv_of_resized(conv: nn.Conv2d, parts: Sequence[Resized]) -> Tensor:
    """A 3x3 convolution, padding 1, no bias, over the concatenation of parts resized to one side: (B, C_out, S, S)."""
    if sum(map(_cost_of_taps, parts)) < sum(map(_cost_of_resizing, parts)):
        return _by_taps(conv.weight, parts)
    joined: Tensor = conv(torch.cat([part.tensor() for part in parts], dim=1))
    return joined


def resize(maps: Tensor, side: int) -> Tensor:
    """Resize bilinearly with aligned corners, in float32; a map of this size is returned unchanged."""
    if maps.shape[-1] == side:
        return maps
    return F.interpolate(maps.float(), (side, side), mode="bilinear", align_corners=True).to(maps.dtype)


def _cost_of_resizing(part: Resized) -> int:
    """Multiplications per output channel."""
    return 9 * part.map.shape[1] * part.sides[-1] ** 2


def _cost_of_taps(part: Resized) -> int:
    channels, small, side = part.map.shape[1], part.map.shape[-1], part.sides[-1]
    return 9 * channels * small**2 + _INTERPOLATION_COST * (9 * small**2 * side + 3 * small * side**2)


def _by_taps(weight: Tensor, parts: Sequence[Resized]) -> Tensor:
    """weight: (C_out, C, 3, 3), C the sum of the channels of the parts."""
    left, right = [], []
    for part, share in zip(parts, weight.split([part.map.shape[1] for part in parts], dim=1), strict=True):
        blocks = _blocks(share, part.map)
        # float32, like the resize: half precision would round interpolation weights by up to 0.4 %.
        with torch.autocast(blocks.device.type, enabled=False):
            taps = _shifted(part.matrix())
            left.append(taps)
            right.append(blocks.float() @ taps.T)
    with torch.autocast(weight.device.type, enabled=False):
        return (torch.cat(left, dim=1) @ torch.cat(right, dim=2)).to(blocks.dtype)


def _blocks(weight: Tensor, small: Tensor) -> Tensor:
    """M: each tap applied to the small map, (C_out, C, 3, 3) and (B, C, s, s) -> (B, C_out, 3 s, 3 s)."""
    batch, _, side, _ = small.shape
    taps = F.conv2d(small, weight.permute(2, 3, 0, 1).flatten(0, 2)[..., None, None])
    return taps.view(batch, 3, 3, -1, side, side).permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, 3 * side, 3 * side)


def _shifted(matrix: Tensor) -> Tensor:
    """A: the matrix (S, s) with its rows shifted by each tap, zero beyond the border: (S, 3 s)."""
    side, padded = len(matrix), F.pad(matrix, (0, 0, 1, 1))
    return torch.cat([padded[tap : tap + side] for tap in range(3)], dim=1)
