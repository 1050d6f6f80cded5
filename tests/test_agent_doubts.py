"""What the agent does not know: images unlike those that its models learned from, and words that no model learned."""

from pathlib import Path

import matplotlib
import pytest

from roi_agent import build_agent
from roi_agent.agent.agent import Agent

SCENE = Path(__file__).parent.parent / "examples" / "scene1.png"
PHOTO = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="module")
def agent() -> Agent:
    return build_agent()


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
    assert len(set(told)) == len(told) <= 2  # of the detector, and of the region model
    assert all(doubt in result.answer for doubt in told)


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
