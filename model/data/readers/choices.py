"""Closed questions: options of which one is right."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

from roi_agent.model.data.readers.base import CHOICE_REPEATED, MALFORMED, Trouble, Unusable

_T = TypeVar("_T", bound=Hashable)


def distinct_options(options: Sequence[_T], *, where: str) -> tuple[list[_T], list[Trouble]]:
    """The options in their order, each once, and a note where one was repeated.  Error: Unusable where no choice is left."""
    kept = list(dict.fromkeys(options))
    if len(kept) < 2:
        raise Unusable(MALFORMED, where, f"there is no choice: its {len(options)} options are the same")
    repeated = f"{len(options)} options are {len(kept)} different ones, which stand in the record"
    return kept, [Trouble(CHOICE_REPEATED, where, repeated)] if len(kept) < len(options) else []
