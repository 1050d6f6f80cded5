"""Images and boxes that strangers might send, by chance.  In a process of its own: what crashes must not take the suite along.

`python -m tests.fuzzing images 300 boxes 50` tries so many of each, and exits with 0 if each was taken or refused with a code.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from PIL import Image

from roi_agent import load_region_model
from roi_agent.model.errors import RoiAgentError
from roi_agent.model.images.loading import load_image
from tests.pictures import EVERY_FORMAT

MOST_MB = 1500  # of memory: the models and a picture take less than half
_EDGES = [
    0,
    -0.0,
    1,
    63.999,
    64,
    64.0001,
    5e-324,
    1e-45,
    1e38,
    3.5e38,
    1e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    2**53,
    10**400,
]
NUMBER = st.sampled_from(_EDGES) | st.floats() | st.integers() | st.floats(0, 64)
JUNK = st.none() | st.booleans() | st.text(max_size=8) | st.binary(max_size=8) | st.lists(st.none() | st.floats(), max_size=5)
BOX = st.lists(NUMBER, min_size=4, max_size=4) | st.lists(NUMBER | JUNK, max_size=6) | JUNK
REGION = BOX | st.dictionaries(st.sampled_from(["box", "mask", "name", "format", "unit", "score", "label"]), BOX | JUNK)


def images(cases: int) -> None:
    """Real files of every format with bytes changed, cut out, doubled or put in from another file."""

    @tried(cases)
    @given(st.data())
    def attempt(data: DataObject) -> None:
        content = bytearray(data.draw(st.sampled_from(EVERY_FORMAT)))
        for _ in range(data.draw(st.integers(1, 6))):
            start, length = data.draw(places(len(content))), data.draw(st.sampled_from([1, 2, 4, 16, 256]))
            change = data.draw(st.sampled_from(["set", "cut", "double", "splice", "end"]))
            if change == "set":
                content[start : start + length] = data.draw(st.binary(min_size=length, max_size=length))
            elif change == "cut":
                del content[start : start + length]
            elif change == "double":
                content[start:start] = content[start : start + length]
            elif change == "splice":
                other = data.draw(st.sampled_from(EVERY_FORMAT))
                content[start : start + length] = other[start : start + length]
            else:
                del content[start + 1 :]
        survives(lambda: load_image(bytes(content)))

    attempt()


def boxes(cases: int) -> None:
    """Whatever JSON or Python can put where a box belongs, through the whole model."""
    model, image = load_region_model("nano"), load_image(Image.new("RGB", (64, 64), "grey"))

    @tried(cases)
    @given(st.lists(REGION, max_size=3))
    def attempt(regions: list[object]) -> None:
        survives(lambda: model.ask(image, "What is here?", regions, max_new_tokens=1))

    attempt()


def places(size: int) -> SearchStrategy[int]:
    """Headers are where it hurts."""
    return st.integers(0, min(64, max(0, size - 1))) | st.integers(0, max(0, size - 1))


def tried(cases: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    return settings(
        max_examples=cases,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def survives(work: Callable[[], object]) -> None:
    """Taken, or refused with a code and a word on what to do; anything else is raised."""
    try:
        work()
    except RoiAgentError as error:
        assert error.code and error.problem


if __name__ == "__main__":
    tries = list(zip(sys.argv[1::2], map(int, sys.argv[2::2]), strict=True))
    for what, count in tries:
        {"images": images, "boxes": boxes}[what](count)
    # Not getrusage: its figure begins with that of the process that started this one.
    used = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
    assert used < MOST_MB, f"{used} MB"
    for what, count in tries:
        print(f"tried {count} {what}")
