"""No image and no box kills a process, or is answered by anything but an answer or a coded error."""

import subprocess
import sys

import pytest

from tests.serving import ROOT


@pytest.mark.parametrize(("images", "boxes"), [(200, 60), pytest.param(1000, 300, marks=pytest.mark.sweep)])
def test_a_process_survives_whatever_strangers_send(images: int, boxes: int) -> None:
    command = [sys.executable, "-m", "tests.fuzzing", "images", str(images), "boxes", str(boxes)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout == f"tried {images} images\ntried {boxes} boxes\n"
