"""A real server in a process of its own, and one inside the test for what must be arranged."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from roi_agent.server.load_shedding import shedding_protocol
from tests.forking import Forked

ROOT = Path(__file__).parent.parent


@dataclass
class Serving:
    """A running server.  lines: of its standard error so far."""

    process: Forked
    address: str
    lines: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(*options: str, port: int = 0, key: str | None = None, command: str = "serve") -> Iterator[Serving]:
    """`roi-agent serve`, or another command that serves, with the nano models."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"ROI_AGENT_API_KEY": key} if key else {})
    process = Forked([command, "--port", str(port), *options], environment=environment, folder=ROOT)
    running = Serving(process, "")
    for line in process.stderr:
        running.lines.append(line)
        if "serves" in line:
            running.address = line.split()[-1]
            break
    assert running.address, "".join(running.lines)
    reader = threading.Thread(target=lambda: running.lines.extend(process.stderr), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        running.stop(signal.SIGKILL)
        reader.join(10)
        process.stderr.close()


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
