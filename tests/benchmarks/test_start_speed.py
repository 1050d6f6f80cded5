"""How long a first visit waits, each time in a new process: for help, and for nano's first answer."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.conftest import Table

ROOT = Path(__file__).parent.parent.parent
ASK = ("ask", "examples/scene1.png", "What is <region1>?", "--box", "123,194,303,377")


def test_help_and_the_first_answer_of_a_new_process(table: Table) -> None:
    helped = [_run("--help") for _ in range(5)]
    answered = [_run(*ASK) for _ in range(5)]
    assert {first for first, _, _ in answered} == {"a large orange umbrella\n"}
    table.time("start: roi-agent --help", [whole for _, _, whole in helped], "<= 500 ms")
    table.time("start: roi-agent ask, until nano's first answer is seen", [seen for _, seen, _ in answered], "<= 6000 ms")
    table.time("start: roi-agent ask, until the prompt is back", [whole for _, _, whole in answered])


def _run(*arguments: str) -> tuple[str, float, float]:
    """The first line of a command's output, the seconds until it came, and those until the process had ended."""
    begun, environment = time.monotonic(), {**os.environ, "PYTHONPATH": str(ROOT)}
    called = [sys.executable, "-m", "roi_agent.cli", *arguments]
    with subprocess.Popen(called, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        first, seen = process.stdout.readline(), time.monotonic() - begun
        process.stdout.read()
    assert process.returncode == 0
    return first, seen, time.monotonic() - begun
