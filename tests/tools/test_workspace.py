"""The workspace: handles that never change their meaning, crops that map back, and a folder that is never half written."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from roi_agent import Box, Workspace
from roi_agent.model.errors import (
    BoxOutOfBounds,
    ImageUnreadable,
    InvalidSetting,
    MaskInvalid,
    RoiAgentError,
    UnknownImage,
    UnknownRegion,
    WorkspaceConflict,
    WorkspaceUnreadable,
)
from roi_agent.model.geometry.masks import Mask
from roi_agent.tools import storage
from tests.forking import program

PICTURE = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
OTHER = PICTURE[::-1].copy()
DISC = np.hypot(*np.mgrid[-30:30, -40:40]) < 20


def filled() -> Workspace:
    """One image, two regions (the second with a mask), and a crop."""
    workspace = Workspace()
    workspace.add_image(PICTURE)
    workspace.add_regions([{"box": [10, 20, 30, 40], "label": "red star", "score": 0.9}], source="detect", prompt="star .")
    workspace.add_regions([{"mask": DISC}], source="segment")
    workspace.add_crop("region2", margin=0.1)
    return workspace


def test_images_and_regions_get_handles_in_order() -> None:
    workspace = Workspace()
    assert workspace.add_image(PICTURE).name == "image1"
    assert workspace.add_image(Image.fromarray(OTHER)).name == "image2"
    added = workspace.add_regions([[0, 0, 5, 5], Box(1, 1, 2, 2)], image="image2")
    assert [(region.name, region.image) for region in added] == [("region1", "image2"), ("region2", "image2")]
    assert workspace.add_regions(np.array([[0.5, 0.5, 0.25, 0.5]]), image="image1", format="cxcywh", unit="normalised")[
        0
    ].box.xyxy == (30, 15, 50, 45)
    assert [region.name for region in workspace.regions()] == ["region1", "region2", "region3"]
    assert [region.name for region in workspace.regions("image1")] == ["region3"]


def test_the_same_thing_again_keeps_its_handle() -> None:
    workspace = filled()
    before = workspace.images, workspace.regions()
    assert workspace.add_image(PICTURE.copy()).name == "image1"
    again = workspace.add_regions(
        [{"box": [10, 20, 30, 40], "label": "red star", "score": 0.9}], source="detect", prompt="star ."
    )
    assert again[0].name == "region1"
    assert workspace.add_crop("region2", margin=0.1).name == "image2"
    assert (workspace.images, workspace.regions()) == before
    assert workspace.add_regions([[10, 20, 30, 40]])[0].name == "region3"  # the same box, from somebody else


def test_regions_say_where_they_come_from() -> None:
    star, disc = filled().regions()
    assert (star.source, star.prompt, star.label, star.score, star.image) == ("detect", "star .", "red star", 0.9, "image1")
    assert (disc.source, disc.mask) == ("segment", Mask.from_array(DISC))


def test_what_is_found_in_a_crop_lies_in_the_whole_image() -> None:
    workspace = filled()
    crop = workspace.add_crop([20, 10, 70, 50])
    assert (crop.name, crop.parent, crop.size_wh, crop.region) == ("image3", "image1", (50, 40), None)
    assert np.array_equal(np.asarray(crop.pixels), PICTURE[10:50, 20:70])
    (found,) = workspace.add_regions([[1, 2, 11, 12]], image=crop)
    assert (found.image, found.box.xyxy, found.parent) == ("image1", (21, 12, 31, 22), None)
    (child,) = workspace.add_regions([{"mask": np.eye(*workspace.image("image2").size_wh[::-1], dtype=bool)}], image="image2")
    assert (child.image, child.parent) == ("image1", "region2")
    assert child.mask is not None and child.mask.size_wh == (80, 60)
    inner = workspace.add_crop([5, 5, 10, 10], image="image3")
    assert (inner.parent, inner.box) == ("image1", Box(25, 15, 30, 20))


@given(st.integers(0, 40), st.integers(0, 30), st.integers(1, 40), st.integers(1, 30), st.floats(0, 1), st.floats(0, 0.5))
def test_into_a_crop_and_back_is_the_same_box(x: int, y: int, width: int, height: int, inset: float, margin: float) -> None:
    workspace = Workspace()
    workspace.add_image(PICTURE)
    box = [x + inset * width * 0.4, y + inset * height * 0.4, x + width, y + height]
    (region,) = workspace.add_regions([box])
    crop = workspace.add_crop(region, margin=margin)
    seen = workspace.seen_in(region, crop)
    assert seen.image == crop.name
    (back,) = workspace.add_regions([seen.box], image=crop)
    assert back.box.xyxy == pytest.approx(region.box.xyxy)


def test_a_region_outside_a_crop_is_not_seen_in_it() -> None:
    workspace = filled()
    crop = workspace.add_crop([40, 0, 80, 60])
    with pytest.raises(BoxOutOfBounds):
        workspace.seen_in("region1", crop)
    workspace.add_image(OTHER)
    with pytest.raises(UnknownImage, match="region1 lies in image1, not in image4"):
        workspace.seen_in("region1", "image4")


@pytest.mark.parametrize(
    "regions,error",
    [
        ([[0, 0, 5, 5], [0, 0, 500, 5]], BoxOutOfBounds),
        ([[0, 0, 5, 5], {"mask": np.ones((3, 3), bool)}], MaskInvalid),
        ([[0, 0, 5, 5], {"box": [0, 0, 1, 1], "name": "region1"}], InvalidSetting),
        (["abc"], RoiAgentError),
        ("abc", RoiAgentError),
    ],
)
def test_one_wrong_region_leaves_the_workspace_as_it_was(regions: Any, error: type[Exception]) -> None:
    workspace = filled()
    before = workspace.regions()
    with pytest.raises(error):
        workspace.add_regions(regions, image="image1")
    assert workspace.regions() == before


def test_unknown_handles_say_what_there_is() -> None:
    workspace = filled()
    with pytest.raises(UnknownRegion, match=r"unknown_region: region7; there is region1\.\.region2"):
        workspace.region("region7")
    with pytest.raises(UnknownImage, match=r"unknown_image: image9; there is image1\.\.image2"):
        workspace.image("image9")
    with pytest.raises(UnknownImage, match="has no image; add an image first"):
        Workspace().image()
    with pytest.raises(UnknownRegion, match="there is no region yet"):
        Workspace().region("region1")
    assert workspace.image().name == "image1"
    workspace.add_image(OTHER)
    with pytest.raises(UnknownImage, match=r"no image is named; name one of image1\.\.image3"):
        workspace.image()


def test_many_threads_never_share_a_handle() -> None:
    workspace = Workspace()
    workspace.add_image(PICTURE)

    def work(row: int) -> None:
        for column in range(40):
            workspace.add_regions([[column, row, column + 1, row + 1], [column, row, column + 2, row + 2]])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    regions = workspace.regions()
    assert [region.name for region in regions] == [f"region{i}" for i in range(1, 641)]
    assert len({region.box for region in regions}) == 640


# Folders


def test_a_workspace_survives_its_folder(tmp_path: Path) -> None:
    workspace = filled()
    workspace.save(tmp_path / "w")
    loaded = Workspace.load(tmp_path / "w")
    assert loaded.regions() == workspace.regions()
    assert [image.to_dict() for image in loaded.images] == [image.to_dict() for image in workspace.images]
    assert [np.asarray(image.pixels).tolist() for image in loaded.images] == [
        np.asarray(image.pixels).tolist() for image in workspace.images
    ]
    loaded.add_regions([[0, 0, 3, 3]])
    loaded.save(tmp_path / "w")
    assert Workspace.load(tmp_path / "w").region("region3").box.xyxy == (0, 0, 3, 3)


def test_a_folder_is_never_overwritten_by_other_handles(tmp_path: Path) -> None:
    filled().save(tmp_path)
    other = Workspace()
    other.add_image(OTHER)
    with pytest.raises(WorkspaceConflict, match="load it first"):
        other.save(tmp_path)
    assert Workspace.load(tmp_path).regions() == filled().regions()


def test_opened_saves_at_the_end_and_not_after_an_error(tmp_path: Path) -> None:
    with Workspace.opened(tmp_path / "new") as workspace:
        workspace.add_image(PICTURE)
    with pytest.raises(ImageUnreadable), Workspace.opened(tmp_path / "new") as workspace:
        workspace.add_regions([[0, 0, 5, 5]])
        workspace.add_image("nowhere.png")
    assert Workspace.load(tmp_path / "new").regions() == ()


def test_programs_take_turns(tmp_path: Path) -> None:
    """Eight processes that each add one region to one folder: eight handles."""
    filled().save(tmp_path)
    code = (
        "import sys; from roi_agent import Workspace\n"
        "with Workspace.opened(sys.argv[1]) as w: w.add_regions([[0, 0, int(sys.argv[2]), 9]], image='image1')"
    )
    running = [program(code, str(tmp_path), str(width)) for width in range(1, 9)]
    assert [process.wait() for process in running] == [0] * 8
    assert {region.box.x2 for region in Workspace.load(tmp_path).regions()[2:]} == set(range(1, 9))


def test_a_folder_in_use_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with storage.locked(tmp_path), pytest.raises(WorkspaceConflict, match="in use by another program"):  # noqa: SIM117
        with storage.locked(tmp_path, wait_s=0.1):
            pass


@pytest.mark.parametrize("moment", range(8))
def test_a_write_cut_at_any_moment_leaves_the_last_complete_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    filled().save(tmp_path)
    later = Workspace.load(tmp_path)
    later.add_image(OTHER)
    later.add_regions([[0, 0, 5, 5]], image="image3")
    calls = iter(range(100))

    def failing(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == moment:
                raise OSError(28, "No space left on device")
            return real(*args, **kwargs)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, failing(name))
    if moment < 4:
        with pytest.raises(WorkspaceUnreadable, match="No space left"):
            later.save(tmp_path)
        assert Workspace.load(tmp_path).regions() == filled().regions()
    else:
        later.save(tmp_path)
        assert len(Workspace.load(tmp_path).regions()) == 3
    assert not list(tmp_path.rglob(".part-*"))


def damaged(**changes: Any) -> Any:
    def damage(folder: Path) -> None:
        index = json.loads((folder / "workspace.json").read_text())
        (folder / "workspace.json").write_text(json.dumps(index | changes))

    return damage


def swap_pixels(folder: Path) -> None:
    (file,) = folder.glob("images/*.png")
    Image.fromarray(OTHER).save(file)


def drop_image(folder: Path) -> None:
    for file in folder.glob("images/*.png"):
        file.unlink()


@pytest.mark.parametrize(
    "damage,said",
    [
        (damaged(schema_version=2), "schema version 2, but this program reads 1; update roi-agent"),
        (damaged(schema_version="x"), "schema version 'x'"),
        (damaged(images=[]), "damaged"),
        (damaged(images=[{"name": "image1", "sha256": "../../x", "source": "file"}]), "damaged"),
        (damaged(regions=[{"name": "region1"}]), "damaged"),
        (damaged(regions=[{"name": "region1", "image": "image1", "box": [0, 0, 1e9, 1]}]), "damaged"),
        (damaged(regions=[{"name": "region2", "image": "image1", "box": [0, 0, 1, 1]}]), "damaged"),
        (damaged(regions=5), "damaged"),
        (lambda folder: (folder / "workspace.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "workspace.json").write_text("[]"), "schema version None"),
        (swap_pixels, "the pixels of image1 have changed since they were saved"),
        (drop_image, "there is no file"),
    ],
)
def test_a_damaged_folder_is_refused_in_plain_words(tmp_path: Path, damage: Any, said: str) -> None:
    filled().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(WorkspaceUnreadable, match=said):
        Workspace.load(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(WorkspaceUnreadable, match="contains other files and no workspace"):
        filled().save(tmp_path)
    with pytest.raises(WorkspaceUnreadable, match="there is no workspace"):
        Workspace.load(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_workspace_is_full_at_its_last_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roi_agent.tools.workspace.MAX_NAMES", 2)
    workspace = filled()
    with pytest.raises(RoiAgentError, match="too_many_regions"):
        workspace.add_regions([[0, 0, 2, 2]])
    with pytest.raises(InvalidSetting, match="more than 2 images"):
        workspace.add_image(OTHER)
    assert replace(workspace.region("region1"), name="region2").box == workspace.region("region1").box
