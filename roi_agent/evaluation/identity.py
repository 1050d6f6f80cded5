"""Identities of models and data sets, from their contents."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from roi_agent.loading import SHIPPED, load_region_model
from roi_agent.model.data.record_files import open_records
from roi_agent.model.protocol.region_model import RegionModel


def model_identity(model: RegionModel | str | Path) -> dict[str, str]:
    """Return a folder's name and a digest of its files, or the name of a server's model.

    A server's weights are not visible: other weights under the same name count as the same model.
    Errors: those of `load_region_model`.
    """
    if isinstance(model, RegionModel):
        return {"name": str(getattr(model, "name", type(model).__name__))}
    folder = SHIPPED["ask"].get(str(model), Path(model))
    if not folder.is_dir():
        return {"name": str(getattr(load_region_model(model), "name", model))}
    files = [each for pattern in ("*.safetensors", "*config.json", "tokenizer*") for each in folder.glob(pattern)]
    return {"name": str(model) if str(model) in SHIPPED["ask"] else folder.resolve().name, "sha256": _digest(sorted(set(files)))}


def data_identity(path: Path) -> dict[str, str]:
    """Return the data set's name and a digest of its records.  Error: DataNotFound."""
    records = open_records(path, images=".")
    return {"name": records.name, "sha256": _digest(records.files)}


def _digest(files: Sequence[Path]) -> str:
    made = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            made.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return made.hexdigest()
