"""The toy world: what its truth promises, checked against its pixels."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.world.art import COLOURS, KINDS, SIZES, extent, glyph
from roi_agent.model.toy.world.scenes import (
    MAX_COVERED,
    Scene,
    Thing,
    make_scene,
    render,
    render_image,
    save_scene,
    scene_record,
)

SCENES = [make_scene(seed) for seed in range(200)]
SIDES = [96, 128, 384, 513]


def shared_area(first: Thing, second: Thing) -> float:
    """The area of two boxes' intersection, of the image's."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = first.box, second.box
    return max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))


def area(thing: Thing) -> float:
    x1, y1, x2, y2 = thing.box
    return (x2 - x1) * (y2 - y1)


def alone(kind: str, longer: float = 0.5, colour: str = "red") -> Scene:
    """A scene of one thing in the middle."""
    width, height = (longer * share for share in extent(kind))
    return Scene(7, (Thing(kind, colour, "large", (0.5 - width / 2, 0.5 - height / 2, 0.5 + width / 2, 0.5 + height / 2)),))


def test_the_world_has_40_kinds_10_colours_and_3_sizes() -> None:
    assert (len(KINDS), len(set(KINDS)), len(COLOURS), len(SIZES)) == (40, 40, 10, 3)
    assert all(word.isalpha() and word.islower() for word in (*KINDS, *COLOURS, *SIZES))


def test_no_word_is_both_a_kind_and_a_colour_or_size() -> None:
    assert not set(KINDS) & {*COLOURS, *SIZES}


def test_colours_are_well_apart() -> None:
    for (one, a), (two, b) in combinations(COLOURS.items(), 2):
        assert np.linalg.norm(np.subtract(a, b)) > 80, (one, two)


def test_a_seed_gives_the_same_layout_and_pixels() -> None:
    for seed in (0, 1, 12345, 2**40):
        assert make_scene(seed) == make_scene(seed)
        assert np.array_equal(render_image(make_scene(seed), 96), render_image(make_scene(seed), 96))


def test_seeds_differ() -> None:
    assert len(set(SCENES)) == len(SCENES)


@pytest.mark.parametrize("num_things", [2, 5, 8])
def test_the_number_of_things_can_be_asked_for(num_things: int) -> None:
    assert all(len(make_scene(seed, num_things=num_things).things) == num_things for seed in range(60))


def test_scenes_hold_2_to_8_things_and_every_number_occurs() -> None:
    assert {len(scene.things) for scene in SCENES} == set(range(2, 9))


@pytest.mark.parametrize("num_things", [-1, 0, 1, 9])
def test_other_numbers_are_refused(num_things: int) -> None:
    with pytest.raises(InvalidSetting, match="num_things"):
        make_scene(0, num_things=num_things)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="seed"):
        make_scene(-1)


@pytest.mark.parametrize("side", [0, 31, 5000])
def test_a_side_out_of_bounds_is_refused(side: int) -> None:
    with pytest.raises(InvalidSetting, match="pixels"):
        render_image(SCENES[0], side)


def test_every_kind_colour_and_size_occurs() -> None:
    things = [thing for scene in SCENES for thing in scene.things]
    assert {thing.kind for thing in things} == set(KINDS)
    assert {thing.colour for thing in things} == set(COLOURS)
    assert {thing.size for thing in things} == set(SIZES)


def test_a_name_is_size_colour_kind() -> None:
    assert Thing("star", "red", "large", (0.1, 0.1, 0.5, 0.5)).name == "large red star"


def test_things_stay_inside_the_frame() -> None:
    for scene in SCENES:
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            assert 0.01 <= x1 < x2 <= 0.99
            assert 0.01 <= y1 < y2 <= 0.99


def test_sizes_lie_in_their_bands() -> None:
    for scene in SCENES:
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            low, high = SIZES[thing.size]
            assert low - 1e-9 <= max(x2 - x1, y2 - y1) <= high + 1e-9


def test_later_things_cover_little() -> None:
    for scene in SCENES:
        for i, thing in enumerate(scene.things):
            covered = sum(shared_area(thing, later) for later in scene.things[i + 1 :])
            assert covered <= MAX_COVERED * area(thing)


def test_some_scenes_overlap_and_most_do_not() -> None:
    overlapping = sum(any(shared_area(a, b) > 0 for a, b in combinations(scene.things, 2)) for scene in SCENES)
    assert 0.18 <= overlapping / len(SCENES) <= 0.36


def test_scenes_hold_namesakes_and_things_alike_in_part() -> None:
    pairs = [pair for scene in SCENES for pair in combinations(scene.things, 2)]
    assert any(a.name == b.name for a, b in pairs)
    assert any(a.kind == b.kind and a.colour != b.colour for a, b in pairs)
    assert any(a.kind != b.kind and a.colour == b.colour for a, b in pairs)


def test_the_order_reveals_neither_size_nor_place() -> None:
    crowded = [make_scene(seed, num_things=6).things for seed in range(600)]
    areas, lefts = (np.array([[value(t) for t in things] for things in crowded]) for value in (area, lambda t: t.box[0]))
    assert np.ptp(areas.mean(axis=0)) < 0.2 * areas.mean()
    assert np.ptp(lefts.mean(axis=0)) < 0.2 * lefts.mean()


@pytest.mark.parametrize("side", SIDES)
def test_pixel_boxes_are_the_normalised_ones_within_a_pixel(side: int) -> None:
    for scene in SCENES[:20]:
        rendered = render(scene, side)
        expected = np.array([thing.box for thing in scene.things]) * side
        assert rendered.boxes.dtype == np.float64
        assert np.abs(rendered.boxes - expected).max() <= 1
        assert rendered.boxes.min() >= 0
        assert rendered.boxes.max() <= side


@pytest.mark.parametrize("longer", [0.16, 0.4])
@pytest.mark.parametrize("side", [128, 384, 800])
@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_tight_around_its_mask(kind: str, side: int, longer: float) -> None:
    rendered = render(alone(kind, longer), side)
    ys, xs = np.nonzero(rendered.masks[0])
    seen = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert np.abs(rendered.boxes[0] - seen).max() <= 1


def test_masks_are_disjoint_and_the_later_thing_wins() -> None:
    under = Thing("square", "red", "large", (0.2, 0.2, 0.6, 0.6))
    over = replace(under, colour="blue", box=(0.4, 0.4, 0.8, 0.8))
    lower, upper = render(Scene(3, (under, over)), 100).masks
    assert upper.sum() == 40 * 40
    assert lower.sum() == 40 * 40 - 20 * 20
    assert not (lower & upper).any()
    assert lower[25, 25]
    assert upper[50, 50]


def test_every_thing_is_visible_in_every_scene() -> None:
    for scene in SCENES[:60]:
        masks = render(scene, 128).masks
        assert (masks.sum(axis=0) <= 1).all()
        assert masks.any(axis=(1, 2)).all()


def test_a_scene_without_things_is_a_background() -> None:
    rendered = render(Scene(0, ()), 64)
    assert rendered.masks.shape == (0, 64, 64)
    assert rendered.boxes.shape == (0, 4)


def test_the_fast_path_gives_the_same_image() -> None:
    for scene in SCENES[:10]:
        rendered = render(scene, 160)
        assert rendered.image.mode == "RGB"
        assert rendered.image.size == (160, 160)
        assert np.array_equal(np.asarray(rendered.image), render_image(scene, 160))


def test_every_thing_stands_out_from_its_background() -> None:
    for scene in SCENES:
        pixels = render_image(scene, 128).astype(np.float64)
        empty = render_image(replace(scene, things=()), 128)
        masks = render(scene, 128).masks
        for thing, mask in zip(scene.things, masks, strict=True):
            difference = np.linalg.norm(pixels[mask].mean(axis=0) - empty[mask].mean(axis=0))
            assert difference > 50, (scene.seed, thing.name)


def test_a_colour_in_the_picture_is_nearest_to_its_name() -> None:
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), np.float64)
    for scene in SCENES:
        pixels = render_image(scene, 256)
        for thing, mask in zip(scene.things, render(scene, 256).masks, strict=True):
            fill = np.median(pixels[mask], axis=0)
            assert names[np.linalg.norm(palette - fill, axis=1).argmin()] == thing.colour, (scene.seed, thing.name)


def test_kinds_differ_at_20_pixels() -> None:
    def tiny(kind: str) -> np.ndarray:
        canvas = Image.new("L", (20, 20))
        size_wh = (max(1, round(20 * extent(kind)[0])), max(1, round(20 * extent(kind)[1])))
        canvas.paste(glyph(kind).at(size_wh)[0], ((20 - size_wh[0]) // 2, (20 - size_wh[1]) // 2))
        return np.asarray(canvas, np.float64) / 255

    for one, two in combinations(KINDS, 2):
        assert np.abs(tiny(one) - tiny(two)).sum() > 40, (one, two)  # of 400 pixels


def test_a_record_is_plain_json_with_pixel_boxes() -> None:
    record = scene_record(SCENES[3], 200)
    assert json.loads(json.dumps(record)) == record
    assert (record["schema_version"], record["seed"], record["side"]) == (1, 3, 200)


def test_a_saved_scene_is_read_back(tmp_path: Path) -> None:
    scene = SCENES[5]
    image_path, truth_path = save_scene(tmp_path / "new", scene, 128)
    truth = json.loads(truth_path.read_text(encoding="utf-8"))
    rendered = render(scene, 128)
    with Image.open(image_path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(rendered.image))
    assert truth == {**scene_record(scene, 128), "image": image_path.name}
    assert [thing["name"] for thing in truth["things"]] == [thing.name for thing in scene.things]
    assert np.array_equal([thing["box"] for thing in truth["things"]], rendered.boxes)
