"""Generated instructions, from images whose truth is withheld to records: only what is supported is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from PIL import Image

from roi_agent import Workspace, load_detector, load_region_model, load_segmenter
from roi_agent.generation.claims import Claim
from roi_agent.generation.describing import Described, Description
from roi_agent.generation.examiner import CHOOSE, DETECTOR, SECOND_LOOK, THERE, UNSURE
from roi_agent.generation.finding import distinct
from roi_agent.generation.record_generator import ImageResult, RecordGenerator
from roi_agent.generation.rules import FAMILIES
from roi_agent.generation.settings import GenerationSettings
from roi_agent.generation.verifier import REPEATED, UNCLEAR, Verifier
from roi_agent.model.data.record import Record
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.masks import Mask
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Answer, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.toy.world.art import KINDS
from roi_agent.model.toy.world.scenes import make_scene, render_image
from tests.described import CUP, STAR, SUPPORT, asked, layout
from tests.scene_truth import Share, is_true

SEEDS = range(700_000, 700_024)


def picture(seed: int, side: int = 384) -> LoadedImage:
    return load_image(Image.fromarray(render_image(make_scene(seed), side)))


@pytest.fixture(scope="module")
def generator() -> Iterator[RecordGenerator]:
    made = RecordGenerator(load_region_model(), load_detector(), load_segmenter(), GenerationSettings(per_image=14))
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(generator: RecordGenerator) -> list[ImageResult]:
    images = [(str(seed), picture(seed)) for seed in SEEDS]
    return [each for start in range(0, len(images), 8) for each in generator.generate(images[start : start + 8])]


# ---------------------------------------------------------------- the whole, on scenes whose truth is withheld


def test_what_is_kept_is_true(made: list[ImageResult]) -> None:
    judged = [is_true(record, make_scene(int(record.image))) for each in made for record in each.records]
    written, kept = sum(each.written for each in made), len(judged)
    assert sum(judged) / kept >= 0.97, Share(sum(judged), kept)
    assert kept / written >= 0.7 and written >= 12 * len(SEEDS)
    assert written == kept + sum(len(each.dropped) for each in made)


def test_every_kept_record_brings_its_evidence_and_reads_back(made: list[ImageResult]) -> None:
    records = [record for each in made for record in each.records]
    assert len({record.id for record in records}) == len(records)
    assert {record.id.rsplit("-", 1)[1] for record in records} == set(FAMILIES)
    for record in records:
        assert record.evidence and Record.from_dict(record.to_dict(), where="here") is not None
        assert {each.kind for each in record.evidence} <= {"choose", "geometry", "detector", "second look"}
        numbers = [int(region.name.removeprefix("region")) for region in record.regions]
        assert numbers == sorted(set(numbers)) and numbers[0] >= 1 and numbers[-1] <= 30
        assert all(region.label in (None, *KINDS) for region in record.regions)


def test_a_second_turn_asks_why_and_is_answered_from_the_evidence(made: list[ImageResult]) -> None:
    asked = [record for each in made for record in each.records if record.id.endswith("-why")]
    assert asked and all(len(record.turns) == 2 and "<region" in record.turns[1].answer for record in asked if record.turns)


def test_the_same_seed_gives_the_same_records(generator: RecordGenerator, made: list[ImageResult]) -> None:
    again = generator.generate([(str(SEEDS[3]), picture(SEEDS[3]))])[0]
    assert [record.turns for record in again.records] == [record.turns for record in made[3].records]


def test_an_image_without_things_gives_no_records(generator: RecordGenerator) -> None:
    (empty,) = generator.generate([("blank", load_image(Image.new("RGB", (200, 100), "white")))])
    assert (empty.records, empty.dropped, empty.written) == ((), (), 0)


def test_one_image_under_two_names_gives_records_of_both(generator: RecordGenerator) -> None:
    first, second = generator.generate([("a.png", picture(700_003)), ("b.png", picture(700_003))])
    assert first.regions == second.regions == 2
    assert {record.image for record in first.records} == {"a.png"} and {record.image for record in second.records} == {"b.png"}


class SaysNothing(RegionModel):
    """A region model whose answers are empty."""

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        return Answer("", 1.0, tuple(regions), Usage(0, 0), Timing(0.0, 0.0, False))

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        raise AssertionError("nothing was said that could be compared")


def test_a_model_that_says_nothing_gives_no_records() -> None:
    silent = RecordGenerator(SaysNothing(), load_detector(), None, GenerationSettings(everything=False))
    (made,) = silent.generate([("1", picture(700_003))])
    silent.close()
    assert made.regions == 2 and (made.records, made.written) == ((), 0)


def test_without_verification_everything_readable_is_kept() -> None:
    settings = GenerationSettings(verify=False, confidence=1.0, everything=False)
    loose = RecordGenerator(load_region_model(), load_detector(), None, settings)
    (made,) = loose.generate([("1", picture(700_003))])
    loose.close()
    assert made.written == len(made.records) > 5 and not any(record.evidence for record in made.records)


def test_a_question_asked_twice_is_dropped_once(generator: RecordGenerator) -> None:
    twice = asked("What is <region1>?", "a star", Claim("kind", ("region1",), "star"))
    kept, dropped = generator._verify_all([twice, twice], Verifier.of([STAR, CUP], layout(STAR, CUP), SUPPORT))
    assert len(kept) == 1 and [each.reason for each in dropped] == [REPEATED]


# ---------------------------------------------------------------- finding


def test_each_thing_is_found_once() -> None:
    sure, double = Region("region1", Box(0, 0, 100, 100), score=0.9), Region("region2", Box(5, 5, 100, 100), score=0.5)
    mask = Mask.from_array(layout_mask((400, 300), (10, 10, 40, 40)))
    part = Region("region3", mask.box, mask=mask, score=0.99)
    other = Region("region4", Box(200, 100, 280, 190), score=0.3)
    whole, speck = Region("region5", Box(0, 0, 399, 299), score=1.0), Region("region6", Box(300, 10, 303, 13), score=1.0)
    assert distinct([double, other, sure], [part, whole, speck], (400, 300)) == (sure, other)
    assert distinct([], [part], (400, 300)) == (part,)
    assert distinct([], [], (400, 300)) == ()


def layout_mask(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> "object":
    import numpy as np

    array = np.zeros(size_wh[::-1], bool)
    array[box[1] : box[3], box[0] : box[2]] = True
    return array


# ---------------------------------------------------------------- what supports a description


@pytest.mark.parametrize(
    ("setting", "reason"), [({"confidence": 1.0}, UNSURE), ({"margin": 20.0}, CHOOSE), ({"found": 10.0}, DETECTOR)]
)
def test_what_no_look_supports_is_dropped(setting: dict[str, float], reason: str) -> None:
    settings = GenerationSettings(families=("kind", "touching", "count_kind"), everything=False, **setting)  # type: ignore[arg-type]
    strict = RecordGenerator(load_region_model(), load_detector(), None, settings)
    (made,) = strict.generate([("1", picture(700_003))])
    strict.close()
    assert made.written and {each.reason for each in made.dropped} <= {reason, UNCLEAR}
    assert reason in {each.reason for each in made.dropped}
    assert not made.records


def test_a_second_look_exposes_a_wrong_description(generator: RecordGenerator) -> None:
    scene, workspace = make_scene(700_001), Workspace()
    image = workspace.add_image(picture(700_001))
    small = next(each for each in scene.things if each.size == "small")
    (region,) = workspace.add_regions([[value * 384 for value in small.box]])
    right = Described(region, Description(small.kind, 1.0), Description(small.colour, 1.0), Description(small.name, 1.0))
    other = next(kind for kind in KINDS if kind != small.kind)
    wrong = Described(region, Description(other, 1.0), Description(small.colour, 1.0), Description(small.name, 1.0))
    found = generator._examiner.look_again(workspace, image, right, "kind")
    assert isinstance(found, tuple)
    (seen,) = found
    assert seen.kind == "second look" and small.kind in seen.text
    assert generator._examiner.look_again(workspace, image, wrong, "kind") == SECOND_LOOK
    assert generator._examiner.look_again(workspace, image, wrong, "colour") != SECOND_LOOK


def test_a_wrong_description_is_not_supported_however_sure(generator: RecordGenerator) -> None:
    scene, workspace = make_scene(700_006), Workspace()
    image = workspace.add_image(picture(700_006))
    regions = workspace.add_regions([[value * 384 for value in each.box] for each in scene.things])
    shifted = [*scene.things[1:], scene.things[0]]  # everybody is said to be the next one
    sure = [
        Described(region, *(Description(text, 1.0) for text in (said.kind, said.colour, said.name)))
        for region, said in zip(regions, shifted, strict=True)
    ]
    wanted = {(each.region.name, attribute) for each in sure for attribute in ("kind", "colour", "name")}
    support = generator._examiner.examine(workspace, image, sure, wanted)
    for described, true in zip(sure, scene.things, strict=True):
        if described.kind.text != true.kind:
            assert isinstance(support[described.region.name, "kind"], str)
        if described.name.text != true.name:
            assert isinstance(support[described.region.name, "name"], str)


@pytest.mark.parametrize(("label", "score", "there"), [("cup", 0.9, True), ("cup", 0.01, False), (None, 0.9, False)])
def test_geometry_needs_no_description_of_what_words_have_found(
    generator: RecordGenerator, label: str | None, score: float, there: bool
) -> None:
    scene, workspace = make_scene(700_006), Workspace()
    image = workspace.add_image(picture(700_006))
    (region,) = workspace.add_regions([[value * 384 for value in scene.things[0].box]])
    unsure = Described(replace(region, label=label, score=score), *[Description("anything", 0.1)] * 3)
    support = generator._examiner.examine(workspace, image, [unsure], {(region.name, THERE)})
    verdict = support[region.name, THERE]
    if there:
        assert isinstance(verdict, tuple) and [each.kind for each in verdict] == ["detector"]
        assert (region.name, "kind") not in support
    else:
        assert verdict == support[region.name, "kind"] == UNSURE


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"families": ("colours",)},
        {"families": ()},
        {"per_image": 0},
        {"confidence": 1.5},
        {"margin": -1.0},
        {"ratio": 0.5},
        {"images": 0},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting, match=next(iter(wrong)).removesuffix("ies")):
        GenerationSettings(**wrong)  # type: ignore[arg-type]
