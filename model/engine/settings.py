"""What an engine may use, and what it reports of itself."""

from dataclasses import dataclass

from roi_agent.model.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine may use.

    cache_bytes: for what is kept of images.  max_batch: questions that are answered at once.  max_waiting: questions that wait
    for their turn.  Error: InvalidSetting.
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
    """What the engine has done since it began, and what it holds now.

    steps: turns that gave every running question its next token.
    failed: questions that ended with an error; cancelled, deadline_exceeded: those that were taken back, or whose time was over.
    waiting: questions in the queue; running: those that have left it, while they are read, too, and have not ended.
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
