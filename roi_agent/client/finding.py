"""A detector and a segmenter on a server of ours: the same objects as those in this process."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from roi_agent.client.connection import Connection
from roi_agent.finding_schema import FinderInfo, MasksResponse, WireCandidates, WirePrompt
from roi_agent.model.detector import Candidates
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.segmenter import Prompt, ScoredMask


class RemoteDetector:
    """Finds things by words with the detector of a server. Safe under threads.

    Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        info = FinderInfo.model_validate(connection.get("/detect"))
        self.name, self.threshold = info.name, info.threshold or 0.0

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        """Every candidate box with its score for each phrase, for each image."""
        return [self._candidates(load_image(image), list(phrases)) for image in images]

    def _candidates(self, image: LoadedImage, phrases: list[str]) -> Candidates:
        found = self._connection.post("/detect/candidates", image, {"phrases": phrases})
        return WireCandidates.model_validate(found).candidates(len(phrases))


class RemoteSegmenter:
    """Masks of what is pointed at, by the segmenter of a server. Safe under threads.

    Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = FinderInfo.model_validate(connection.get("/segment")).name

    def masks(
        self, image: LoadedImage, prompts: Sequence[Prompt], *, several: bool = False, min_score: float | None = None
    ) -> list[list[ScoredMask]]:
        """For each prompt one mask, or with `several` the three that the model offers, best first; none below min_score."""
        asked = [WirePrompt.of(prompt).model_dump() for prompt in prompts]
        found = self._masks(image, {"prompts": asked, "several": several, "min_score": min_score})
        return [[each.scored_mask() for each in masks] for masks in found.masks]

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """What the reader of masks of this image should know."""
        return tuple(self._masks(image, {"prompts": []}).notes)

    def _masks(self, image: LoadedImage, body: dict[str, Any]) -> MasksResponse:
        return MasksResponse.model_validate(self._connection.post("/segment/masks", image, body))
