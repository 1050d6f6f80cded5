"""No image and no box kills a process, or is answered by anything but an answer or a coded error."""

import subprocess
import sys

import pytest

from tests.serving import ROOT


@pytest.mark.parametrize(
    ("what", "cases"),
    [
        ("images", 200),
        ("boxes", 60),
        pytest.param("images", 1000, marks=pytest.mark.sweep),
        pytest.param("boxes", 300, marks=pytest.mark.sweep),
    ],
)
def test_a_process_survives_whatever_strangers_send(what: str, cases: int) -> None:
    command = [sys.executable, "-m", "tests.fuzzing", what, str(cases)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"tried {cases} {what}" in ended.stdout
