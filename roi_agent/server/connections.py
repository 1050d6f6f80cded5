"""Limits of a connection before a request reaches the application: size of headers, and time for headers and bodies.

The parser has no limits of its own. It keeps headers of any length, in quadratic time.
"""

import time
from asyncio import TimerHandle, Transport

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from roi_agent.model.errors import RequestInvalid, RequestTooLarge, RoiAgentError
from roi_agent.server import error_responses
from roi_agent.server.load import Load

MAX_HEAD_BYTES = 64 << 10
MIN_BYTES_PER_S = 16 << 10  # minimum rate of a body after its first seconds
_LINGER_S = 2.0  # for a rejected client to read the response while it is still sending


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with limits.

    load: of the server; set by a subclass.
    """

    load: Load

    _reading = False  # in the middle of a request
    _in_headers = False  # in the middle of its headers
    _refused = False
    _close_after_response = False  # requested by the client
    _no_body = 0  # bytes since the last ones of a body, or the start or end of a request
    _progress = False
    _arrived = 0  # received bytes of the body
    _since, _allowed_s = 0.0, 0.0
    _timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer(self.load.settings.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._progress = False
        super().data_received(data)
        self._no_body = 0 if self._progress else self._no_body + len(data)
        if self._no_body > MAX_HEAD_BYTES:
            self._refuse(_headers_too_large(), 431)
        elif self._timer is None and self._idle and not self.timeout_keep_alive_task:
            self._start_timer(self.load.settings.head_s)  # empty lines before a request do not start it

    def send_400_response(self, msg: str) -> None:
        """Respond to a request that the parser rejects; called by uvicorn."""
        if self._too_long:
            self._refuse(_headers_too_large(), 431)
        else:
            self._refuse(RequestInvalid("the request is not valid HTTP", do="send HTTP/1.1, without TLS"), 400)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing about WebSocket upgrades, which are not supported: any client could fill the log."""

    @property
    def _idle(self) -> bool:
        return not self._reading and not self._refused and (self.cycle is None or self.cycle.response_complete)

    # ------------------------------------------------------------ from the parser

    def on_message_begin(self) -> None:
        self._reading = self._in_headers = self._progress = True
        self._arrived = 0
        self._start_timer(self.load.settings.head_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # ignore trailers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._too_long:
            raise ValueError("the headers are too long")  # stops the parser; uvicorn then sends the response of a bad request
        self._in_headers = False
        self._start_timer(self.load.settings.body_s)
        super().on_headers_complete()
        if not self.cycle.keep_alive:  # uvicorn would close while the client is sending, which then could not read the response
            self._close_after_response = self.cycle.keep_alive = True

    def on_body(self, body: bytes) -> None:
        self._progress = True
        self._arrived += len(body)
        if self.cycle.response_complete and self._arrived > 2 * self.load.settings.max_body_bytes:
            self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading, self._progress = False, True
        self._stop_timer()
        super().on_message_complete()
        self._close_after_the_last()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._close_after_the_last()

    def _close_after_the_last(self) -> None:
        if self._close_after_response and self._idle and not self.pipeline:
            self.transport.close()

    @property
    def _too_long(self) -> bool:
        """Whether the headers received so far are too long, even if they arrived together with other data."""
        return self._in_headers and len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > MAX_HEAD_BYTES

    # ------------------------------------------------------------ time

    def _start_timer(self, seconds: float) -> None:
        """Start the client's deadline, which is extended as its body arrives."""
        self._stop_timer()
        self._since, self._allowed_s = time.monotonic(), seconds
        self._timer = self.loop.call_later(seconds, self._check_time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_time(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # the server itself is not reading
            self._start_timer(self._allowed_s)
            return
        left = self._since + self._allowed_s + self._arrived / MIN_BYTES_PER_S - time.monotonic()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_time)
        elif self._reading:
            part = "headers" if self._in_headers else "body"
            problem = f"the request's {part} did not arrive within {self._allowed_s:g} seconds"
            self._refuse(RequestInvalid(problem, do="send it without pauses"), 408)
        else:
            self.transport.close()

    # ------------------------------------------------------------ refusing

    def _refuse(self, error: RoiAgentError, status: int) -> None:
        """Respond, unless a response has started, and close; further data is dropped so that the client can read the response."""
        self._refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.load.count_refused(status)
        answering = self.cycle is not None and not self.cycle.response_complete
        answered = self._reading and not self._in_headers and self.cycle.response_started
        if answered or (answering and self._in_headers):
            self.transport.close()
            return
        if answering:
            self.cycle.disconnected = True  # the application, which is waiting for the body, sends nothing more
            self.cycle.message_event.set()
        self.flow.resume_reading()
        response = error_responses.error_response(error, status=status)
        response.headers["connection"] = "close"
        self.transport.write(as_bytes(response))
        self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.close)


def as_bytes(response: Response) -> bytes:
    """Serialize a complete response."""
    lines = [b"%s: %s" % header for header in response.raw_headers]
    return STATUS_LINE[response.status_code] + b"\r\n".join([*lines, b"", bytes(response.body)])


def _headers_too_large() -> RequestTooLarge:
    return RequestTooLarge(f"the headers have more than {MAX_HEAD_BYTES} bytes", do="send shorter headers")
