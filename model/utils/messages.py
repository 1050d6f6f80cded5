"""Users' values and errors of users' code, as text for error messages."""

import re

_KEYS = re.compile(r"\b(?:sk|key|Bearer)[-_ ][\w-]{6,}")


def escaped(value: object) -> str:
    """Return a short repr of the value, without a memory address."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "tolist"):
        value = value.tolist()  # a number of numpy or torch
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, int) and value.bit_length() > 100:
        return f"a whole number of {value.bit_length()} bits"
    if value is None or isinstance(value, float | int):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:40] + "...")
    if isinstance(value, list | tuple):
        parts = ["[...]" if isinstance(item, list | tuple) else escaped(item) for item in value[:6]]
        return "[" + ", ".join(parts) + (", ...]" if len(value) > 6 else "]")
    return f"a {type(value).__name__}"


def cause(error: BaseException) -> str:
    """Return an error of foreign code as one short line, without API keys."""
    message = _KEYS.sub("***", " ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
