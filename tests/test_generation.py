"""Generated instructions: what is found, described, related and written, and that only what is supported is kept."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from PIL import Image

from roi_agent import Workspace, load_detector, load_region_model, load_segmenter
from roi_agent.generation.answering import says
from roi_agent.generation.claims import Claim, Written, WrittenTurn
from roi_agent.generation.describing import Described, Description
from roi_agent.generation.finding import distinct
from roi_agent.generation.making import Made, Maker
from roi_agent.generation.page import Page
from roi_agent.generation.recording import Origin, recorded
from roi_agent.generation.relating import Layout
from roi_agent.generation.rules import ABOUT_ONE, FAMILIES, SINGLE
from roi_agent.generation.settings import GenerationSettings
from roi_agent.generation.supporting import CHOOSE, DESCRIPTION, DETECTOR, SECOND_LOOK, THERE, UNSURE, Support
from roi_agent.generation.verifying import GEOMETRY, MALFORMED, REASONS, REPEATED, UNCLEAR, UNKNOWN, UNSUPPORTED, Verifier
from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.generation.writing import OfflineWriter
from roi_agent.model.answers import Answer, Choice, Decoding, Timing, Usage
from roi_agent.model.boxes import Box
from roi_agent.model.conversation import Turn, mentioned
from roi_agent.model.data.art import COLOURS, KINDS
from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.data.scenes import Scene, Thing, make_scene, render_image
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.images import LoadedImage, load_image
from roi_agent.model.masks import Mask
from roi_agent.model.protocol import RegionModel
from roi_agent.model.regions import Region
from tests.scene_truth import Share, is_true

SEEDS = range(700_000, 700_024)
VOCABULARY = Vocabulary(KINDS, tuple(COLOURS), ("small", "medium", "large"))


def picture(seed: int, side: int = 384) -> LoadedImage:
    return load_image(Image.fromarray(render_image(make_scene(seed), side)))


def thing(
    number: int, box: tuple[float, float, float, float], kind: str = "star", colour: str = "red", size: str = "small"
) -> Described:
    told = [Description(text, 0.99) for text in (kind, colour, f"{size} {colour} {kind}")]
    return Described(Region(f"region{number}", Box(*box)), *told)


def layout(*things: Described) -> Layout:
    return Layout(tuple(each.region for each in things), (400, 200), 0.03, 1.2)


@pytest.fixture(scope="module")
def maker() -> Iterator[Maker]:
    made = Maker(load_region_model(), load_detector(), load_segmenter(), GenerationSettings(per_image=14))
    yield made
    made.close()


@pytest.fixture(scope="module")
def made(maker: Maker) -> list[Made]:
    images = [(str(seed), picture(seed)) for seed in SEEDS]
    return [each for start in range(0, len(images), 8) for each in maker.make(images[start : start + 8])]


# ---------------------------------------------------------------- the whole, on scenes whose truth is withheld


def test_what_is_kept_is_true(made: list[Made]) -> None:
    judged = [is_true(record, make_scene(int(record.image))) for each in made for record in each.records]
    written, kept = sum(each.written for each in made), len(judged)
    assert sum(judged) / kept >= 0.97, Share(sum(judged), kept)
    assert kept / written >= 0.7 and written >= 12 * len(SEEDS)
    assert written == kept + sum(len(each.dropped) for each in made)


def test_every_kept_record_brings_its_evidence_and_reads_back(made: list[Made]) -> None:
    records = [record for each in made for record in each.records]
    assert len({record.id for record in records}) == len(records)
    assert {record.id.rsplit("-", 1)[1] for record in records} == set(FAMILIES)
    for record in records:
        assert record.evidence and Record.from_dict(record.to_dict(), where="here") is not None
        assert {each.kind for each in record.evidence} <= {"choose", "geometry", "detector", "second look"}
        numbers = [int(region.name.removeprefix("region")) for region in record.regions]
        assert numbers == sorted(set(numbers)) and numbers[0] >= 1 and numbers[-1] <= 30
        assert all(region.label in (None, *KINDS) for region in record.regions)


def test_a_second_turn_asks_why_and_is_answered_from_the_evidence(made: list[Made]) -> None:
    asked = [record for each in made for record in each.records if record.id.endswith("-why")]
    assert asked and all(len(record.turns) == 2 and "<region" in record.turns[1].answer for record in asked if record.turns)


def test_the_same_seed_gives_the_same_records(maker: Maker, made: list[Made]) -> None:
    again = maker.make([(str(SEEDS[3]), picture(SEEDS[3]))])[0]
    assert [record.turns for record in again.records] == [record.turns for record in made[3].records]


def test_an_image_without_things_gives_no_records(maker: Maker) -> None:
    (empty,) = maker.make([("blank", load_image(Image.new("RGB", (200, 100), "white")))])
    assert (empty.records, empty.dropped, empty.written) == ((), (), 0)


def test_one_image_under_two_names_gives_records_of_both(maker: Maker) -> None:
    first, second = maker.make([("a.png", picture(700_003)), ("b.png", picture(700_003))])
    assert first.regions == second.regions == 2
    assert {record.image for record in first.records} == {"a.png"} and {record.image for record in second.records} == {"b.png"}


class SaysNothing(RegionModel):
    """A region model whose answers are empty."""

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        return Answer("", 1.0, tuple(regions), Usage(0, 0), Timing(0.0, 0.0, False))

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        raise AssertionError("nothing was said that could be compared")


def test_a_model_that_says_nothing_gives_no_records() -> None:
    silent = Maker(SaysNothing(), load_detector(), None, GenerationSettings(everything=False))
    (made,) = silent.make([("1", picture(700_003))])
    silent.close()
    assert made.regions == 2 and (made.records, made.written) == ((), 0)


@pytest.mark.parametrize(
    ("setting", "reason"), [({"confidence": 1.0}, UNSURE), ({"margin": 20.0}, CHOOSE), ({"found": 10.0}, DETECTOR)]
)
def test_what_no_look_supports_is_dropped(setting: dict[str, float], reason: str) -> None:
    settings = GenerationSettings(families=("kind", "touching", "count_kind"), everything=False, **setting)  # type: ignore[arg-type]
    strict = Maker(load_region_model(), load_detector(), None, settings)
    (made,) = strict.make([("1", picture(700_003))])
    strict.close()
    assert made.written and {each.reason for each in made.dropped} <= {reason, UNCLEAR}
    assert reason in {each.reason for each in made.dropped}
    assert not made.records


def test_without_verification_everything_readable_is_kept() -> None:
    settings = GenerationSettings(verify=False, confidence=1.0, everything=False)
    loose = Maker(load_region_model(), load_detector(), None, settings)
    (made,) = loose.make([("1", picture(700_003))])
    loose.close()
    assert made.written == len(made.records) > 5 and not any(record.evidence for record in made.records)


def test_a_second_look_tells_on_a_wrong_description(maker: Maker) -> None:
    scene, workspace = make_scene(700_001), Workspace()
    image = workspace.add_image(picture(700_001))
    small = next(each for each in scene.things if each.size == "small")
    (region,) = workspace.add_regions([[value * 384 for value in small.box]])
    right = Described(region, Description(small.kind, 1.0), Description(small.colour, 1.0), Description(small.name, 1.0))
    other = next(kind for kind in KINDS if kind != small.kind)
    wrong = Described(region, Description(other, 1.0), Description(small.colour, 1.0), Description(small.name, 1.0))
    found = maker._examiner.look_again(workspace, image, right, "kind")
    assert isinstance(found, tuple)
    (seen,) = found
    assert seen.kind == "second look" and small.kind in seen.text
    assert maker._examiner.look_again(workspace, image, wrong, "kind") == SECOND_LOOK
    assert maker._examiner.look_again(workspace, image, wrong, "colour") != SECOND_LOOK


def test_a_wrong_description_is_not_supported_however_sure(maker: Maker) -> None:
    scene, workspace = make_scene(700_006), Workspace()
    image = workspace.add_image(picture(700_006))
    regions = workspace.add_regions([[value * 384 for value in each.box] for each in scene.things])
    shifted = [*scene.things[1:], scene.things[0]]  # everybody is said to be the next one
    sure = [
        Described(region, *(Description(text, 1.0) for text in (said.kind, said.colour, said.name)))
        for region, said in zip(regions, shifted, strict=True)
    ]
    wanted = {(each.region.name, attribute) for each in sure for attribute in ("kind", "colour", "name")}
    support = maker._examiner.examine(workspace, image, sure, wanted)
    for described, true in zip(sure, scene.things, strict=True):
        if described.kind.text != true.kind:
            assert isinstance(support[described.region.name, "kind"], str)
        if described.name.text != true.name:
            assert isinstance(support[described.region.name, "name"], str)


@pytest.mark.parametrize(("label", "score", "there"), [("cup", 0.9, True), ("cup", 0.01, False), (None, 0.9, False)])
def test_geometry_needs_no_description_of_what_words_have_found(
    maker: Maker, label: str | None, score: float, there: bool
) -> None:
    scene, workspace = make_scene(700_006), Workspace()
    image = workspace.add_image(picture(700_006))
    (region,) = workspace.add_regions([[value * 384 for value in scene.things[0].box]])
    unsure = Described(replace(region, label=label, score=score), *[Description("anything", 0.1)] * 3)
    support = maker._examiner.examine(workspace, image, [unsure], {(region.name, THERE)})
    verdict = support[region.name, THERE]
    if there:
        assert isinstance(verdict, tuple) and [each.kind for each in verdict] == ["detector"]
        assert (region.name, "kind") not in support
    else:
        assert verdict == support[region.name, "kind"] == UNSURE


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


# ---------------------------------------------------------------- words


def test_the_detector_is_asked_for_the_words_it_knows() -> None:
    assert set(Vocabulary.known_to(load_detector()).kinds) == set(KINDS)
    assert Vocabulary.known_to(load_detector(), ("star", "zebra", "red fish")).kinds == ("star", "red fish")
    with pytest.raises(InvalidSetting, match="none of the words"):
        Vocabulary.known_to(load_detector(), ("zebra", "grey teapot"))


@pytest.mark.parametrize(
    ("attribute", "answer", "read"),
    [
        ("kind", "star", "star"),
        ("kind", "A red star.", "star"),
        ("kind", "a car and a star", "car and a star"),
        ("kind", "a scarf", "scarf"),
        ("colour", "The colour is red.", "red"),
        ("colour", "reddish", "reddish"),
        ("name", "A small  red star.", "small red star"),
        ("name", "", ""),
    ],
)
def test_answers_are_read_by_the_words_that_are_known(attribute: str, answer: str, read: str) -> None:
    assert VOCABULARY.read(attribute, answer) == read


@pytest.mark.parametrize("attribute", ["kind", "colour", "name"])
def test_alternatives_are_others_and_begin_with_what_was_told(attribute: str) -> None:
    told = {"kind": "star", "colour": "red", "name": "small red star"}[attribute]
    options = VOCABULARY.alternatives(attribute, told, ("small blue cup",), Random(0))
    assert options[0] == told and options[1] == "small blue cup"
    assert 3 <= len(options) == len(set(options)) <= 12
    if attribute == "name":
        assert any(option.endswith("red star") and not option.startswith("small") for option in options)


# ---------------------------------------------------------------- geometry

ONE, FAR, ONTO = thing(1, (10, 10, 60, 60)), thing(2, (200, 100, 300, 180)), thing(3, (40, 40, 120, 120))
CLOSE = thing(4, (64, 13, 110, 59))


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        (Claim("left of", ("region1", "region2")), True),
        (Claim("left of", ("region2", "region1")), False),
        (Claim("left of", ("region2", "region1"), holds=False), True),
        (Claim("above", ("region1", "region4")), None),
        (Claim("larger than", ("region2", "region1")), True),
        (Claim("smaller than", ("region2", "region1")), False),
        (Claim("larger than", ("region1", "region4")), None),
        (Claim("touching", ("region1", "region3")), True),
        (Claim("touching", ("region1", "region2")), False),
        (Claim("touching", ("region1", "region2"), holds=False), True),
        (Claim("touching", ("region1", "region4")), None),
        (Claim("leftmost", ("region1", "region2", "region3")), True),
        (Claim("leftmost", ("region2", "region1", "region3")), False),
        (Claim("topmost", ("region1", "region4", "region2")), None),
        (Claim("largest", ("region2", "region1")), True),
        (Claim("place", ("region1",), "top left"), True),
        (Claim("place", ("region1",), "top"), False),
        (Claim("place", ("region1",), "top", holds=False), True),
        (Claim("place", ("region3",), "left"), True),
    ],
)
def test_geometry_says_what_is_plain_and_no_more(claim: Claim, verdict: bool | None) -> None:
    assert layout(ONE, FAR, ONTO, CLOSE).confirms(claim) is verdict


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((180, 80, 220, 120), "centre"),
        ((0, 0, 1, 1), "top left"),
        ((399, 199, 400, 200), "bottom right"),
        ((0, 0, 400, 200), "centre"),
        ((190, 0, 210, 40), "top"),
        ((0, 90, 40, 110), "left"),
        ((123, 90, 143, 110), None),  # on the border between two thirds
        ((180, 50, 220, 84), None),
    ],
)
def test_a_place_is_told_in_thirds_and_not_near_their_borders(box: tuple[int, int, int, int], place: str | None) -> None:
    assert layout(thing(1, box)).place("region1") == place


# ---------------------------------------------------------------- verification of what is written

STAR, CUP = thing(1, (10, 10, 60, 60)), thing(2, (200, 100, 300, 180), "cup", "blue")
PROOF = (Evidence("choose", "<region1> is star", 0.9),)
SUPPORT: Support = {
    **{("region1", about): PROOF for about in ("kind", "colour", THERE)},
    **{("region2", about): UNSURE for about in ("kind", THERE)},
}


def asked(question: str, answer: str, *claims: Claim) -> Written:
    return Written("written", (WrittenTurn(question, answer, claims),), ("region1", "region2"))


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        (asked("What is <region1>?", "a star", Claim("kind", ("region1",), "star")), PROOF),
        (asked("What is <region1>?", "a cup", Claim("kind", ("region1",), "cup")), DESCRIPTION),
        (asked("What is <region2>?", "a cup", Claim("kind", ("region2",), "cup")), UNSURE),
        (asked("What is <region1>?", "a nice thing", Claim("kind", ("region1",), "star")), UNSUPPORTED),
        (asked("What is <region1>?", "a star"), UNSUPPORTED),
        (asked("What is <region9>?", "a star", Claim("kind", ("region1",), "star")), UNKNOWN),
        (asked("What is <region1>?", "a star", Claim("kind", ("region7",), "star")), UNKNOWN),
        (asked("What is <region1>?", "a star", Claim("shape", ("region1",), "star")), MALFORMED),
        (asked("What is <region1>?", "a star", Claim("kind", ("region1", "region2"), "star")), MALFORMED),
        (asked("What is <region1>?", " ", Claim("kind", ("region1",), "star")), MALFORMED),
        (Written("written", (), ()), MALFORMED),
        (asked("Is <region1> right of <region2>?", "yes", Claim("right of", ("region1", "region2"))), GEOMETRY),
        (asked("Is <region1> above <region2>?", "no", Claim("above", ("region1", "region2"))), UNSUPPORTED),
    ],
)
def test_what_is_written_is_kept_or_dropped_for_a_reason(written: Written, verdict: object) -> None:
    found = Verifier.of([STAR, CUP], layout(STAR, CUP), SUPPORT).verify(written)
    assert found == verdict
    assert isinstance(found, tuple) or found in REASONS


def test_geometry_that_is_too_close_drops_what_was_written() -> None:
    near = asked("Is <region1> above <region2>?", "yes", Claim("above", ("region1", "region2")))
    level = thing(2, (200, 11, 250, 61))
    assert Verifier.of([STAR, level], layout(STAR, level), SUPPORT).verify(near) == UNCLEAR


def test_geometry_is_that_of_things_that_are_known() -> None:
    left = asked("Is <region1> left of <region2>?", "yes", Claim("left of", ("region1", "region2")))
    assert Verifier.of([STAR, CUP], layout(STAR, CUP), SUPPORT).verify(left) == UNSURE
    known: Support = {**SUPPORT, ("region2", THERE): (Evidence("detector", "finds 'cup' at <region2>", 0.9),)}
    found = Verifier.of([STAR, CUP], layout(STAR, CUP), known).verify(left)
    assert isinstance(found, tuple) and [each.kind for each in found] == ["geometry", "choose", "detector"]
    assert "<region1> is left of and above <region2>" in found[0].text


KIND = {name: Claim("kind", (f"region{number}",), name) for number, name in ((1, "star"), (2, "cup"))}
SECOND_STAR = Claim("kind", ("region3",), "star")
RED = (Claim("colour", ("region1",), "red"), Claim("colour", ("region2",), "blue"))


@pytest.mark.parametrize(
    ("question", "answer", "claims", "follows"),
    [
        ("How many are stars: <region1>, <region2> and <region3>?", "two", (*KIND.values(), SECOND_STAR), True),
        ("How many are stars: <region1>, <region2> and <region3>?", "three", (*KIND.values(), SECOND_STAR), False),
        ("How many are stars: <region1>, <region2> and <region3>?", "none", (*KIND.values(), SECOND_STAR), False),
        ("How many are fish: <region1> and <region2>?", "none", tuple(KIND.values()), True),
        ("Which is larger, <region1> or <region2>?", "<region1>", (Claim("larger than", ("region1", "region2")),), True),
        ("Which is larger, <region1> or <region2>?", "<region2>", (Claim("larger than", ("region1", "region2")),), False),
        ("Which is larger, <region1> or <region2>?", "<region3>", (Claim("larger than", ("region1", "region2")),), False),
        ("Is <region2> left of <region1>?", "yes", (Claim("right of", ("region1", "region2")),), True),
        ("Is <region2> left of <region1>?", "no", (Claim("right of", ("region1", "region2")),), False),
        ("Is <region1> left of <region2>?", "no", (Claim("right of", ("region1", "region2")),), True),
        ("Do <region1> and <region2> touch?", "no", (Claim("touching", ("region2", "region1"), holds=False),), True),
        ("Do <region1> and <region2> touch?", "yes", (Claim("touching", ("region1", "region2"), holds=False),), False),
        ("Is <region1> bigger than <region2>?", "Yes.", (Claim("larger than", ("region1", "region2")),), True),
        ("Is it sunny?", "yes", (Claim("above", ("region1", "region2")),), False),
        ("Where is <region1>?", "left of <region2>", (Claim("left of", ("region1", "region2")),), True),
        ("Where is <region1>?", "under <region2>", (Claim("left of", ("region1", "region2")),), False),
        ("Where is <region1>?", "top left", (Claim("place", ("region1",), "top left"),), True),
        ("Where is <region1>?", "bottom", (Claim("place", ("region1",), "top left"),), False),
        ("How large is <region1>?", "small", (Claim("name", ("region1",), "small red star"),), True),
        ("How large is <region1>?", "large", (Claim("name", ("region1",), "small red star"),), False),
        ("Which is a red cup: <region1> and <region2>?", "none of them", (*RED, *KIND.values()), True),
        ("Which is a red star: <region1> and <region2>?", "none of them", (*RED, *KIND.values()), False),
    ],
)
def test_an_answer_must_say_what_its_claims_do(question: str, answer: str, claims: tuple[Claim, ...], follows: bool) -> None:
    assert says(WrittenTurn(question, answer, claims)) is follows


# ---------------------------------------------------------------- rules

THINGS = (
    thing(1, (10, 10, 60, 60)),
    thing(2, (45, 45, 120, 120), "cup", "red", "medium"),
    thing(3, (300, 20, 380, 90), "star", "blue"),
    thing(4, (200, 120, 250, 180), "fish", "green"),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_write_what_follows_from_their_claims(family: str) -> None:
    support: Support = {
        (each.region.name, attribute): PROOF for each in THINGS for attribute in ("kind", "colour", "name", THERE)
    }
    boxes = Layout(tuple(each.region for each in THINGS), (400, 200), 0.0, 1.0)
    scene = Scene(
        0, tuple(Thing(t.kind.text, t.colour.text, t.name.text.split()[0], t.region.box.normalised((400, 200))) for t in THINGS)
    )
    answers = set()
    for seed in range(40):
        page = Page(THINGS, boxes, VOCABULARY, Random(seed))
        for written in OfflineWriter((family,)).write(page, 2):
            assert isinstance(written, Written) and written.family == family
            assert isinstance(Verifier.of(THINGS, boxes, support).verify(written), tuple), written
            regions = tuple(each.region for each in THINGS if each.region.name in written.regions)
            turns = tuple(RecordTurn(turn.question, turn.answer) for turn in written.turns)
            assert is_true(Record("1", "1.png", (400, 200), regions, turns, "rules", "none"), scene), written
            answers.add(written.turns[0].answer)
    assert len(answers) >= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_rules_write_nothing_about_nothing(family: str) -> None:
    assert OfflineWriter((family,)).write(Page((), layout(), VOCABULARY, Random(0)), 5) == []


@pytest.mark.parametrize("family", [name for name in SINGLE if name not in ABOUT_ONE])
def test_rules_compare_nothing_alone(family: str) -> None:
    assert OfflineWriter((family,)).write(Page(THINGS[:1], layout(THINGS[0]), VOCABULARY, Random(0)), 5) == []


def test_yes_and_no_are_as_frequent() -> None:
    for family in ("relation", "larger", "same_kind", "touching", "presence"):
        boxes = layout(*THINGS)
        said = [
            written.turns[0].answer
            for seed in range(150)
            for written in OfflineWriter((family,)).write(Page(THINGS, boxes, VOCABULARY, Random(seed)), 1)
            if isinstance(written, Written)
        ]
        assert 0.35 <= said.count("yes") / len(said) <= 0.65, (family, said.count("yes"), len(said))


def test_what_does_not_touch_is_asked_of_regions_that_are_near() -> None:
    asked_about = set()
    for seed in range(150):
        for written in OfflineWriter(("touching",)).write(Page(THINGS, layout(*THINGS), VOCABULARY, Random(seed)), 1):
            assert isinstance(written, Written)
            ((turn,), (claim,)) = written.turns, written.turns[0].claims
            asked_about |= {tuple(sorted(claim.regions))} if turn.answer == "no" else set()
    assert asked_about and all(layout(*THINGS).relation(*pair).gap < 100 for pair in asked_about)
    assert not asked_about & {("region1", "region3"), ("region1", "region4")}


def test_all_regions_are_asked_about_without_their_names_only_where_no_others_are_given() -> None:
    bare = 0
    for family in ("extreme", "which", "count_colour", "count_kind", "turns"):
        for seed in range(60):
            for written in OfflineWriter((family,)).write(Page(THINGS, layout(*THINGS), VOCABULARY, Random(seed)), 2):
                assert isinstance(written, Written)
                for turn in written.turns:
                    if not mentioned(turn.question) and "region" in turn.question:
                        bare += 1
                        assert {name for claim in turn.claims for name in claim.regions} == set(written.regions), turn
    assert bare > 20


def test_a_number_of_none_is_explained_in_the_singular() -> None:
    reasons = [
        turn.answer
        for seed in range(200)
        for written in OfflineWriter(("why",)).write(Page(THINGS, layout(*THINGS), VOCABULARY, Random(seed)), 1)
        if isinstance(written, Written) and written.turns[0].answer == "none"
        for turn in written.turns[1:]
    ]
    assert reasons and all(each.startswith("none of them is ") for each in reasons)
    assert not any(each.endswith(("stars", "cups")) for each in reasons), reasons


def test_regions_have_now_and_then_the_high_numbers_of_long_conversations() -> None:
    regions = {each.region.name: each.region for each in (STAR, CUP)}
    turn = WrittenTurn("Is <region1> left of <region2>?", "yes", ())
    written, proof = (
        Written("relation", (turn,), ("region1", "region2")),
        (Evidence("geometry", "<region1> is left of <region2>"),),
    )
    origin, high = Origin("1.png", (400, 200), "rules", "none"), 0
    for seed in range(400):
        record = recorded(written, proof, regions, origin, 0, Random(seed))
        boxes = {region.name: region.box for region in record.regions}
        first, second = mentioned(record.turns[0].question)
        assert (boxes[first], boxes[second]) == (STAR.region.box, CUP.region.box)
        assert mentioned(record.evidence[0].text) == (first, second)
        high += set(boxes) != {"region1", "region2"}
    assert 0.15 < high / 400 < 0.35


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


def test_a_question_asked_twice_is_dropped_once(maker: Maker) -> None:
    twice = asked("What is <region1>?", "a star", Claim("kind", ("region1",), "star"))
    kept, dropped = maker._sorted([twice, twice], Verifier.of([STAR, CUP], layout(STAR, CUP), SUPPORT))
    assert len(kept) == 1 and [each.reason for each in dropped] == [REPEATED]
