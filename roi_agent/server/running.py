"""The server loop of this process; at shutdown, requests in progress are answered first."""

import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from roi_agent.model.errors import InvalidSetting
from roi_agent.server.load_shedding import shedding_protocol
from roi_agent.settings import ServerSettings

_BACKLOG = 2048


def serve(app: FastAPI, settings: ServerSettings, listening: socket.socket, *, started: Callable[[str], object]) -> None:
    """Serve until SIGTERM, or until Ctrl-C, which raises KeyboardInterrupt.

    listening: from `listen`.  started: called with the address once the server is up.  Error: InvalidSetting.
    """
    with _address_errors(listening, settings):  # another process may have taken the address while neither listened
        listening.listen(_BACKLOG)
    _configure_logging()
    gc.collect()
    gc.freeze()  # scanning the models and modules again and again would take a quarter of all time
    gc.set_threshold(20_000, 20, 20)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.drain_s),
        timeout_keep_alive=75,
        backlog=_BACKLOG,
        http=shedding_protocol(app.state.load),
        ws="none",  # not supported, and it would bypass the gate
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn stops at it and then raises it again, for a nonzero exit status
    try:
        _Server(config, lambda: started(f"http://{host}:{listening.getsockname()[1]}")).run(sockets=[listening])
    finally:
        gc.unfreeze()  # or libraries warn about leaked objects at exit


class _Server(uvicorn.Server):
    """started: called once the server accepts requests."""

    def __init__(self, config: uvicorn.Config, started: Callable[[], object]) -> None:
        super().__init__(config)
        self._report_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._report_started()


def listen(settings: ServerSettings) -> socket.socket:
    """Bind the address before models are loaded, which may take minutes; `serve` starts to listen.  Error: InvalidSetting."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With an explicit protocol, since asyncio otherwise does not set TCP_NODELAY: 40 ms per small response.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _address_errors(listening, settings):
        listening.bind((settings.host, settings.port))
    return listening


@contextmanager
def _address_errors(listening: socket.socket, settings: ServerSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        listening.close()
        problem = f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
        raise InvalidSetting(problem, do="use another --port, or 0 for any") from None


def _configure_logging() -> None:
    """Log requests as JSON lines, and warnings and errors, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("roi_agent").setLevel(logging.INFO)
