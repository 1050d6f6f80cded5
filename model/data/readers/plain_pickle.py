"""Pickles of plain data from strangers: lists, dicts, texts and numbers, and nothing that could run code."""

import pickle
from pathlib import Path
from typing import Any, NoReturn

from roi_agent.model.errors import DataNotFound, RecordInvalid


def load_plain_pickle(path: Path) -> Any:
    """The value of a pickle file, in which no class or function may be named.

    Texts of Python 2 are read as UTF-8.  Errors: DataNotFound, and RecordInvalid for any bytes that are not such a pickle.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except RecordInvalid:
        raise
    except OSError as error:
        raise DataNotFound(f"{str(path)!r} cannot be read: {error.strerror}", do="see who may read it") from None
    except Exception:  # damaged bytes raise almost anything
        problem = f"{path.name}: this is no pickle of plain data"
        raise RecordInvalid(problem, do="fetch the file again: it may be cut short") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        """Every object that is not plain data is made by what this would return."""
        raise RecordInvalid(
            f"a pickle names {module}.{name}, and could run code", do="use a file that holds plain data only, or the JSON export"
        )
