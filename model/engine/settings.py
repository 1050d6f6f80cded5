"""Limits and counters of an engine."""

from dataclasses import dataclass

from roi_agent.model.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Limits of an engine.

    cache_bytes: budget of the image cache.  max_batch: running questions.  max_waiting: queued questions.
    Error: InvalidSetting.
    """

    cache_bytes: int = 2 << 30
    max_batch: int = 32
    max_waiting: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("cache_bytes", 0), ("max_batch", 1), ("max_waiting", 1)):
            if getattr(self, name) < least:
                raise InvalidSetting(f"{name} is {getattr(self, name)}", do=f"give at least {least}")


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since the start of an engine, and its current state.

    steps: decoding steps.  failed: questions that ended with an error other than cancelled and deadline_exceeded.
    waiting: queued questions.  running: admitted and unfinished questions, prefill included.
    """

    vision_passes: int
    fusions: int
    prefix_passes: int
    steps: int
    answered: int
    failed: int
    cancelled: int
    deadline_exceeded: int
    waiting: int
    running: int
    cached_images: int
    cached_bytes: int
    evicted: int
