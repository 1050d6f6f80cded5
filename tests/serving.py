"""A real server in a process of its own, and one inside the test for what must be arranged."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).parent.parent


@dataclass
class Serving:
    """A running server.  lines: of its standard error so far."""

    process: subprocess.Popen[str]
    address: str
    lines: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def serving(*options: str, port: int = 0, key: str | None = None) -> Iterator[Serving]:
    """`roi-agent serve` with the nano models."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} | ({"ROI_AGENT_API_KEY": key} if key else {})
    command = [sys.executable, "-c", "from roi_agent.cli import main; main()", "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
    running = Serving(process, "")
    assert process.stderr is not None
    for line in process.stderr:
        running.lines.append(line)
        if "serves" in line:
            running.address = line.split()[-1]
            break
    assert running.address, "".join(running.lines)
    reader = Thread(target=lambda: running.lines.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        yield running
    finally:
        running.stop(signal.SIGKILL)
        reader.join(10)
        process.stderr.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
