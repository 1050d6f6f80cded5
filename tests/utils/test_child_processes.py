"""Processes that a process starts: Ctrl-C of the terminal leaves them alone, and they end with the one that started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interrupting import ENVIRONMENT, in_group

pytestmark = pytest.mark.usefixtures("heard")

PROGRAM = """
import time
from multiprocessing import get_context
from pathlib import Path
from roi_agent.model.utils.child_processes import children_ignoring_interrupts, end_with_parent

if __name__ != "__main__":
    Path("importing").touch()
    time.sleep(0.5)  # as modules that take long to load: nothing here has yet been able to say what Ctrl-C does

def work():
    end_with_parent()
    Path("working").touch()
    time.sleep(60)

if __name__ == "__main__":
    with children_ignoring_interrupts():
        child = get_context("spawn").Process(target=work)
        child.start()
        try:
            while child.is_alive():
                time.sleep(0.05)
        except KeyboardInterrupt:
            time.sleep(0.2)
            print("alive" if child.is_alive() else "dead", flush=True)
            raise SystemExit(130)
        finally:
            child.terminate()
            child.join()
"""


def started(folder: Path) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, "program.py"], cwd=folder, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("moment", ["importing", "working"])
def test_ctrl_c_reaches_the_first_process_alone(tmp_path: Path, moment: str) -> None:
    process = started(tmp_path)
    wait_for((tmp_path / moment).exists)
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said, errors) == (130, "alive\n", "")
    wait_for(lambda: not in_group(process.pid))


def test_a_process_ends_with_the_one_that_was_killed(tmp_path: Path) -> None:
    process = started(tmp_path)
    wait_for((tmp_path / "working").exists)
    process.kill()
    assert process.communicate(timeout=60) == ("", "")  # the child held the streams, too
    wait_for(lambda: not in_group(process.pid))
