"""How long a question takes as users ask it: about a new image, and again about the same one."""

import time

from roi_agent import load_region_model
from roi_agent.model.toy.world.scenes import make_scene, render
from tests.benchmarks.conftest import Table

ROUNDS = 20


def test_a_question_about_a_new_image_and_a_second_one(table: Table) -> None:
    model = load_region_model("nano")
    times: tuple[list[float], list[float]] = ([], [])
    for seed in range(ROUNDS + 1):
        scene = render(make_scene(seed))
        for which, question in enumerate(("What is <region1>?", "Is <region1> left of <region2>?")):
            start = time.perf_counter()
            answer = model.ask(scene.image, question, regions=scene.boxes[:2])
            if seed:  # the first image also pays for what Python loads at first use
                times[which].append(time.perf_counter() - start)
            assert answer.timing.image_cached == (which == 1)
    table.compare("nano: a question, the picture read and all", ("new image", "a second one about it"), times)
