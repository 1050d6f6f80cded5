"""The benchmark of natural questions: real answers of the agent, and verdicts that tell a refusal from a false fact."""

import pytest

from roi_agent.evaluation.natural import NaturalAttempt, natural_markdown, natural_scores, run_natural
from roi_agent.model.toy.questions.natural import REFUSAL, NaturalQuestion
from roi_agent.model.toy.questions.natural_intents import INTENTS
from roi_agent.model.toy.world.scenes import make_scene


@pytest.fixture(scope="module")
def attempts() -> list[NaturalAttempt]:
    return run_natural(questions=1, first_seed=40_000, show_progress=False)


def test_every_intent_is_asked_and_some_are_answered(attempts: list[NaturalAttempt]) -> None:
    assert [each.question.intent for each in attempts] == list(INTENTS)
    assert sum(each.verdict == "right" for each in attempts) >= 3


@pytest.mark.parametrize(
    ("answer", "status", "doubts", "verdict"),
    [
        ("red (region1)", "answered", 0, "right"),
        ("red (region1)", "answered", 1, "right"),
        ("blue (region1)", "answered", 1, "doubted"),
        ("blue (region1)", "answered", 0, "wrong"),
        ("I do not understand.", "refused", 0, "refused"),
        ("", "partial", 1, "refused"),
    ],
)
def test_a_wrong_fact_is_distinguished_from_a_doubt_and_a_refusal(answer: str, status: str, doubts: int, verdict: str) -> None:
    question = NaturalQuestion("colour", 0, (make_scene(0),), ("What colour is the star?",), "colours", ("red",))
    assert NaturalAttempt(question, answer, status, doubts).verdict == verdict


def test_a_question_that_no_picture_answers_wants_a_refusal() -> None:
    question = NaturalQuestion("not_to_be_seen", 0, (make_scene(0),), ("How old is the star?",), REFUSAL, ())
    verdicts = [NaturalAttempt(question, "ten", status, 0).verdict for status in ("refused", "answered")]
    assert verdicts == ["right", "wrong"]


def test_the_last_row_is_all_of_them(attempts: list[NaturalAttempt]) -> None:
    rows = natural_scores(attempts)
    assert (rows[-1].intent, rows[-1].questions) == ("all", len(INTENTS))
    assert all(row.right + row.refused + row.doubted + row.wrong == pytest.approx(1) for row in rows)
    assert natural_markdown(rows).count("\n") == len(INTENTS) + 2
