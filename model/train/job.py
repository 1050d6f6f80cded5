"""A training on records as one thing: what is to be done, where, and from what."""

from dataclasses import dataclass
from pathlib import Path

from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start


@dataclass(frozen=True, slots=True)
class RecordJob:
    """folder: of the run.  data: holds the record sets.  reset: parts that start from random weights."""

    settings: RecordSettings
    start: Start
    data: Path
    folder: Path
    reset: tuple[str, ...] = ()

    @property
    def random(self) -> tuple[str, ...]:
        """All parts that start from random weights: those that are reset, and those that the start does not have."""
        return (*self.start.random, *self.reset)
