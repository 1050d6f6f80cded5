"""How long finding and asking take, and what is saved by encoding an image once and asking together.  Run: make bench"""

import statistics
import time
from collections.abc import Callable

from roi_agent import Workspace, load_detector, load_region_model, load_segmenter
from roi_agent.model.data.scenes import make_scene, render
from roi_agent.tools.ask import ask, ask_each
from roi_agent.tools.detect import detect
from roi_agent.tools.segment import segment, segment_everything

_ROUNDS = 9
_REGIONS = 30


def _workspace(seed: int) -> Workspace:
    """One scene and thirty boxes in it."""
    scene, workspace = render(make_scene(seed), 384), Workspace()
    workspace.add_image(scene.image)
    boxes = [[x1 + shift, y1, x2 + shift, y2] for shift in range(_REGIONS) for x1, y1, x2, y2 in scene.boxes]
    workspace.add_regions([box for box in boxes if box[2] <= 384][:_REGIONS], source="bench")
    return workspace


def _report(name: str, runs: dict[str, Callable[[int], object]]) -> None:
    """Time the ways side by side, round by round; the first round, which pays for what is loaded at first use, is left out."""
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for index in range(_ROUNDS + 1):
        for way, run in runs.items():
            start = time.perf_counter()
            run(index)
            seconds[way].append(time.perf_counter() - start)
    print(f"\n{name}")
    for way, taken in seconds.items():
        print(f"  {way:<42} median {1000 * statistics.median(taken[1:]):8.1f} ms")


def test_words() -> None:
    detector = load_detector("nano")
    names = [f"{colour} {kind}" for colour in ("red", "blue") for kind in ("star", "flag", "cup", "key", "bell")]
    spaces = [_workspace(seed) for seed in range(_ROUNDS + 1)]
    _report(
        "by words",
        {
            "one phrase": lambda i: detect(spaces[i], "red star .", detector=detector),
            "ten phrases together": lambda i: detect(spaces[i], names, detector=detector),
            "ten phrases one by one": lambda i: [detect(spaces[i], [name], detector=detector) for name in names],
        },
    )


def test_pointing() -> None:
    segmenter = load_segmenter("nano")
    spaces = [_workspace(seed) for seed in range(_ROUNDS + 1)]
    _report(
        "by pointing",
        {
            "a point in a new image": lambda i: segment(spaces[i], segmenter=segmenter, points=[(200, 200)]),
            "a point in the same image": lambda i: segment(spaces[i], segmenter=segmenter, points=[(150, 250)]),
            "thirty boxes": lambda i: segment(
                spaces[i], segmenter=segmenter, regions=[region.name for region in spaces[i].regions()[:_REGIONS]]
            ),
            "everything": lambda i: segment_everything(spaces[i], segmenter=segmenter),
        },
    )


def test_asking_about_thirty_regions() -> None:
    model = load_region_model("nano")
    spaces = [_workspace(seed) for seed in range(_ROUNDS + 1)]
    _report(
        "thirty regions",
        {
            "in one batch": lambda i: ask_each(spaces[i], "What is <region>?", model=model),
            "one by one": lambda i: [ask(spaces[i], f"What is <{region.name}>?", model=model) for region in spaces[i].regions()],
        },
    )
