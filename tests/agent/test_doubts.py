"""What the agent does not know: images unlike those that its models learned from, words that none learned, failed checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from roi_agent import Workspace, build_agent, build_toolbox, load_region_model
from roi_agent.agent.agent import Agent
from roi_agent.agent.evidence import check_evidence
from roi_agent.agent.result import Budget
from roi_agent.agent.running import Run
from roi_agent.model.detection.detector import Candidates
from roi_agent.model.protocol.region_model import RegionModel
from tests import photos

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def nano() -> RegionModel:
    return load_region_model("nano")


@pytest.fixture(scope="module")
def agent(nano: RegionModel) -> Agent:
    return build_agent(region_model=nano)


@pytest.mark.parametrize(
    "question",
    [
        "How many cats are there?",
        "Is there a person?",
        "Is there a star?",
        "Where is the flag?",
        "What colour is the largest thing?",
        "How many things are there?",
        "What is in the image?",
        "Which is larger, the star or the flag?",
    ],
)
def test_an_answer_about_a_photo_is_refused_or_doubted_once(agent: Agent, question: str) -> None:
    result = agent.run(PHOTO, question)
    told = [doubt for doubt in result.doubts if "the rendered scenes of the toy world" in doubt]
    assert result.status == "refused" or told, result.answer
    assert len(told) <= 1  # detector and region model know the same images
    assert all(doubt in result.answer for doubt in told)


@pytest.mark.parametrize("file", photos.CASES)
def test_no_photo_is_answered_about_as_if_it_were_a_scene(agent: Agent, file: Path) -> None:
    photo = photos.opened(file)
    for question in ("Where is the flag?", "What colour is the largest thing?"):
        result = agent.run(photo, question)
        assert result.status == "refused" or "the rendered scenes of the toy world" in result.answer, result.answer


@pytest.mark.parametrize(
    "question",
    [
        "How many cats are there?",
        "How many red cats are there?",
        "Is there a cat?",
        "Find the cats.",
        "What colour is the cat?",
        "Are there more cats than stars?",
        "Is the umbrella left of the cat?",
        "How many cats and umbrellas are there?",
    ],
)
def test_a_word_that_the_detector_never_learned_is_refused_and_not_denied(agent: Agent, question: str) -> None:
    result = agent.run(SCENE, question)
    assert result.status == "refused" and "cat' is not in this detector's vocabulary" in result.answer
    assert result.answer == result.said and not result.regions


def test_a_colour_that_the_detector_never_learned_is_refused_too(agent: Agent) -> None:
    assert "'beige umbrella' is not in this detector's vocabulary" in agent.run(SCENE, "Is there a beige umbrella?").answer
    assert agent.run(SCENE, "Is the umbrella beige?").said.startswith("no")


def test_an_answer_beside_a_refusal_stays(agent: Agent) -> None:
    result = agent.run(SCENE, "Is there an umbrella? Is there a cat?")
    assert result.status == "answered" and result.said.startswith("yes (region1)")
    assert "'cat' is not in this detector's vocabulary" in result.answer and "none" not in result.answer


# A detector of the user's own, which knows more than nano does

UNCHECKED = "the region model could not check that region1 is a cat"
DENIED = "the region model does not see that region1 is a cat"


def cats(image: Image.Image) -> list[dict[str, Any]]:
    """One, which in the scene is an umbrella."""
    return [{"box": [123, 194, 303, 377], "label": "cat", "score": 0.93}]


@pytest.mark.parametrize(("image", "doubt"), [(PHOTO, UNCHECKED), (SCENE, DENIED)])
@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("How many cats are there?", "one (region1)"),
        ("Is there a cat?", "yes (region1)"),
        ("Are there more cats than dogs?", "yes, cats: one, dogs: none (region1)"),
        ("Where is the cat?", "middle (region1)"),
        ("What kind of thing is the cat?", "cat (region1)"),
    ],
)
def test_nano_never_overrules_another_models_find(nano: RegionModel, image: Path, doubt: str, question: str, said: str) -> None:
    result = build_agent(region_model=nano, detector=cats).run(image, question)
    assert (result.status, result.said) == ("answered", said)
    assert sum(doubt in each for each in result.doubts) == 1


def test_a_colour_that_nano_cannot_check_is_neither_said_nor_denied(nano: RegionModel) -> None:
    refused = build_agent(region_model=nano, detector=cats).run(PHOTO, "How many white cats are there?")
    assert refused.status == "refused" and "cannot tell whether region1 is white" in refused.answer

    def white(image: Image.Image, phrases: Sequence[str]) -> list[dict[str, Any]]:
        return [cats(image)[0] | {"label": phrases[0]}]

    found = build_agent(region_model=nano, detector=white).run(PHOTO, "How many white cats are there?")
    assert found.said == "one (region1)" and any("could not check that region1 is white" in each for each in found.doubts)


def test_labels_are_compared_without_case_and_space(nano: RegionModel) -> None:
    def loud(image: Image.Image) -> list[dict[str, Any]]:
        return [cats(image)[0] | {"label": " Cat"}]

    result = build_agent(region_model=nano, detector=loud).run(PHOTO, "How many cats are there?")
    assert result.said == "one (region1)" and UNCHECKED in result.answer


class Scored:
    """A detector of phrases that sees the same boxes everywhere: one above its threshold, one below."""

    name, threshold = "scored", 0.5

    def candidates(self, images: Sequence[Image.Image], phrases: Sequence[str]) -> list[Candidates]:
        boxes = np.array([[60.0, 40, 300, 400], [310, 40, 500, 400]])
        return [Candidates(boxes, np.array([[0.93] * len(phrases), [0.3] * len(phrases)]))] * len(images)


def test_a_find_below_the_threshold_counts_only_where_it_could_be_checked(nano: RegionModel) -> None:
    result = build_agent(region_model=nano, detector=Scored()).run(PHOTO, "How many cats are there?")
    assert result.said == "one (region1)" and UNCHECKED in result.answer


def test_the_agents_own_check_says_that_it_could_not_be_made(nano: RegionModel) -> None:
    workspace = Workspace()
    workspace.add_image(PHOTO)
    workspace.add_regions(cats(Image.new("RGB", (9, 9))), source="detect")
    evidence = check_evidence("one (region1)", Run(Budget(), "test"), build_toolbox(workspace, region_model=nano))
    assert UNCHECKED in evidence.doubts and not any("does not see" in doubt for doubt in evidence.doubts)


def test_a_generic_question_counts_what_a_detector_finds_under_its_own_names(nano: RegionModel) -> None:
    result = build_agent(region_model=nano, detector=cats).run(PHOTO, "How many things are there?")
    assert result.said == "one (region1)"


def test_what_was_found_under_another_name_is_a_doubt(nano: RegionModel) -> None:
    result = build_agent(region_model=nano, detector=cats).run(PHOTO, "How many dogs are there?")
    assert result.said == "none" and "1 more was found with other labels than requested" in result.doubts


# What breaks


class Broken(RegionModel):
    """A region model of the user's own whose server is down."""

    def reply(self, *given: Any) -> Any:
        raise ConnectionError("no route to host")

    def choose_for(self, *given: Any) -> Any:
        raise ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("ask_about_regions", {"question": "What is <region1>?"}),
        ("ask_each_region", {"question": "What is <region>?"}),
        ("choose_answer", {"question": "What is <region1>?", "options": ["a", "b"]}),
    ],
)
def test_a_region_model_that_fails_is_a_coded_error_with_its_cause(tool: str, arguments: dict[str, Any]) -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    workspace.add_regions([[1, 2, 300, 400]])
    reply = build_toolbox(workspace, region_model=Broken()).call(tool, arguments)
    assert reply.error == "model_failed"
    assert reply.text.startswith("model_failed: the region model failed: ConnectionError: no route to host; ")


class BrokenSegmenter:
    """A segmenter of the user's own that breaks."""

    name = "broken"

    def masks(self, *given: Any, **more: Any) -> Any:
        raise ValueError("no masks today")

    def notes(self, image: Any) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(("tool", "arguments"), [("segment_regions", {"points": [[200, 230]]}), ("segment_everything", {})])
def test_a_segmenter_that_fails_is_a_coded_error_with_its_cause(tool: str, arguments: dict[str, Any]) -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    reply = build_toolbox(workspace, segmenter=BrokenSegmenter()).call(tool, arguments)
    assert reply.text.startswith("model_failed: the segmenter failed: ValueError: no masks today; ")


def test_a_failure_keeps_its_cause_in_result_and_trace(agent: Agent) -> None:
    result = build_agent(region_model=Broken()).run(SCENE, "What colour is the umbrella?")
    assert result.status == "refused" and "ConnectionError: no route to host" in result.answer
    (failed,) = [step for step in result.trace.steps if step.error]
    assert "ConnectionError: no route to host" in failed.text


def test_an_answer_after_a_failure_is_doubted_unless_the_tool_worked_later() -> None:
    workspace = Workspace()
    workspace.add_image(SCENE)
    toolbox, run = build_toolbox(workspace), Run(Budget(), "test")
    failure = "model_failed: the detector failed: OSError: gone; try again"
    run.record("tool", "find_regions", failure, run.start_step(), error=True)
    run.record("tool", "list_regions", "invalid_arguments: image: no", run.start_step(), error=True)
    assert "find_regions failed: the detector failed: OSError: gone; try again" in check_evidence("none", run, toolbox).doubts
    assert not any("list_regions" in doubt for doubt in check_evidence("none", run, toolbox).doubts)
    run.record("tool", "find_regions", "nothing found in image1", run.start_step())
    assert check_evidence("none", run, toolbox).doubts == ()
