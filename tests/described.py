"""Things as a model describes them, and what is written about them."""

from roi_agent.generation.claims import Claim, Proposal, ProposedTurn
from roi_agent.generation.describing import Described, Description
from roi_agent.generation.examiner import THERE, UNSURE, Support
from roi_agent.generation.layout import Layout
from roi_agent.generation.vocabulary import Vocabulary
from roi_agent.model.data.record import Evidence
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.toy.world.art import COLOURS, KINDS

VOCABULARY = Vocabulary(KINDS, tuple(COLOURS), ("small", "medium", "large"))


def thing(
    number: int, box: tuple[float, float, float, float], kind: str = "star", colour: str = "red", size: str = "small"
) -> Described:
    told = [Description(text, 0.99) for text in (kind, colour, f"{size} {colour} {kind}")]
    return Described(Region(f"region{number}", Box(*box)), *told)


def layout(*things: Described) -> Layout:
    return Layout(tuple(each.region for each in things), (400, 200), 0.03, 1.2)


STAR, CUP = thing(1, (10, 10, 60, 60)), thing(2, (200, 100, 300, 180), "cup", "blue")
PROOF = (Evidence("choose", "<region1> is star", 0.9),)
SUPPORT: Support = {
    ("region1", "kind"): PROOF,
    ("region2", "kind"): UNSURE,
    ("region1", "colour"): PROOF,
    ("region1", THERE): PROOF,
    ("region2", THERE): UNSURE,
}


def asked(question: str, answer: str, *claims: Claim) -> Proposal:
    return Proposal("written", (ProposedTurn(question, answer, claims),), ("region1", "region2"))
