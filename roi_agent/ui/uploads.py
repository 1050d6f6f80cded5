"""Uploads of visitors, read into memory: nothing is written to disk, where it would outlive the server."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from roi_agent.model.errors import RequestInvalid, RequestTooLarge

_WAIT_S = 30.0  # timeout for the next piece of a body


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read a short body.  Error: RequestInvalid."""
    body = bytearray()
    async for piece in _pieces(request):
        body += piece
        if len(body) > max_bytes:
            raise RequestInvalid(f"the request has more than {max_bytes} bytes", do="reload the page")
    return bytes(body)


async def read_file(request: Request, max_bytes: int, grow: Callable[[int], None]) -> bytes:
    """Read the only file of a form; its name is ignored.

    grow: called with the size so far; it may raise.  Errors: RequestInvalid, RequestTooLarge, and those of `grow`.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestInvalid("the request is not a form", do="send a form with one file")
    parser = MultiPartParser(request.headers, _bounded(request, max_bytes, grow), max_files=1, max_fields=4)
    parser.spool_max_size = max_bytes + 1  # everything stays in memory
    try:
        file = (await parser.parse()).get("files")
        if isinstance(file, UploadFile):
            return await file.read()
    except (MultiPartException, KeyError):
        raise RequestInvalid("the form cannot be read", do="send a form with one file") from None
    finally:
        for each in parser._files_to_close_on_error:  # also those of an incomplete form
            each.close()
    raise RequestInvalid("the form contains no file", do="send a form with one file")


async def _bounded(request: Request, max_bytes: int, grow: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    size = 0
    async for piece in _pieces(request):
        size += len(piece)
        if size > max_bytes:
            raise RequestTooLarge(f"the file has more than {max_bytes} bytes", do="send a smaller one")
        grow(size)
        yield piece


async def _pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a body.  Error: RequestInvalid if it is incomplete."""
    stream = request.stream()
    try:
        while True:
            yield await asyncio.wait_for(anext(stream), _WAIT_S)
    except StopAsyncIteration:
        return
    except (ClientDisconnect, TimeoutError):
        raise RequestInvalid("the request is incomplete", do="send it again") from None
