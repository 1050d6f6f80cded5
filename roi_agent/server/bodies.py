"""Bodies that are JSON, read from their bytes as routes declare them: bounded, and off the event loop where they are long.

The JSON reader of pydantic takes the bytes, and refuses what Python's would let through: half a surrogate pair, which no answer
could repeat.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from roi_agent.model.errors import RequestInvalid
from roi_agent.wire.regions import check_values

_INLINE_BYTES = 64 << 10  # bytes that are read within a few milliseconds
_T = TypeVar("_T")


class JsonRoute(APIRoute):
    """A route whose body is read by `read_json`; FastAPI, which describes it, gets the value that was read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        kind: TypeAdapter[Any] = TypeAdapter(self.body_field.field_info.annotation or Any)

        async def read(request: Request) -> Response:
            if not is_json(request):
                raise RequestInvalid("the body is not declared to be JSON", do="send it with Content-Type: application/json")
            parsed = _ParsedRequest(request.scope, request.receive)
            parsed.value = await read_json(kind, await parsed.body())
            return await handler(parsed)

        return read


class _ParsedRequest(Request):
    """A request whose JSON has been read.  value: what it holds."""

    value: Any

    async def json(self) -> Any:
        return self.value


def is_json(request: Request) -> bool:
    """Whether the client says that its body is JSON. A page of a stranger cannot say so unless it is let in (CORS)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and (kind == "application/json" or kind.endswith("+json"))


async def read_json(kind: TypeAdapter[_T], content: bytes) -> _T:
    """The value that JSON holds.  Errors: RequestTooLarge, RequestValidationError."""
    return _read(kind, content) if len(content) <= _INLINE_BYTES else await asyncio.to_thread(_read, kind, content)


def _read(kind: TypeAdapter[_T], content: bytes) -> _T:
    check_values(content)
    try:
        return kind.validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in faults]) from None
