"""JSON bodies, validated from bytes: bounded, and off the event loop if they are long.

Pydantic's JSON parser rejects lone surrogates, which Python's would accept and no response could repeat.
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

_INLINE_BYTES = 64 << 10  # bytes that are parsed within a few milliseconds
_T = TypeVar("_T")


class JsonRoute(APIRoute):
    """A route whose body is parsed by `read_json`; FastAPI gets the parsed value."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler
        kind: TypeAdapter[Any] = TypeAdapter(self.body_field.field_info.annotation or Any)

        async def read(request: Request) -> Response:
            if not is_json(request):
                raise RequestInvalid("the body is not declared as JSON", do="send it with Content-Type: application/json")
            parsed = _ParsedRequest(request.scope, request.receive)
            parsed.value = await read_json(kind, await parsed.body())
            return await handler(parsed)

        return read


class _ParsedRequest(Request):
    """A request whose JSON has been parsed.  value: the result."""

    value: Any

    async def json(self) -> Any:
        return self.value


def is_json(request: Request) -> bool:
    """Whether the content type is JSON, which foreign pages cannot send unless CORS allows them."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and (kind == "application/json" or kind.endswith("+json"))


async def read_json(kind: TypeAdapter[_T], content: bytes) -> _T:
    """Parse and validate JSON.  Errors: RequestTooLarge, RequestValidationError."""
    return _read(kind, content) if len(content) <= _INLINE_BYTES else await asyncio.to_thread(_read, kind, content)


def _read(kind: TypeAdapter[_T], content: bytes) -> _T:
    check_values(content)
    try:
        return kind.validate_json(content)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in faults]) from None
