"""What makes an answer doubtful: steps as a run leaves them, weighed against what tools and measuring say."""

from pathlib import Path
from typing import Any

import pytest

from roi_agent import Workspace, build_toolbox
from roi_agent.agent.evidence import check_evidence
from roi_agent.agent.result import Budget
from roi_agent.agent.running import Run
from roi_agent.model.geometry.boxes import Box
from roi_agent.model.geometry.regions import Region
from roi_agent.model.protocol.answers import Answer, Timing, Usage
from roi_agent.tools.ask import Asked
from roi_agent.tools.toolbox import Toolbox

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
BOXES = {"umbrella": [123, 194, 303, 377], "flag": [141, 9, 246, 134], "square": [315, 145, 504, 334]}


@pytest.fixture
def toolbox() -> Toolbox:
    workspace = Workspace()
    workspace.add_image(SCENE)
    items = [{"box": box, "label": label, "score": 0.9} for label, box in BOXES.items()]
    workspace.add_regions(items, source="detect")
    return build_toolbox(workspace)


def run_with(*answers: dict[str, Any], tool: str = "ask_about_regions") -> Run:
    """A run in which the region model said these things."""
    run = Run(Budget(), "test")
    for each in answers:
        regions = tuple(Region(name, Box(0, 0, 9, 9), image="image1") for name in each["regions"])
        result = Asked(each.get("question", ""), said(each, regions), "image1", regions, first_look=first_look(each, regions))
        run.record("tool", tool, each["text"], run.start_step(), result=result, regions=tuple(each["regions"]))
    return run


def said(given: dict[str, Any], regions: tuple[Region, ...]) -> Answer:
    timing, notes = Timing(0.0, 0.0, False), tuple(given.get("notes", ()))
    return Answer(given["text"], given.get("confidence", 1.0), regions, Usage(0, 0), timing, notes)


def first_look(given: dict[str, Any], regions: tuple[Region, ...]) -> Answer | None:
    return said(given["first_look"], regions) if "first_look" in given else None


def doubts(toolbox: Toolbox, said: str, *answers: dict[str, Any], verify: bool = False) -> tuple[str, ...]:
    return check_evidence(said, run_with(*answers), toolbox, verify=verify).doubts


def test_an_answer_with_evidence_is_not_doubted(toolbox: Toolbox) -> None:
    evidence = check_evidence("pink (region2)", run_with({"text": "pink", "confidence": 0.93, "regions": ["region2"]}), toolbox)
    assert (evidence.doubts, evidence.confidence) == ((), 0.93)
    assert [region.name for region in evidence.regions] == ["region2"]


def test_an_answer_without_any_look_is_doubted(toolbox: Toolbox) -> None:
    assert doubts(toolbox, "42") == ("no tool looked at the image",)


def test_a_region_that_is_not_there_is_named(toolbox: Toolbox) -> None:
    assert "the answer names region7, which no tool returned" in doubts(toolbox, "red (region7)")


def test_a_low_confidence_is_a_doubt_and_the_latest_answer_counts(toolbox: Toolbox) -> None:
    low = {"text": "red", "confidence": 0.31, "regions": ["region2"], "question": "What colour is <region2>?"}
    (doubt,) = doubts(toolbox, "red (region2)", low)
    assert doubt == 'the region model said "red" of region2 with a confidence of only 0.31'
    assert doubts(toolbox, "pink (region2)", low, {**low, "text": "pink", "confidence": 0.9}) == ()


def test_two_looks_that_disagree_are_a_doubt(toolbox: Toolbox) -> None:
    look = {"text": "pink", "regions": ["region2"], "first_look": {"text": "red", "confidence": 0.8}}
    (doubt,) = doubts(toolbox, "pink (region2)", look)
    assert doubt == 'two looks at region2 disagree: "red" in the whole image, "pink" from closer'
    assert doubts(toolbox, "pink (region2)", {**look, "first_look": {"text": "red", "confidence": 0.2}}) == ()


@pytest.mark.parametrize(
    "question,text,doubted",
    [
        ("Is <region1> left of <region3>?", "no", True),
        ("Is <region1> left of <region3>?", "yes", False),
        ("Is <region1> to the right of <region3>?", "yes", True),
        ("Is <region1> above <region2>?", "yes", True),
        ("Is <region2> smaller than <region3>?", "no", True),
        ("Is <region1> red?", "no", False),
    ],
)
def test_geometry_that_measuring_contradicts_is_a_doubt(toolbox: Toolbox, question: str, text: str, doubted: bool) -> None:
    found = doubts(toolbox, f"{text} (region1)", {"question": question, "text": text, "regions": ["region1"]})
    assert bool(found) == doubted
    assert not doubted or found[0].endswith("but the boxes contradict it")


def test_a_find_that_nobody_confirmed_is_asked_about(toolbox: Toolbox) -> None:
    wrong = toolbox.workspace.add_regions([{"box": BOXES["square"], "label": "star", "score": 0.42}], source="detect")[0]
    run = run_with()
    evidence = check_evidence(f"yes ({wrong.name}, region1)", run, toolbox)
    assert evidence.doubts == (f"the region model does not see a star in {wrong.name}, found with a score of 0.42",)
    assert [(step.kind, step.arguments["question"]) for step in run.steps] == [
        ("check", f"Is <{wrong.name}> a star?"),
        ("check", "Is <region1> an umbrella?"),
    ]


def test_a_note_of_a_model_is_a_doubt_once(toolbox: Toolbox) -> None:
    strange = "this image lies outside what the model was trained on: it knows noise; do not rely on the answer"
    look = {"text": "pink", "regions": ["region2"], "notes": [strange]}
    assert doubts(toolbox, "pink (region2)", look, {**look, "question": "Why?"}) == (strange,)
    assert doubts(toolbox, "none", look) == (strange,)


def test_a_note_on_another_region_and_one_on_a_second_look_are_none(toolbox: Toolbox) -> None:
    small = "region3 is 4 x 4 pixels, smaller than one feature cell: zoom in first"
    of_other = {"text": "yellow", "regions": ["region3"], "question": "What colour is <region3>?", "notes": [small]}
    assert doubts(toolbox, "pink (region2)", of_other) == ()
    assert doubts(toolbox, "yellow (region3)", of_other) == (small,)
    assert doubts(toolbox, "yellow (region3)", of_other, {**of_other, "notes": []}) == ()
    look = {"notes": [], "first_look": {"text": "yellow", "confidence": 0.9}}
    assert doubts(toolbox, "yellow (region3)", {**of_other, **look}) == ()
