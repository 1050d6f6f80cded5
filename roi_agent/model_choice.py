"""The choice of models for the tools, and where they run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roi_agent.model.engine import EngineSettings


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of each role, and common settings; the fields are those of `roi_agent.loading.load_models`."""

    region_model: object = "nano"
    detector: object = "nano"
    segmenter: object = "nano"
    device: str | None = None
    dtype: str | None = None
    budget_bytes: int | None = None
    engine: "EngineSettings | None" = None

    @property
    def by_role(self) -> dict[str, object]:
        """The models under the names of their roles: ask, detect, segment."""
        return {"ask": self.region_model, "detect": self.detector, "segment": self.segmenter}
