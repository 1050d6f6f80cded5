"""What the images that a model was trained on look like to it, so that it can tell others from them."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from roi_agent.model.data.questions import TRAINING_SEEDS
from roi_agent.model.data.scenes import make_scene, render_image
from roi_agent.model.data.toy import RENDER_SIDES
from roi_agent.model.domain import Domain, pool

SCENES = 2000  # that are looked at
_AT_ONCE = 50


@torch.inference_mode()
def fit_domain(read: Callable[[Image.Image], Tensor], maps: Callable[[Tensor], list[Tensor]], *, known: str) -> Domain:
    """The domain of a model of the toy world: the first half of the scenes fits, the second sets the limit.

    read: image -> (3, S, S) as the model reads it.  maps: (B, 3, S, S) -> feature maps, each (B, C, h, w).
    known: what the model knows, in words.
    """
    pooled = []
    for start in range(0, SCENES, _AT_ONCE):
        seeds = range(TRAINING_SEEDS + start, TRAINING_SEEDS + start + _AT_ONCE)
        sides = [RENDER_SIDES[seed % len(RENDER_SIDES)] for seed in seeds]
        images = [Image.fromarray(render_image(make_scene(seed), side)) for seed, side in zip(seeds, sides, strict=True)]
        pooled.append(pool(maps(torch.stack([read(image) for image in images]))).cpu())
    inside, held_out = torch.cat(pooled).chunk(2)
    return Domain.fit(inside, held_out, known=known)
