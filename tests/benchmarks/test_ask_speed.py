"""How long a question takes: on a new image, and again on the same one.  Run: make bench"""

import statistics
import time

from roi_agent import load_region_model
from roi_agent.model.data.scenes import make_scene, render

_ROUNDS = 20


def test_a_question_cold_and_again() -> None:
    model = load_region_model("nano")
    scenes = [render(make_scene(seed)) for seed in range(_ROUNDS + 1)]
    times: dict[str, list[float]] = {"cold": [], "second": []}
    for index, scene in enumerate(scenes):
        for name, question in (("cold", "What is <region1>?"), ("second", "Is <region1> left of <region2>?")):
            start = time.perf_counter()
            answer = model.ask(scene.image, question, regions=scene.boxes[:2])
            if index:  # the first image also pays for what Python loads at first use
                times[name].append(time.perf_counter() - start)
            assert answer.timing.image_cached == (name == "second")
    print()
    for name, seconds in times.items():
        print(f"{name:>7}: median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s of {len(seconds)}")
