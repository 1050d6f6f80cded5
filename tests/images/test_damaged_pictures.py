"""Pictures of a data set that are cut in their middle: found when it is converted, left out and named when it is trained on."""

import json
import logging
import random
from pathlib import Path

import pytest
import yaml
from PIL import Image

from roi_agent.model.data.conversion import TROUBLES, convert
from roi_agent.model.data.record_files import Card, open_records
from roi_agent.model.errors import DataRefused, ImageUnreadable
from roi_agent.model.train.settings import EvaluationSettings
from roi_agent.model.train.training import train_on_records
from tests.commands import Runner
from tests.conversions import coco, content, settings
from tests.public_data import write_json
from tests.record_runs import job, losses, make_root
from tests.training_sets import write_set

BROKEN = 5


def noise(path: Path, size_wh: tuple[int, int], seed: int = 0) -> Path:
    """A JPEG with something in every part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size_wh
    Image.frombytes("RGB", size_wh, random.Random(seed).randbytes(3 * width * height)).save(path, "JPEG")
    return path


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    """A data set in COCO's layout, of whose twelve pictures one is cut short."""
    for id in range(12):
        noise(tmp_path / "images" / f"{id}.jpg", (60, 40), id)
    cut(tmp_path / "images" / f"{BROKEN}.jpg")
    found = content(12)
    found["annotations"].pop()  # of an image that is not there
    write_json(tmp_path / "instances_all.json", found)
    return tmp_path


@pytest.mark.parametrize("processes", [1, 2])
def test_a_conversion_leaves_out_what_is_about_a_damaged_picture(twelve: Path, tmp_path: Path, processes: int) -> None:
    card = convert(coco(twelve), tmp_path / "out", settings(processes=processes, groups=4), show_progress=False)
    assert card.troubles["image_unreadable"] == 1
    images = {record.image for record in open_records(tmp_path / "out")}
    assert images == {f"{id}.jpg" for id in range(12) if id != BROKEN}
    lines = [json.loads(line) for line in (tmp_path / "out" / TROUBLES).read_text().splitlines()]
    (trouble,) = [each for each in lines if each["kind"] == "image_unreadable"]
    assert f"{BROKEN}.jpg" in trouble["problem"] and "truncated" in trouble["problem"]


def test_refuse_stops_at_a_damaged_picture(twelve: Path, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=rf"{BROKEN}\.jpg.*truncated"):
        convert(coco(twelve), tmp_path / "out", settings(refuse=True), show_progress=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets of which some pictures were damaged after they were converted."""
    made = make_root(tmp_path_factory.mktemp("data"))
    cut(made / "toy-train" / "images" / "3.png")
    cut(made / "toy-val" / "images" / "51.png")
    write_set(made, "all-cut", scenes=1)
    cut(made / "all-cut" / "images" / "0.png")
    return made


@pytest.mark.parametrize(("batch", "workers"), [(4, 0), (1, 1)])
def test_a_training_leaves_out_damaged_pictures_and_names_their_records(
    root: Path, tmp_path: Path, batch: int, workers: int
) -> None:
    run = job(root, tmp_path, epochs=1, batch=batch, micro_batch=1, workers=workers)
    assert train_on_records(run, show_progress=False).is_dir()
    about = [record.id for record in open_records(root / "toy-train") if record.image == "3.png"]
    lines = (tmp_path / "left_out.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in lines] == about and all("3.png" in line and "truncated" in line for line in lines)
    assert len(losses(tmp_path)) == 8 // batch


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_says_how_many_records_were_left_out(root: Path, tmp_path: Path, run: Runner, as_json: bool) -> None:
    settings = {"model": "nano", "trained": ["projector"], "data": {"toy-train": 1}, "batch": 8, "epochs": 1, "workers": 0}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**settings, "micro_batch": 8, "precision": "float32"}))
    where = ["--data", str(root), "--from", str(root / "tiny"), "--out", str(tmp_path / "run")]
    done = run("train", str(tmp_path / "own.yaml"), *where, *(["--json"] if as_json else []))
    assert done.code == 0, done.err
    if as_json:
        assert json.loads(done.out)["left_out"] == 3
    else:
        assert "3 records were skipped" in done.out and "left_out.txt" in done.out


def test_held_out_records_with_damaged_pictures_are_not_asked(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = job(root, tmp_path, epochs=1, batch=8, micro_batch=8, evaluate=EvaluationSettings("toy-val", every=1, records=3))
    assert train_on_records(run, show_progress=False).is_dir()
    assert "51.png" in caplog.text and [each for each in caplog.records if each.levelno == logging.WARNING]


def test_a_model_is_fitted_to_the_pictures_that_can_be_read(root: Path, tmp_path: Path) -> None:
    assert train_on_records(job(root, tmp_path, "nano", epochs=1, batch=8, micro_batch=8), show_progress=False).is_dir()


def test_a_training_without_any_picture_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match="truncated"):
        train_on_records(job(root, tmp_path, data={"all-cut": 1.0}, batch=1, micro_batch=1), show_progress=False)
    assert Card.load(root / "all-cut").records


def test_a_picture_that_was_taken_away_ends_a_training(root: Path, tmp_path: Path) -> None:
    """A folder that is no longer there would otherwise leave out everything."""
    write_set(tmp_path, "toy-train", scenes=120, each=1)
    (tmp_path / "toy-train" / "images" / "5.png").unlink()  # one that is not looked for
    run = job(tmp_path, tmp_path / "run", str(root / "tiny"), epochs=1, batch=40, micro_batch=40)
    with pytest.raises(ImageUnreadable, match=r"5\.png"):
        train_on_records(run, show_progress=False)
