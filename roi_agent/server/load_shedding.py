"""Load shedding: under overload, questions are rejected as bytes, before they are parsed as requests.

In the application, each rejection would cost a tenth of an answer and take Python's lock from the engine between its steps. Here
it costs next to nothing.
"""

import re

from roi_agent.server.connections import BoundedProtocol, as_bytes
from roi_agent.server.gate import QUESTION_PATHS
from roi_agent.server.load import Load

_QUESTION = re.compile(b"POST (?:%s) HTTP/1\\.1\r\n" % "|".join(map(re.escape, QUESTION_PATHS)).encode())
_ORIGIN = re.compile(rb"\r\norigin:", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def shedding_protocol(server_load: Load) -> type[BoundedProtocol]:
    """Build the protocol that rejects questions while the server is overloaded."""
    answer = as_bytes(server_load.answer)

    class LoadShedding(BoundedProtocol):
        load = server_load

        def data_received(self, data: bytes) -> None:
            if self._idle and _is_whole_question(data) and server_load.should_shed():
                server_load.count_rejected()
                self._stop_timer()
                self.transport.write(answer)
                self._unset_keepalive_if_required()  # the connection is in use
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
            else:
                super().data_received(data)

    return LoadShedding


def _is_whole_question(data: bytes) -> bool:
    """Whether the bytes are one complete request to the region model; partial ones go to the application."""
    if _QUESTION.match(data) is None:
        return False
    head, ends, body = data.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    from_page = _ORIGIN.search(head) is not None  # pages need the CORS headers of the application
    return bool(ends) and not from_page and length is not None and int(length[1]) == len(body)
