"""Validation of calls from the page's scripts.

Gradio reads a file, or fetches an address, wherever a mapping names one. No such mapping is let through: a function receives
texts, and for an event what was selected or drawn.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from roi_agent.model.errors import RequestInvalid

MAX_BYTES = 256 << 10
_KEYS = {"data", "event_data", "fn_index", "trigger_id", "session_hash"}
_FILE = {
    "path",
    "url",
    "meta",
    "orig_name",
    "mime_type",
    "is_stream",
    "__type__",
}  # keys of what Gradio treats as a file
_SESSION = re.compile(r"[A-Za-z0-9]{1,40}")
_MAX_NUMBER = 2**53  # largest integer of a browser
_MAX_DEPTH = 8
_DO = "reload the page"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function.

    session: chosen by a browser's window.  data: a text or None for each input.  event: what was selected or drawn.
    """

    function: int
    session: str
    data: tuple[str | None, ...]
    event: Mapping[str, Any] | None
    trigger: int | None

    def to_body(self) -> bytes:
        """Return the request body for Gradio."""
        body = {"data": self.data, "event_data": self.event, "fn_index": self.function, "trigger_id": self.trigger}
        return json.dumps(body | {"session_hash": self.session}).encode()


def read_call(body: bytes, inputs: Mapping[int, int], examples: Collection[str]) -> Call:
    """Parse and check a call from a browser.

    inputs: number of inputs of each function.  examples: names of files that may be selected.  Error: RequestInvalid.
    """
    given = _parsed(body)
    if not isinstance(given, dict) or not given.keys() <= _KEYS:
        raise _invalid("its fields are not those that the page sends")
    function, trigger = given.get("fn_index"), given.get("trigger_id")
    if type(function) is not int or function not in inputs:
        raise _invalid("it names no function of the page")
    if trigger is not None and not (type(trigger) is int and 0 <= trigger < _MAX_NUMBER):
        raise _invalid("its trigger is not a number")
    data = given.get("data")
    if not isinstance(data, list) or len(data) != inputs[function] or not all(each is None or _is_text(each) for each in data):
        raise _invalid("its data are not the texts that the function expects")
    session, event = read_session(given.get("session_hash")), _event(given.get("event_data"), examples)
    return Call(function, session, tuple(data), event, trigger)


def read_session(session: object) -> str:
    """Return the checked name of a window's session.  Error: RequestInvalid."""
    if not isinstance(session, str) or not _SESSION.fullmatch(session):
        raise _invalid("its session has no valid name")
    return session


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _invalid("it is not JSON") from None


def _no_number(constant: str) -> None:
    raise ValueError(constant)


def _event(given: object, examples: Collection[str]) -> Mapping[str, Any] | None:
    """Return what was selected, only by its index; or what was drawn, as for `Actions.apply`."""
    if given is None:
        return None
    if isinstance(given, dict) and "index" in given:
        _check_chosen(given, examples)
        return {"index": given["index"], "value": None}
    if isinstance(given, dict) and "kind" in given:
        _check_plain(given)
        return given
    raise _invalid("its event is neither a selection nor a drawing")


def _check_chosen(given: Mapping[str, Any], examples: Collection[str]) -> None:
    """Check a selection: an index, and a text or one of the examples as its value."""
    index, value = given["index"], given.get("value")
    numbers = index if isinstance(index, list) and len(index) == 2 else [index]
    if not all(type(each) in (int, float) and abs(each) <= _MAX_NUMBER for each in numbers):
        raise _invalid("its index is neither a number nor a point")
    image = value.get("image") if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(image, dict):
        name, address = image.get("path"), image.get("url", "")
        known = name in examples if isinstance(name, str) else False
        if not known or not isinstance(address, str) or not address.endswith(f"/gradio_api/file={name}"):
            raise _invalid("it names a file that was not sent to the page")
        value = value | {"image": None}
    _check_plain(value)


def _check_plain(value: object, depth: int = 0) -> None:
    """Check that a value consists of numbers, texts, lists and mappings, and that no mapping names a file."""
    if depth > _MAX_DEPTH:
        raise _invalid("it is nested too deeply")
    if isinstance(value, dict):
        if value.keys() & _FILE:
            raise _invalid("it names a file that was not sent to the page")
        for key, each in value.items():
            _check_plain(key, depth + 1)
            _check_plain(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _check_plain(each, depth + 1)
    elif isinstance(value, str):
        if not _is_text(value):
            raise _invalid("a text in it is not valid Unicode")
    elif isinstance(value, int | float) and abs(value) > _MAX_NUMBER:
        raise _invalid("a number in it is too large")


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _invalid(problem: str) -> RequestInvalid:
    return RequestInvalid(f"the page cannot use this request: {problem}", do=_DO)
