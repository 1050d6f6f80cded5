"""What all readers share: boxes that fit, texts that can be written, files that are looked for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roi_agent.model.data.readers.base import (
    BOX_EMPTY,
    BOX_OUTSIDE,
    CLIPPED,
    FIXED,
    IMAGE_SIZE,
    IMAGE_UNREADABLE,
    KINDS,
    MALFORMED,
    MISSING_IMAGE,
    NO_TEXT,
    Images,
    Unusable,
    clean_text,
    fit_box,
    parse_whole_number,
)
from roi_agent.model.data.readers.questions import draw_wording
from tests.public_data import SIZE, picture

VALUES = st.floats(-3, 65) | st.sampled_from([-1, -0.5, 0, 1e-7, 39, 40, 41, 59, 60, 61]) | st.floats() | st.integers()


@given(st.lists(VALUES, min_size=3, max_size=5), st.sampled_from(["xyxy", "xywh", "cxcywh"]))
def test_a_box_fits_its_image_or_is_unusable_for_a_reason(values: list[float], format: str) -> None:
    try:
        box, notes = fit_box(values, format=format, size_wh=SIZE, where="here")
    except Unusable as unusable:
        assert unusable.trouble.kind in (BOX_OUTSIDE, BOX_EMPTY, MALFORMED)
        assert unusable.trouble.where == "here" and unusable.trouble.problem
        return
    box.checked_within(SIZE)
    assert [note.kind for note in notes] in ([], [CLIPPED])
    if format == "xyxy" and notes:
        assert max(abs(was - now) for was, now in zip(values, box.xyxy, strict=True)) <= 1 + 1e-6
    elif format == "xyxy":
        assert box.xyxy == pytest.approx(values, abs=1e-4)


def test_the_problem_of_a_box_names_the_image_as_it_is() -> None:
    with pytest.raises(Unusable) as caught:
        fit_box([50, 5, 30, 10], format="xywh", size_wh=SIZE, where="here")
    assert "x2 is 80 in an image 60 wide" in caught.value.trouble.problem


@pytest.mark.parametrize(
    ("values", "format"), [([0.1, 0.2, 0.5, 0.6], "xyxy"), ([0.1, 0.2, 0.4, 0.4], "xywh"), ([0, 0, 1, 1], "xyxy")]
)
def test_a_box_in_fractions_is_unusable_and_said_to_be_one(values: list[float], format: str) -> None:
    with pytest.raises(Unusable, match="fractions"):
        fit_box(values, format=format, size_wh=SIZE, where="here")


def test_every_fix_is_a_kind_of_trouble() -> None:
    assert set(FIXED) < set(KINDS)
    assert len(set(KINDS)) == len(KINDS)


TEXTS = {"plain": ("a cat", "a cat"), "spaces": ("  a \n cat\t", "a cat"), "letters of all kinds": ("café 猫 🐈", "café 猫 🐈")}


@pytest.mark.parametrize(("given_text", "expected"), TEXTS.values(), ids=TEXTS)
def test_a_text_loses_its_white_space_only(given_text: str, expected: str) -> None:
    assert clean_text(given_text, where="here") == expected


UNUSABLE = [(None, NO_TEXT), ("", NO_TEXT), (" \n", NO_TEXT), (7, MALFORMED), (["a"], MALFORMED)]
UNUSABLE += [("a <region1>", MALFORMED), ("\ud800", MALFORMED)]


@pytest.mark.parametrize(("value", "kind"), UNUSABLE, ids=repr)
def test_a_text_that_cannot_be_used_says_why(value: object, kind: str) -> None:
    with pytest.raises(Unusable) as caught:
        clean_text(value, where="here")
    assert caught.value.trouble.kind == kind


@pytest.mark.parametrize("value", [60, 60.0, "60"])
def test_whole_numbers_may_be_text(value: object) -> None:
    assert parse_whole_number(value, where="here", what="width") == 60


@pytest.mark.parametrize("value", [None, True, 1.5, float("nan"), float("inf"), "6o", "", "-1", "٣", "9" * 5000, [60]])
def test_other_numbers_are_unusable(value: object) -> None:
    with pytest.raises(Unusable, match="its width is"):
        parse_whole_number(value, where="here", what="width")


def test_images_are_found_by_the_first_name_that_fits_and_checked(tmp_path: Path) -> None:
    picture(tmp_path / "b" / "1.png")
    (tmp_path / "text.jpg").write_text("no image", encoding="utf-8")
    images = Images(tmp_path)
    assert images.find_sized("a/1.png", "b/1.png", size_wh=SIZE, where="here") == ("b/1.png", SIZE)
    cases = [("c.png", MISSING_IMAGE), ("b", MISSING_IMAGE), ("../x.png", MALFORMED), ("/x.png", MALFORMED)]
    for name, kind in [*cases, ("text.jpg", IMAGE_UNREADABLE)]:
        with pytest.raises(Unusable) as caught:
            images.find_sized(name, size_wh=SIZE, where="here")
        assert caught.value.trouble.kind == kind
    with pytest.raises(Unusable, match=r"1\.png is 60 x 40 pixels, not 40 x 60") as caught:
        images.find_sized("b/1.png", size_wh=(40, 60), where="here")
    assert caught.value.trouble.kind == IMAGE_SIZE


def test_every_wording_names_its_regions() -> None:
    from random import Random

    from roi_agent.prompts import load_blocks

    blocks = load_blocks("data_questions")
    for name in ("class", "refer", "refer_by_looks", "caption", "describe", "phrase", "phrases", "ground"):
        lines = blocks[name].splitlines()
        assert len(lines) == len(set(lines)) >= 3
        assert all(line.count("{a}") == 1 for line in lines)
        assert {draw_wording(name, Random(seed), a="region3") for seed in range(100)} == {
            line.format(a="<region3>") for line in lines
        }
