"""Questions that are turned away where bytes come in, before they are taken for requests.

Under overload this is what a server does most.  In the application each would cost as much as a tenth of an answer, and take
Python's lock from the engine between its steps; here it costs next to nothing.
"""

import re

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from roi_agent.server.crowd import Crowd
from roi_agent.server.gate import QUESTIONS

_QUESTION = re.compile(b"POST (?:%s) HTTP/1\\.1\r\n" % "|".join(map(re.escape, QUESTIONS)).encode())
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def turning_away(crowd: Crowd) -> type[HttpToolsProtocol]:
    """uvicorn's protocol for connections that ask no more while there is a crowd."""
    answer = _as_bytes(crowd.answer)

    class TurningAway(HttpToolsProtocol):
        _reading = False  # a request of which a part has come

        def data_received(self, data: bytes) -> None:
            if self._idle and _is_whole_question(data) and crowd.too_many_questions():
                crowd.turned_away()
                self.transport.write(answer)
                self._unset_keepalive_if_required()  # it is in use
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            else:
                super().data_received(data)

        @property
        def _idle(self) -> bool:
            return not self._reading and (self.cycle is None or self.cycle.response_complete)

        def on_message_begin(self) -> None:
            self._reading = True
            super().on_message_begin()

        def on_message_complete(self) -> None:
            self._reading = False
            super().on_message_complete()

    return TurningAway


def _is_whole_question(data: bytes) -> bool:
    """Whether it is one request to a route that asks the region model; one that comes in parts goes to the application."""
    if _QUESTION.match(data) is None:
        return False
    head, ends, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(ends) and length is not None and int(length[1]) == len(body)


def _as_bytes(response: Response) -> bytes:
    lines = [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join([b"HTTP/1.1 %d Too Many Requests" % response.status_code, *lines, b"", bytes(response.body)])
