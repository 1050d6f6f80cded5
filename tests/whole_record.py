"""A record with everything that a record can hold."""

from typing import Any

import numpy as np

from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region

WIDTH, HEIGHT = 64, 48
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[3:9, 5:30] = True


def record(id: str = "boxes/7", **more: Any) -> Record:
    values: dict[str, Any] = {
        "image": "cats/7.jpg",
        "size_wh": (WIDTH, HEIGHT),
        "regions": (
            Region("region1", Box(1.5, 2, 30, 40), label="cat", score=0.75, mask=Mask.from_array(MASK)),
            Region("region2", Box(0, 0, WIDTH, HEIGHT)),
        ),
        "turns": (
            RecordTurn("What is <region1>?", "a cat", options=("a cat", "a dog"), references=("a cat", "a kitten")),
            RecordTurn("And <region2>?", "the room of <region1>"),
        ),
        "source": "my boxes",
        "licence": "CC0-1.0",
        "evidence": (Evidence("geometry", "region1 lies within region2", 1.0), Evidence("choose", "a cat")),
    }
    return Record(id, **(values | more))
