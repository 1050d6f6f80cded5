"""A training job on records: settings, start, data and folder."""

from dataclasses import dataclass
from pathlib import Path

from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start


@dataclass(frozen=True, slots=True)
class RecordJob:
    """A training job.  folder: of the run.  data: folder of record sets.  reset: parts to start from random weights."""

    settings: RecordSettings
    start: Start
    data: Path
    folder: Path
    reset: tuple[str, ...] = ()

    @property
    def random(self) -> tuple[str, ...]:
        """All parts that start from random weights: those reset, and those missing from the start."""
        return (*self.start.random, *self.reset)
