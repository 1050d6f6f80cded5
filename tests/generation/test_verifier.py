"""Instructions that were written are verified: by geometry, by what supports them, and by what they claim."""

import pytest

from roi_agent.generation.answer_checks import answer_follows
from roi_agent.generation.claims import Claim, Proposal, ProposedTurn
from roi_agent.generation.examiner import DESCRIPTION, THERE, UNSURE, Support
from roi_agent.generation.verifier import GEOMETRY, MALFORMED, REASONS, UNCLEAR, UNKNOWN, UNSUPPORTED, Verifier
from roi_agent.model.data.record import Evidence
from tests.described import CUP, PROOF, STAR, SUPPORT, asked, layout, thing

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
def test_a_place_is_named_in_thirds_and_not_near_their_borders(box: tuple[int, int, int, int], place: str | None) -> None:
    assert layout(thing(1, box)).place("region1") == place


# ---------------------------------------------------------------- verification of what is written


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
        (Proposal("written", (), ()), MALFORMED),
        (asked("Is <region1> right of <region2>?", "yes", Claim("right of", ("region1", "region2"))), GEOMETRY),
        (asked("Is <region1> above <region2>?", "no", Claim("above", ("region1", "region2"))), UNSUPPORTED),
    ],
)
def test_what_is_written_is_kept_or_dropped_for_a_reason(written: Proposal, verdict: object) -> None:
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
    assert answer_follows(ProposedTurn(question, answer, claims)) is follows
