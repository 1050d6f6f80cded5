"""Scenes written as LLaVA-Instruct, VCR and Visual7W, and read back: what is asked and answered is the scenes' truth."""

import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from roi_agent.model.data.english import plural
from roi_agent.model.data.record import Record
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.toy.layouts import LAYOUTS
from roi_agent.model.toy.layouts.vcr import QUESTION_FAMILIES, make_problem
from roi_agent.model.toy.questions.families import COUNTS
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES
from roi_agent.model.toy.world.relations import area, centre
from roi_agent.model.toy.world.scenes import Scene, Thing, make_scene, render
from tests.annotations import read

SIDE = 128
NAMES = ("llava-instruct", "vcr", "visual7w-telling")
SEEDS = [*range(60), *range(1_000_000, 1_000_060)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts")
    for name in NAMES:
        LAYOUTS[name](folder / name, SEEDS, SIDE)
    return folder


def scene_of(record: Record) -> Scene:
    number = re.search(r"(\d{7})@0|v7w_(\d+)|(\d{12})", record.image)
    assert number
    return make_scene(int(next(filter(None, number.groups()))))


def things_of(record: Record) -> dict[str, Thing]:
    """The thing of the scene that lies exactly in each region, by the region's name."""
    drawn = render(scene_of(record), SIDE)
    by_box = {tuple(box): thing for box, thing in zip(drawn.boxes.tolist(), drawn.scene.things, strict=True)}
    return {region.name: by_box[region.box.xyxy] for region in record.regions}


def truth(question: str, things: dict[str, Thing]) -> str:
    """What a question of the VCR layout is answered with, by its words and the scene alone."""
    names = mentioned(question)
    asked = [things[name] for name in names]
    measures = {"left": lambda t: -centre(t)[0], "right": lambda t: centre(t)[0], "top": lambda t: -centre(t)[1]}
    measures |= {"lowest": lambda t: centre(t)[1], "large": area, "small": lambda t: -area(t)}
    if counted := re.search(rf"\b({'|'.join([*COLOURS, *map(plural, KINDS)])})\b(?! at)", question):
        looks = {counted[1], next((kind for kind in KINDS if plural(kind) == counted[1]), None)}
        return COUNTS[sum(thing.colour in looks or thing.kind in looks for thing in asked)]
    for across, one, other in ((0, "left", "right"), (1, "above", "below")):
        if re.search(rf"\b{one}\b.*\b{other}\b|\b{other}\b.*\b{one}\b", question):
            about, beside = asked[::-1] if question.startswith("On which") else asked
            return one if centre(about)[across] < centre(beside)[across] else other
    measure = next(measure for word, measure in measures.items() if word in question)
    best = max(names, key=lambda name: measure(things[name]))
    return f"{things[best].kind} at <{best}>"


def test_vcr_asks_what_is_true_of_the_scene(written: Path) -> None:
    records, troubles = read("vcr", written / "vcr", written / "vcr/images", split="val")
    assert not troubles and len(records) > 60
    for record in records:
        things = things_of(record)
        assert all(region.label == things[region.name].kind for region in record.regions)
        first, second = record.turns
        assert first.answer == truth(first.question, things), first
        assert len(set(first.options)) == len(set(second.options)) == 4


def test_the_reason_is_true_of_the_things_that_were_asked_about(written: Path) -> None:
    records, _ = read("vcr", written / "vcr", written / "vcr/images", split="val")
    for record in records:
        things, (first, second) = things_of(record), record.turns
        asked, told = mentioned(first.question), mentioned(second.answer)
        assert set(told) <= set(asked)
        if first.answer in COUNTS:
            assert COUNTS[len(told)] == first.answer
        elif first.answer in ("left", "right", "above", "below"):
            axis = 0 if first.answer in ("left", "right") else 1
            one, other = (things[name] for name in told)
            before = any(word in second.answer for word in ("left", "above"))
            assert (centre(one)[axis] < centre(other)[axis]) == before
        else:
            assert second.answer.startswith(first.answer)


@pytest.mark.parametrize("family", QUESTION_FAMILIES)
def test_in_every_family_the_place_of_the_right_choice_reveals_nothing(family: str) -> None:
    found = [problem for seed in range(900) if (problem := make_problem(make_scene(seed), family, Random(seed)))]
    assert len(found) > 60
    for labels in (Counter(each.answer_label for each in found), Counter(each.reason_label for each in found)):
        assert set(labels) == {0, 1, 2, 3} and max(labels.values()) < 0.4 * len(found)


def test_held_out_scenes_are_the_split_val(written: Path) -> None:
    for name, images in (("vcr", "vcr/images"), ("visual7w-telling", "visual7w-telling/images")):
        root = (written / images).parent
        held_out, _ = read(name, root, written / images, split="val")
        trained, _ = read(name, root, written / images, split="train")
        assert held_out and all(scene_of(record).seed < 1_000_000 for record in held_out)
        assert trained and all(scene_of(record).seed >= 1_000_000 for record in trained)


def named_alone(question: str, scene: Scene) -> Thing:
    """The only thing of the scene with all the looks that a question names."""
    words = set(re.findall(r"\w+", question))
    asked = [{value for value in values if value in words} for values in (KINDS, COLOURS, SIZES)]
    (found,) = (
        thing
        for thing in scene.things
        if all(not each or look in each for each, look in zip(asked, (thing.kind, thing.colour, thing.size), strict=True))
    )
    return found


def test_telling_and_pointing_are_true_and_single_out_one_thing(written: Path) -> None:
    told, troubles = read("visual7w-telling", written / "visual7w-telling", written / "visual7w-telling/images", split="val")
    assert not troubles and len(told) > 60
    for record in told:
        (turn,) = record.turns
        thing = named_alone(turn.question, scene_of(record))
        assert turn.answer == (thing.colour if thing.kind in turn.question else thing.kind)
        assert len(turn.options) == 4
    pointed, troubles = read("visual7w-pointing", written / "visual7w-telling", written / "visual7w-telling/images", split="val")
    assert not troubles and len(pointed) > 40
    for record in pointed:
        (turn,) = record.turns
        assert things_of(record)[turn.answer] == named_alone(turn.question, scene_of(record))
        assert len(record.regions) == len(turn.options) == 4


def test_llava_is_true_and_says_yes_to_what_is_there(written: Path) -> None:
    records, troubles = read("llava-instruct", written / "llava-instruct", written / "llava-instruct/images")
    assert not troubles and len(records) > 50
    assert {bool(record.regions) for record in records} == {True, False}
    for record in records:
        scene = scene_of(record)
        there = {thing.kind for thing in scene.things}
        assert all(thing.kind == region.label for thing, region in zip(things_of(record).values(), record.regions, strict=True))
        *turns, last = record.turns
        for turn in turns:
            question = turn.question.partition(". ")[2] if "<region" in turn.question else turn.question
            thing = named_alone(question, scene)
            assert turn.answer == (thing.colour if thing.kind in question else thing.kind)
        (asked,) = {word for word in re.findall(r"\w+", last.question) if word in KINDS and word != "picture"}
        assert (asked in there) == (last.answer == "yes")


def test_writing_twice_gives_the_same_files(tmp_path: Path) -> None:
    for name in NAMES:
        for copy in ("one", "two"):
            LAYOUTS[name](tmp_path / copy / name, [*SEEDS[:4], *SEEDS[-4:]], 64)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 12
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
