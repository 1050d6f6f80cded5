"""Options of multiple-choice questions."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

from roi_agent.model.data.readers.base import CHOICE_REPEATED, MALFORMED, Trouble, Unusable

_T = TypeVar("_T", bound=Hashable)


def distinct_options(options: Sequence[_T], *, where: str) -> tuple[list[_T], list[Trouble]]:
    """Return the options without repeats, in order, and a trouble if any was repeated.  Error: Unusable for a single option."""
    kept = list(dict.fromkeys(options))
    if len(kept) < 2:
        raise Unusable(MALFORMED, where, f"its {len(options)} options are all the same")
    repeated = f"only {len(kept)} of its {len(options)} options are different; the repeats were removed"
    return kept, [Trouble(CHOICE_REPEATED, where, repeated)] if len(kept) < len(options) else []
