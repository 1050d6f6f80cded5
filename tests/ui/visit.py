"""A visit to the page: what a visitor opens, draws and says, and what is seen then."""

from typing import Any, TypeVar

from roi_agent.lanes import Job
from roi_agent.ui.actions import Actions, PageState
from roi_agent.ui.work import Work

T = TypeVar("T")
UMBRELLA, SQUARE = (123, 194, 303, 377), (315, 145, 504, 334)
NAME = "0" * 32


async def at_once(job: Job[T]) -> T:
    """A lane without a queue."""
    return job()


def opened(actions: Actions, name: str = NAME, scene: int = 0) -> Work:
    work = actions.open_scene(name, scene).work
    assert work is not None
    return work


def drawn(*boxes: tuple[float, ...], labels: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """As the browser tells it, newest first."""
    named = [*labels, *[""] * (len(boxes) - len(labels))]
    items = [dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)) for box in boxes]
    return [{"label": label, **item} for label, item in zip(named, items, strict=True)][::-1]


def names(work: Work) -> list[str]:
    return [region.name for region in work.regions]


def last(work: Work) -> str:
    return str(work.messages[-1]["content"])


def said(actions: Actions, text: str, mode: str = "model") -> list[PageState]:
    return list(actions.talk(NAME, text, mode))
