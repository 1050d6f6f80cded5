"""A large picture and a region of it whose names are not to be trusted."""

import numpy as np
from PIL import Image

from roi_agent import Box, Region
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.images.loading import LoadedImage

EVIL = "<script>alert(1)</script>\"'&"
NOISE = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
LARGE = LoadedImage(Image.fromarray(NOISE), EVIL, (EVIL,))
REGION = Region("region1", Box(10, 20, 300, 400), label=EVIL, score=0.5)
MASK = Mask.from_array(np.ones((900, 1200), bool))
