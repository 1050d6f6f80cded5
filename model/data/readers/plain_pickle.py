"""Safe loading of untrusted pickles: lists, dicts, texts and numbers only, nothing that can run code."""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from roi_agent.model.errors import DataNotFound, RecordInvalid


def load_plain_pickle(path: Path) -> Any:
    """Load a pickle file that names no class or function.

    Texts of Python 2 are decoded as UTF-8.  Errors: DataNotFound; RecordInvalid for any other content.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except RecordInvalid:
        raise
    except OSError as error:
        raise DataNotFound(f"{str(path)!r} cannot be read: {error.strerror}", do="check its permissions") from None
    except Exception:  # damaged bytes raise almost anything
        problem = f"{path.name}: this is not a pickle of plain data"
        raise RecordInvalid(problem, do="fetch the file again, it may be truncated") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        """Reject every name: pickles create all objects other than plain data through this method."""
        problem = f"the pickle refers to {module}.{name}, which could run code"
        raise RecordInvalid(problem, do="use a file of plain data, or the JSON export")
