"""How long a first visit waits, each time in a new process: for help, and for nano's first answer."""

import os
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.conftest import Table, timed

ROOT = Path(__file__).parent.parent.parent
UMBRELLA = "123,194,303,377"


def test_help_and_the_first_answer_of_a_new_process(table: Table) -> None:
    def command(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        called = [sys.executable, "-m", "roi_agent.cli", *arguments]
        return subprocess.run(called, capture_output=True, text=True, check=True, env=environment, cwd=ROOT).stdout

    table.time("start: roi-agent --help", timed(lambda: command("--help"), 5), "<= 500 ms")
    question = ("ask", "examples/scene1.png", "What is <region1>?", "--box", UMBRELLA)
    assert command(*question) == "a large orange umbrella\n"
    table.time("start: roi-agent ask, nano's first answer", timed(lambda: command(*question), 3), "<= 6000 ms")
