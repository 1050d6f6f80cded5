"""A real server in a process of its own, and one inside the test for what must be arranged."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from roi_agent.server.load_shedding import shedding_protocol
from tests import forking
from tests.forking import Forked

ROOT = Path(__file__).parent.parent


@dataclass
class Serving:
    """A running server."""

    process: Forked
    address: str = ""

    @property
    def lines(self) -> list[str]:
        """Of its standard error so far."""
        return self.process.errors

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(*options: str, port: int = 0, key: str | None = None, command: str = "serve") -> Iterator[Serving]:
    """`roi-agent serve`, or another command that serves, with the nano models."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"ROI_AGENT_API_KEY": key} if key else {})
    running = Serving(forking.command(command, "--port", str(port), *options, environment=environment))
    try:
        while not running.address:
            assert running.process.poll() is None, "".join(running.lines)
            time.sleep(0.01)
            running.address = next((line.split()[-1] for line in running.lines if "serves" in line), "")
        yield running
    finally:
        running.stop(signal.SIGKILL)


@contextmanager
def inside(app: FastAPI) -> Iterator[int]:
    """The port of a server in this process, with sockets of its own."""
    config = uvicorn.Config(app, port=free_port(), log_config=None, http=shedding_protocol(app.state.load), ws="none")
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield config.port
    finally:
        server.should_exit = True
        running.join(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
