"""A detector and a segmenter on a server of ours: the same objects as those in this process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from roi_agent.client.connection import Connection
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.wire.finding import FinderInfo, MasksResponse, WireCandidates, WirePrompt

_AT_ONCE = 64  # prompts of one request


class RemoteDetector:
    """Finds things by words with the detector of a server. Safe under threads.

    knows: the only kind of images that it knows, in words; None for one without such a limit.
    Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        info = FinderInfo.model_validate(connection.get("/detect"))
        self.name, self.threshold, self.knows = info.name, info.threshold or 0.0, info.knows

    def candidates(
        self, images: Sequence[Image.Image], phrases: Sequence[str], *, cancellation: Cancellation = NEVER
    ) -> list[Candidates]:
        """Every candidate box with its score for each phrase, for each image.  cancellation: ends the work after an image."""
        return [self._candidates(load_image(image), list(phrases), cancellation) for image in images]

    def _candidates(self, image: LoadedImage, phrases: list[str], cancellation: Cancellation) -> Candidates:
        cancellation.check("detecting")
        found = self._connection.post("/detect/candidates", image, {"phrases": phrases, **_deadline(cancellation)})
        candidates = WireCandidates.model_validate(found).candidates(len(phrases))
        return replace(candidates, notes=(*image.notes, *candidates.notes))


class RemoteSegmenter:
    """Masks of what is pointed at, by the segmenter of a server. Safe under threads.

    Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = FinderInfo.model_validate(connection.get("/segment")).name

    def masks(
        self,
        image: LoadedImage,
        prompts: Sequence[Prompt],
        *,
        several: bool = False,
        min_score: float | None = None,
        cancellation: Cancellation = NEVER,
    ) -> list[list[ScoredMask]]:
        """Return the server's masks, as a local segmenter returns its own.

        cancellation: ends the work after some masks.
        """
        found: list[list[ScoredMask]] = []
        for start in range(0, len(prompts), _AT_ONCE):
            cancellation.check("segmenting")
            asked = [WirePrompt.of(prompt).model_dump() for prompt in prompts[start : start + _AT_ONCE]]
            body = {"prompts": asked, "several": several, "min_score": min_score, **_deadline(cancellation)}
            found += [[each.scored_mask() for each in masks] for masks in self._masks(image, body).masks]
        return found

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """What the reader of masks of this image should know."""
        return tuple(self._masks(image, {"prompts": []}).notes)

    def _masks(self, image: LoadedImage, body: dict[str, Any]) -> MasksResponse:
        return MasksResponse.model_validate(self._connection.post("/segment/masks", image, body))


def _deadline(cancellation: Cancellation) -> dict[str, float]:
    """What a request says of it, so that the server stops too."""
    left_s = cancellation.left_s
    return {} if left_s is None else {"timeout_s": min(max(left_s, 0.001), 3600.0)}
