"""What is saved by looking for phrases together, by encoding an image once, and by asking about regions together."""

from collections.abc import Callable
from itertools import cycle

from roi_agent import Workspace, load_detector, load_region_model, load_segmenter
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.tools.ask import ask, ask_each
from roi_agent.tools.detect import detect
from roi_agent.tools.segment import segment, segment_everything
from tests.benchmarks.conftest import Table, abba, timed

ROUNDS = 9
REGIONS = 30


def workspace(seed: int) -> Workspace:
    """One scene and thirty boxes in it."""
    scene, made = render(make_scene(seed), 384), Workspace()
    made.add_image(scene.image)
    boxes = [[x1 + shift, y1, x2 + shift, y2] for shift in range(REGIONS) for x1, y1, x2, y2 in scene.boxes]
    made.add_regions([box for box in boxes if box[2] <= 384][:REGIONS], source="bench")
    return made


def in_turn(work: Callable[[Workspace], object]) -> Callable[[], object]:
    """The work on one scene after the other; no two turns in a row are about the same image."""
    spaces = cycle([workspace(seed) for seed in range(ROUNDS + 1)])
    return lambda: work(next(spaces))


def test_phrases_together_and_one_by_one(table: Table) -> None:
    detector = load_detector("nano")
    names = [f"{colour} {kind}" for colour in ("red", "blue") for kind in ("star", "flag", "cup", "key", "bell")]

    def one_by_one(space: Workspace) -> None:
        for name in names:
            detect(space, [name], detector=detector)

    times = abba(in_turn(one_by_one), in_turn(lambda space: detect(space, names, detector=detector)), ROUNDS)
    table.compare("nano detector: ten phrases", ("one by one", "together"), times)


def test_a_point_in_a_new_image_and_in_the_same(table: Table) -> None:
    segmenter = load_segmenter("nano")
    spaces = cycle([workspace(seed) for seed in range(ROUNDS + 1)])
    held = [workspace(ROUNDS + 1)]

    def new() -> None:
        held[0] = next(spaces)
        segment(held[0], segmenter=segmenter, points=[(200, 200)])

    new()
    times = abba(new, lambda: segment(held[0], segmenter=segmenter, points=[(150, 250)]), ROUNDS)
    table.compare("nano segmenter: a point", ("new image", "the same image"), times)


def test_masks_of_thirty_boxes_and_of_everything(table: Table) -> None:
    segmenter = load_segmenter("nano")

    def boxes(space: Workspace, count: int) -> list[str]:
        return [region.name for region in space.regions()[:count]]

    def one_by_one(space: Workspace) -> None:
        for name in boxes(space, REGIONS):
            segment(space, segmenter=segmenter, regions=[name])

    together = in_turn(lambda space: segment(space, segmenter=segmenter, regions=boxes(space, REGIONS)))
    table.compare("nano segmenter: thirty boxes", ("one by one", "together"), abba(in_turn(one_by_one), together, ROUNDS))
    table.time(
        "nano segmenter: everything in an image", timed(in_turn(lambda space: segment_everything(space, segmenter=segmenter)), 5)
    )


def test_one_question_about_thirty_regions(table: Table) -> None:
    model = load_region_model("nano")

    def one_by_one(space: Workspace) -> None:
        for region in space.regions()[:REGIONS]:
            ask(space, f"What is <{region.name}>?", model=model)

    times = abba(in_turn(one_by_one), in_turn(lambda space: ask_each(space, "What is <region>?", model=model)), ROUNDS)
    table.compare("nano: one question about each of thirty regions", ("one by one", "together"), times)
