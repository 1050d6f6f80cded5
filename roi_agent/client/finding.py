"""A detector and a segmenter on a server of roi-agent, with the interfaces of local ones."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from roi_agent.client.connection import Connection
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.domain.notes import received
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.segmentation.segmenter import Prompt, ScoredMask
from roi_agent.model.utils.cancellation import NEVER, Cancellation
from roi_agent.wire.finding import FinderInfo, MasksResponse, WireCandidates, WirePrompt

_PROMPTS_PER_REQUEST = 64  # prompts of one request


class RemoteDetector:
    """The detector of a server. Thread-safe.

    knows: the only kind of images that it knows, in words; None without a limit.
    Errors: those of the server by their codes, ServerUnreachable.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        info = FinderInfo.model_validate(connection.get("/detect"))
        self.name, self.threshold, self.knows = info.name, info.threshold or 0.0, info.knows

    def candidates(
        self, images: Sequence[Image.Image], phrases: Sequence[str], *, cancellation: Cancellation = NEVER
    ) -> list[Candidates]:
        """Return all candidate boxes with a score per phrase, for each image.  cancellation: ends the work after an image."""
        return [self._candidates(load_image(image), list(phrases), cancellation) for image in images]

    def _candidates(self, image: LoadedImage, phrases: list[str], cancellation: Cancellation) -> Candidates:
        cancellation.check("detecting")
        found = self._connection.post("/detect/candidates", image, {"phrases": phrases, **_deadline(cancellation)})
        candidates = WireCandidates.model_validate(found).candidates(len(phrases))
        return replace(candidates, notes=(*image.notes, *candidates.notes))


class RemoteSegmenter:
    """The segmenter of a server. Thread-safe.

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

        cancellation: ends the work between requests.
        """
        found: list[list[ScoredMask]] = []
        for start in range(0, len(prompts), _PROMPTS_PER_REQUEST):
            cancellation.check("segmenting")
            asked = [WirePrompt.of(prompt).model_dump() for prompt in prompts[start : start + _PROMPTS_PER_REQUEST]]
            body = {"prompts": asked, "several": several, "min_score": min_score, **_deadline(cancellation)}
            found += [[each.scored_mask() for each in masks] for masks in self._masks(image, body).masks]
        return found

    def notes(self, image: LoadedImage) -> tuple[str, ...]:
        """Return notes about masks of the image."""
        return received(self._masks(image, {"prompts": []}).notes)

    def _masks(self, image: LoadedImage, body: dict[str, Any]) -> MasksResponse:
        return MasksResponse.model_validate(self._connection.post("/segment/masks", image, body))


def _deadline(cancellation: Cancellation) -> dict[str, float]:
    """Return the deadline for a request, so that the server stops too."""
    left_s = cancellation.left_s
    return {} if left_s is None else {"timeout_s": min(max(left_s, 0.001), 3600.0)}
