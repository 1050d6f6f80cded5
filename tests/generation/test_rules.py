"""Instructions that rules write: they follow from their claims, and no answer is more frequent than it should be."""

from random import Random

import pytest

from roi_agent.generation.claims import Proposal, ProposedTurn
from roi_agent.generation.examiner import THERE, Support
from roi_agent.generation.layout import Layout
from roi_agent.generation.offline_writer import OfflineWriter
from roi_agent.generation.page import Page
from roi_agent.generation.recording import Origin, to_record
from roi_agent.generation.rules import ABOUT_ONE, FAMILIES, SINGLE
from roi_agent.generation.verifier import Verifier
from roi_agent.model.data.record import Evidence, Record, RecordTurn
from roi_agent.model.protocol.conversation import mentioned
from roi_agent.model.toy.world.scenes import Scene, Thing
from tests.described import CUP, PROOF, STAR, VOCABULARY, layout, thing
from tests.scene_truth import is_true

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
            assert isinstance(written, Proposal) and written.family == family
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
            if isinstance(written, Proposal)
        ]
        assert 0.35 <= said.count("yes") / len(said) <= 0.65, (family, said.count("yes"), len(said))


def test_what_does_not_touch_is_asked_of_regions_that_are_near() -> None:
    asked_about = set()
    for seed in range(150):
        for written in OfflineWriter(("touching",)).write(Page(THINGS, layout(*THINGS), VOCABULARY, Random(seed)), 1):
            assert isinstance(written, Proposal)
            ((turn,), (claim,)) = written.turns, written.turns[0].claims
            asked_about |= {tuple(sorted(claim.regions))} if turn.answer == "no" else set()
    assert asked_about and all(layout(*THINGS).relation(*pair).gap < 100 for pair in asked_about)
    assert not asked_about & {("region1", "region3"), ("region1", "region4")}


def test_all_regions_are_asked_about_without_their_names_only_where_no_others_are_given() -> None:
    bare = 0
    for family in ("extreme", "which", "count_colour", "count_kind", "turns"):
        for seed in range(60):
            for written in OfflineWriter((family,)).write(Page(THINGS, layout(*THINGS), VOCABULARY, Random(seed)), 2):
                assert isinstance(written, Proposal)
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
        if isinstance(written, Proposal) and written.turns[0].answer == "none"
        for turn in written.turns[1:]
    ]
    assert reasons and all(each.startswith("none of them is ") for each in reasons)
    assert not any(each.endswith(("stars", "cups")) for each in reasons), reasons


def test_regions_have_now_and_then_the_high_numbers_of_long_conversations() -> None:
    regions = {each.region.name: each.region for each in (STAR, CUP)}
    turn = ProposedTurn("Is <region1> left of <region2>?", "yes", ())
    written, proof = (
        Proposal("relation", (turn,), ("region1", "region2")),
        (Evidence("geometry", "<region1> is left of <region2>"),),
    )
    origin, high = Origin("1.png", (400, 200), "rules", "none"), 0
    for seed in range(400):
        record = to_record(written, proof, regions, origin, 0, Random(seed))
        boxes = {region.name: region.box for region in record.regions}
        first, second = mentioned(record.turns[0].question)
        assert (boxes[first], boxes[second]) == (STAR.region.box, CUP.region.box)
        assert mentioned(record.evidence[0].text) == (first, second)
        high += set(boxes) != {"region1", "region2"}
    assert 0.15 < high / 400 < 0.35
