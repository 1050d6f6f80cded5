"""Scenes in the layouts of public data sets: what is written is read back, and is the scenes' truth."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from roi_agent.model.data.english import with_article
from roi_agent.model.data.readers import READERS
from roi_agent.model.data.readers.base import Reader
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import RecordSet
from roi_agent.model.images.loading import load_image
from roi_agent.model.toy.layouts import LAYOUTS
from roi_agent.model.toy.layouts.expressions import by_looks, by_place
from roi_agent.model.toy.layouts.flickr30k import chains, phrases
from roi_agent.model.toy.layouts.refcoco import EXPRESSIONS
from roi_agent.model.toy.questions.questions import TRAINING_SEEDS
from roi_agent.model.toy.world.scenes import RenderedScene, Thing, make_scene, render
from tests.commands import Runner
from tests.public_data import answers, read_all

SIDE = 96
HELD_OUT = list(range(300, 310))
TRAIN = [TRAINING_SEEDS + each for each in range(12)]
SPLITS = {"coco": ("train2017", "val2017")}
BY_REGION = ["coco", "refcoco", "refcoco+", "refcocog", "visual-genome"]  # one turn for each region


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts")
    for name, write in LAYOUTS.items():
        write(folder / name, [*TRAIN, *HELD_OUT], SIDE)
    return folder


def opened(root: Path, name: str, split: int) -> Reader:
    splits = SPLITS.get(name, ("train", "val"))
    return READERS[name](root / name, images=root / name / "images", split=splits[split])


def truth(name: str, scene: RenderedScene, thing: Thing) -> set[str]:
    if name == "coco":
        return {thing.kind}
    return {with_article(thing.name)} if name == "visual-genome" else set(EXPRESSIONS[name](scene.scene, thing))


@pytest.mark.parametrize("split", [0, 1])
@pytest.mark.parametrize("name", BY_REGION)
def test_scenes_are_read_back_as_their_truth(root: Path, name: str, split: int) -> None:
    records, troubles = read_all(opened(root, name, split))
    assert not troubles
    seeds = (TRAIN, HELD_OUT)[split]
    assert [int(record.id.split("/")[-1]) for record in records] == seeds
    for seed, record in zip(seeds, records, strict=True):
        scene = render(make_scene(seed), SIDE)
        boxes = [tuple(box) for box in scene.boxes.tolist()]
        expected = {box: truth(name, scene, thing) for box, thing in zip(boxes, scene.scene.things, strict=True)}
        assert answers(record) == expected


@pytest.mark.parametrize("split", [0, 1])
def test_phrases_and_captions_are_read_back_as_the_truth(root: Path, split: int) -> None:
    records, troubles = read_all(opened(root, "flickr30k", split))
    assert not troubles
    by_scene: dict[int, list[Record]] = {}
    for record in records:
        by_scene.setdefault(int(record.id.split("/")[2]), []).append(record)
    assert list(by_scene) == (TRAIN, HELD_OUT)[split]
    for seed, (asked, *told) in by_scene.items():
        scene = render(make_scene(seed), SIDE)
        groups = [{tuple(scene.boxes[index].tolist()) for index in things} for things in chains(scene.scene).values()]
        for turn in asked.turns:
            boxes = {region.box.xyxy for region in asked.regions if f"<{region.name}>" in turn.question}
            assert set(turn.references) == set(phrases(scene.scene)[groups.index(boxes)])
        assert len(asked.turns) == len(groups)
        assert len(told) == 2
        for record in told:
            named = {f"<{region.name}>": region.box.xyxy for region in record.regions}
            rest = record.turns[0].answer
            for words, boxes in zip(phrases(scene.scene), groups, strict=True):  # in the order of the caption
                mentions, rest = rest.split(f"{words[told.index(record)]} (", 1)[1].split(")", 1)
                assert {named[each] for each in mentions.split(", ")} == boxes


def test_some_scene_has_a_chain_of_several_boxes() -> None:
    assert any(len(things) > 1 for seed in (*TRAIN, *HELD_OUT) for things in chains(make_scene(seed)).values())


def test_masks_are_the_visible_pixels(root: Path) -> None:
    for record in read_all(opened(root, "coco", 1))[0]:
        scene = render(make_scene(int(record.id.split("/")[-1])), SIDE)
        for region in record.regions:
            index = [tuple(box) for box in scene.boxes.tolist()].index(region.box.xyxy)
            assert region.mask is not None
            assert np.array_equal(region.mask.to_array(), scene.masks[index])


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_are_those_of_the_scenes(root: Path, name: str) -> None:
    made = opened(root, name, 0)
    record = read_all(made)[0][0]
    image = np.asarray(load_image(made.images.folder / record.image).pixels, np.float64)
    (seed,) = {int(each) for each in re.findall(r"\d{7,}", record.image)}  # all names hold it
    expected = np.asarray(render(make_scene(seed), SIDE).image, np.float64)
    assert np.abs(image - expected).mean() < 6  # JPEG loses a little


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_scene_needs_to_be_held_out(tmp_path: Path, name: str) -> None:
    LAYOUTS[name](tmp_path / name, TRAIN[:6], SIDE)
    assert read_all(opened(tmp_path, name, 0))[0]


def test_phrases_fit_one_thing_alone_where_there_is_such_a_phrase() -> None:
    for seed in range(200):
        scene = make_scene(seed)
        for thing in scene.things:
            namesakes = sum(each.name == thing.name for each in scene.things)
            for phrase in by_looks(scene, thing):
                words = phrase.split()
                assert phrase == with_article(" ".join(words[1:]))
                fitting = sum(set(words[1:]) <= set(each.name.split()) for each in scene.things)
                assert fitting == (1 if namesakes == 1 else namesakes)
            assert by_place(scene, thing)[: len(by_looks(scene, thing))] == by_looks(scene, thing)


def test_the_command_writes_a_layout_with_both_splits(run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    result = run("scenes", str(folder), "--layout", "refcocog", "--count", "3", "--held-out", "2", "--side", "64", "--json")
    assert result.code == 0
    assert json.loads(result.out) == {"schema_version": 1, "layout": "refcocog", "folder": str(folder), "train": 3, "held_out": 2}
    for split, ids in (("train", [TRAINING_SEEDS, TRAINING_SEEDS + 1, TRAINING_SEEDS + 2]), ("val", [0, 1])):
        made = READERS["refcocog"](folder, images=folder / "images", split=split)
        assert list(made.groups()) == ids


WRONG = {
    "no such layout": (["--layout", "voc"], "no layout 'voc'; use one of coco, refcoco"),
    "held out without a layout": (["--held-out", "3"], "--held-out is given without --layout"),
    "held out among those for training": (["--layout", "coco", "--seed", "999999", "--held-out", "3"], "belongs to training"),
    "no side": (["--layout", "coco", "--side", "3"], "the side is 3 pixels"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_refused(run: Runner, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run("scenes", str(tmp_path / "new"), "--count", "2", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_folder_with_files_is_not_written_into(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    result = run("scenes", str(tmp_path), "--layout", "coco", "--count", "1")
    assert result.code == 2 and "is not empty" in result.err
    result = run("scenes", str(tmp_path / "mine.txt" / "new"), "--layout", "coco", "--count", "1")
    assert result.code == 2 and "cannot write" in result.err


def test_ctrl_c_while_a_layout_is_written_leaves_nothing(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    command = ("scenes", str(tmp_path / "toy"), "--layout", "coco", "--count", "1", "--side", "64")
    with monkeypatch.context() as patched:
        patched.setattr("roi_agent.model.toy.layouts.coco.write_json", stopped)
        assert run(*command).code == 130
    assert list(tmp_path.iterdir()) == []
    assert run(*command).code == 0 and (tmp_path / "toy" / "annotations").is_dir()


def test_converted_scenes_open_with_their_images(tmp_path: Path, root: Path) -> None:
    from roi_agent.model.data.conversion import ConversionSettings, convert

    card = convert(opened(root, "refcoco", 0), tmp_path / "records", ConversionSettings(), show_progress=False)
    records = RecordSet(tmp_path / "records")
    assert card.records == len(TRAIN) and not card.troubles
    assert all(records.image(record).size_wh == (SIDE, SIDE) for record in records)
