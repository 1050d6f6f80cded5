"""Configurations of trainings: YAML files, read into dataclasses; unknown keys and impossible values fail."""

import math
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import yaml

from roi_agent.model.errors import InvalidSetting, ModelNotFound

CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


def read_values(config: str | Path) -> dict[str, Any]:
    """What a configuration holds: a YAML file, or the name of one in `model/train/configs/`.

    Raises ModelNotFound and InvalidSetting.
    """
    path = Path(config) if Path(config).suffix in (".yaml", ".yml") else CONFIGS / f"{config}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.yaml")))
        raise ModelNotFound(f"no training configuration {config!r}", do=f"give a YAML file or one of {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidSetting(f"{path.name} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise InvalidSetting(f"{path.name} holds {type(values).__name__}, not a mapping", do="start it with preset: nano")
    return values


def build(kind: type[T], values: dict[str, Any]) -> T:
    """A dataclass from a mapping.  Raises InvalidSetting for unknown and missing keys."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidSetting(f"unknown keys {', '.join(unknown)}", do=f"allowed are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidSetting(f"{kind.__name__}: {error}") from None


def check_numbers(settings: Any, *, above: tuple[str, ...] = (), shares: tuple[str, ...] = (), where: str = "") -> None:
    """Numbers of the annotated kind; YAML reads 2e-5, without a point, as a text.

    above: fields above zero.  shares: those from 0, below 1.  where: stands at the beginning of errors.  Error: InvalidSetting.
    """
    for each in fields(settings):
        value, kind = getattr(settings, each.name), each.type
        wrong = kind is int and (not isinstance(value, int) or isinstance(value, bool))
        if wrong or (kind is float and (not isinstance(value, Real) or isinstance(value, bool))):
            raise InvalidSetting(f"{where}{each.name} is {value!r}, not a number", do="write numbers as 16 or 2.0e-5")
        if kind is bool and not isinstance(value, bool):
            raise InvalidSetting(f"{where}{each.name} is {value!r}", do="use true or false")
    for name in above:
        if not 0 < getattr(settings, name) < math.inf:
            raise InvalidSetting(f"{where}{name} is {getattr(settings, name)}", do="give a number above zero")
    for name in shares:
        if not 0 <= getattr(settings, name) < 1:
            raise InvalidSetting(f"{where}{name} is {getattr(settings, name)}", do="give a share from 0, below 1")
