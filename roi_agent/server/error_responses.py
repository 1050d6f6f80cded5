"""HTTP responses of errors in OpenAI's format: status, code, and whether to retry."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from roi_agent.model.errors import Cancelled, ModelOutputInvalid, RequestInvalid, RoiAgentError, UserError
from roi_agent.wire.regions import ErrorResponse, WireError

_log = logging.getLogger(__name__)
_STATUS = {
    "unauthorised": 401,
    "model_not_found": 404,
    "unknown_image": 404,
    "request_too_large": 413,
    "image_too_large": 413,
    "queue_full": 429,
    "cancelled": 499,
    "out_of_memory": 503,
    "deadline_exceeded": 504,
}
_RETRYABLE = {"queue_full", "out_of_memory"}  # unlike a passed deadline or a failed model
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}

# For the schema of every route.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 401, 404, 413, 429, 499, 500, 503, 504)
}


def error_response(error: RoiAgentError, *, param: str | None = None, status: int | None = None) -> JSONResponse:
    """Build the HTTP response of a coded error.  status: default: that of its code."""
    status = status or _STATUS.get(error.code, 400 if isinstance(error, UserError) else 500)
    headers = {"retry-after": "1"} if error.code in _RETRYABLE else {}
    if status >= 500 and error.code not in _RETRYABLE:
        headers["x-should-retry"] = "false"  # or OpenAI's clients would retry
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error_body(error, status=status, param=param).model_dump(), status, headers)


def error_body(error: RoiAgentError, *, status: int = 500, param: str | None = None) -> ErrorResponse:
    """Build the body of an error response or of the last event of a stream."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    message = "; ".join(filter(None, (error.problem, error.do)))
    return ErrorResponse(
        error=WireError(message=message, type=kind, param=param, code=error.code, problem=error.problem, do=error.do)
    )


@contextmanager
def checked_model_output() -> Iterator[None]:
    """Report validation errors of an answer as an error of the model, possibly the user's own.  Error: ModelOutputInvalid."""
    try:
        yield
    except ValidationError as error:
        fault = error.errors()[0]
        problem = f"the model's answer cannot be serialized: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise ModelOutputInvalid(problem, do="check what the model returns") from None


def install(app: FastAPI) -> None:
    """Install the handlers for all errors of routes."""
    app.add_exception_handler(RoiAgentError, _coded_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    app.add_exception_handler(Exception, _internal_error)


async def _coded_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RoiAgentError)
    return error_response(error)


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Report the first error only, without the value, which may be an image."""
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        reason = fault["msg"].removeprefix("Invalid JSON: ")
        halved = "surrogate" in reason or "hex escape" in reason
        do = "send texts that are valid Unicode" if halved else "write it with a JSON library"
        return error_response(RequestInvalid(f"the body is not valid JSON: {reason}", do=do))
    field = ".".join(str(part) for part in fault["loc"][1:] if not str(part).startswith("["))[:200]
    problem = f"{field or 'the body'}: {fault['msg']}"
    return error_response(RequestInvalid(problem, do="the fields of every route are described at /docs"), param=field or None)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    fault = WireError(
        message=str(error.detail),
        type="invalid_request_error",
        code={404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(error.status_code, "request_invalid"),
        problem=str(error.detail),
        do="the routes are described at /docs",
    )
    return JSONResponse(ErrorResponse(error=fault).model_dump(), error.status_code, error.headers)


async def _client_disconnected(request: Request, error: Exception) -> JSONResponse:
    """Return a response for the log only."""
    return error_response(Cancelled("the client disconnected"))


async def _internal_error(request: Request, error: Exception) -> JSONResponse:
    _log.error("a fault of the server", exc_info=error)
    fault = WireError(
        message="the server failed to process this request",
        type="server_error",
        code="internal_error",
        problem="the server failed to process this request",
        do="report it with the request's id",
    )
    return JSONResponse(ErrorResponse(error=fault).model_dump(), 500)
