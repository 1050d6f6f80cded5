"""Training configurations: YAML files read into dataclasses; unknown keys and invalid values are refused."""

import math
from collections.abc import Callable
from dataclasses import fields
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args

import yaml

from roi_agent.model.errors import InvalidSetting, ModelNotFound

CONFIGS = Path(__file__).parent / "configs"
T = TypeVar("T")


def read_values(config: str | Path) -> dict[str, Any]:
    """Read a configuration: a YAML file, or the name of one in `model/train/configs/`.

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
        raise InvalidSetting(f"{path.name} contains {type(values).__name__}, not a mapping", do="start it with preset: nano")
    return values


def build(kind: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from a mapping.  Raises InvalidSetting for unknown and missing keys."""
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidSetting(f"unknown keys {', '.join(unknown)}", do=f"allowed are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidSetting(f"{kind.__name__}: {error}") from None


def as_tuple(value: Any) -> Any:
    """A YAML list as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; YAML's true and false are not."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_numbers(
    settings: Any,
    *,
    above: tuple[str, ...] = (),
    from_zero: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
    below_one: tuple[str, ...] = (),
    where: str = "",
) -> None:
    """Check that numbers and switches have the annotated type; YAML reads 2e-5, without a point, as a text.

    above: fields above zero.  from_zero: zero or above.  shares: from 0 to 1.  below_one: from 0, below 1.
    where: the beginning of the error.  Error: InvalidSetting.
    """
    for each in fields(settings):
        value = getattr(settings, each.name)
        choices = get_args(each.type) if isinstance(each.type, UnionType) else (each.type,)
        if value is None and NoneType in choices:
            continue
        wrong = int in choices and (not isinstance(value, int) or isinstance(value, bool))
        if wrong or (float in choices and (not isinstance(value, Real) or isinstance(value, bool))):
            raise InvalidSetting(f"{where}{each.name} is {value!r}, not a number", do="write numbers as 16 or 2.0e-5")
        if bool in choices and not isinstance(value, bool):
            raise InvalidSetting(f"{where}{each.name} is {value!r}", do="use true or false")
    allowed: dict[str, tuple[tuple[str, ...], Callable[[float], bool]]] = {
        "give a number above zero": (above, lambda value: 0 < value < math.inf),
        "give zero or a number above it": (from_zero, lambda value: 0 <= value < math.inf),
        "give a share from 0 to 1": (shares, lambda value: 0 <= value <= 1),
        "give a share from 0, below 1": (below_one, lambda value: 0 <= value < 1),
    }
    for do, (names, fits) in allowed.items():
        for name in names:
            if not fits(getattr(settings, name)):
                raise InvalidSetting(f"{where}{name} is {getattr(settings, name)}", do=do)


def check_weights(name: str, weights: Any, *, zero: bool = False) -> None:
    """Check a mapping of names to finite numbers above zero, or from zero.  Error: InvalidSetting."""
    if not isinstance(weights, dict):
        raise InvalidSetting(f"{name} is {weights!r}", do="give numbers by names")
    for key, weight in weights.items():
        if not is_number(weight) or weight < 0 or (weight == 0 and not zero):
            raise InvalidSetting(
                f"{name}: the weight of {key} is {weight!r}", do=f"give a number {'from' if zero else 'above'} zero"
            )
