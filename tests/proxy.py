"""A small proxy, such as people put in front of a server."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

_BETWEEN_TWO = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


class _Handler(BaseHTTPRequestHandler):
    """What `proxy` says of each option."""

    to: str
    keeps_host: bool
    forwards: bool
    under: str
    strips: bool

    def do_GET(self) -> None:
        if not self.path.startswith(self.under):
            self.send_error(404)
            return
        behind = urlsplit(self.to)
        asked = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=120)
        asked.putrequest(self.command, self._path(), skip_host=True, skip_accept_encoding=True)
        for name, value in self._headers(behind.netloc):
            asked.putheader(name, value)
        length = int(self.headers.get("content-length", "0"))
        asked.putheader("content-length", str(length))
        asked.endheaders(self.rfile.read(length))
        answer = asked.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _BETWEEN_TWO:
                self.send_header(name, value)
        self.end_headers()
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
        except OSError:
            pass  # the browser has left
        finally:
            asked.close()

    do_POST = do_HEAD = do_GET

    def _path(self) -> str:
        return (self.path[len(self.under) :] or "/") if self.strips else self.path

    def _headers(self, host: str) -> Iterator[tuple[str, str]]:
        for name, value in self.headers.items():
            if name.lower() not in _BETWEEN_TWO:
                yield name, value
        yield "host", self.headers["host"] if self.keeps_host else host
        if self.forwards:
            yield from (("x-forwarded-host", self.headers["host"]), ("x-forwarded-proto", "http"))
            yield "x-forwarded-for", self.client_address[0]

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy(to: str, *, keeps_host: bool, forwards: bool, path: str = "", strips: bool = True) -> Iterator[int]:
    """The port of a proxy in front of a server.

    keeps_host: passes on the visitor's Host.  forwards: adds X-Forwarded-Host, -Proto and -For.
    path: under which it serves, without which the server sees a request if it strips it.
    """
    options = {"to": to, "keeps_host": keeps_host, "forwards": forwards, "under": path, "strips": strips}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), options))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
