"""The report on all keys of a conversion, and its error."""

from dataclasses import asdict, dataclass
from typing import Any

from roi_agent.model.errors import CheckpointMismatch

REPORT_NAME = "conversion.json"
_SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The report on every key of every file.

    taken: our name -> the file's name, copied.  added: our name -> the name in delta and base, added.
    ignored: a file's name -> the reason.  notes: assumptions.
    """

    taken: dict[str, str]
    added: dict[str, str]
    ignored: dict[str, str]
    notes: tuple[str, ...] = ()
    num_parameters: int = 0
    dtype: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return asdict(self)

    def summary(self) -> str:
        """A summary in a few lines."""
        added = f", {len(self.added)} added to the base" if self.added else ""
        counts = f"{len(self.taken)} tensors copied{added}, {len(self.ignored)} ignored"
        size = f"{self.num_parameters / 1e9:.3f} billion parameters in {self.dtype}"
        reasons = sorted({reason: name for name, reason in self.ignored.items()}.items())
        ignored = [f"ignored, because {reason}: {name}, ..." for reason, name in reasons]
        return "\n".join([f"{counts}; {size}", *ignored, *self.notes])


def refuse(problems: list[str]) -> None:
    """Raise CheckpointMismatch for any problems, with their number and the first of them."""
    if problems:
        rest = len(problems) - _SHOWN_PROBLEMS
        shown = "; ".join(problems[:_SHOWN_PROBLEMS]) + (f"; and {rest} more" if rest > 0 else "")
        number = "1 key does" if len(problems) == 1 else f"{len(problems)} keys do"
        raise CheckpointMismatch(f"{number} not fit: {shown}", do="nothing was loaded; give files of one release")
