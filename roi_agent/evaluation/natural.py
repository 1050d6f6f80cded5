"""Benchmark of the agent: questions in everyday wording about held-out scenes.

A wrong answer that is stated as a fact is worse than a refusal, so the two have separate columns.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from PIL import Image
from rich.table import Table

from roi_agent.agent.agent import Agent, build_agent
from roi_agent.evaluation.agent import SIDE, loaded_models
from roi_agent.evaluation.tables import markdown, table
from roi_agent.model.errors import PlannerFailed
from roi_agent.model.toy.questions.natural import REFUSAL, NaturalQuestion, is_right, natural_questions
from roi_agent.model.toy.world.scenes import render_image
from roi_agent.model.utils.progress import progress_bar
from roi_agent.model_choice import ModelChoice

Verdict = Literal["right", "refused", "doubted", "wrong"]


@dataclass(frozen=True, slots=True)
class NaturalAttempt:
    """One conversation and the agent's last answer in it, which is empty if the planner failed.

    doubts: number of doubts of that answer.
    """

    question: NaturalQuestion
    answer: str
    status: str
    doubts: int

    @property
    def verdict(self) -> Verdict:
        """right; refused; doubted, for a wrong answer with a doubt; wrong, for one that is stated as a fact.

        The right reply to a question that no picture can answer is a refusal.
        """
        unanswerable = self.question.reply == REFUSAL
        if self.status != "answered":
            return "right" if unanswerable else "refused"
        if not unanswerable and is_right(self.question, self.answer):
            return "right"
        return "doubted" if self.doubts else "wrong"

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        question = self.question
        return {
            "intent": question.intent,
            "scenes": [scene.seed for scene in question.scenes],
            "turns": list(question.turns),
            "truth": list(question.truth),
            "answer": self.answer,
            "doubts": self.doubts,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class NaturalScore:
    """One row of the table: an intent, its number of questions, and the share of each verdict; see `NaturalAttempt.verdict`."""

    intent: str
    questions: int
    right: float
    refused: float
    doubted: float
    wrong: float

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


def run_natural(
    planner: Any = "offline",
    *,
    models: ModelChoice | None = None,
    questions: int | None = None,
    first_seed: int = 0,
    show_progress: bool = True,
    **options: Any,
) -> list[NaturalAttempt]:
    """Ask every wording once, each in a new conversation.

    models: nano by default.  questions: number of wordings per intent, all by default.  options: further ones of `build_agent`.
    """
    agent = build_agent(planner, **options, **loaded_models(models or ModelChoice()))
    asked = [each for each in natural_questions(first_seed=first_seed) if questions is None or each.number < questions]
    attempts = []
    with progress_bar(show_progress) as progress:
        for question in progress.track(asked, description="answering"):
            attempts.append(_attempt(agent, question))
    return attempts


def natural_scores(attempts: Sequence[NaturalAttempt]) -> list[NaturalScore]:
    """Return the table: one row for each intent, and one for all of them."""
    intents = dict.fromkeys(each.question.intent for each in attempts)
    rows = [_score(intent.replace("_", " "), [each for each in attempts if each.question.intent == intent]) for intent in intents]
    return [*rows, _score("all", attempts)]


def natural_table(rows: list[NaturalScore], planner: str) -> Table:
    """Return the scores as a table for a terminal."""
    return table(f"Agent: {planner}, natural questions", _HEADINGS, [_cells(row) for row in rows], [True] * len(rows))


def natural_markdown(rows: list[NaturalScore]) -> str:
    """Return the scores as a Markdown table, for documents."""
    return markdown(_HEADINGS, [_cells(row) for row in rows])


_HEADINGS = ("intent", "asked", "right", "refused", "wrong, in doubt", "wrong, stated as fact")


def _attempt(agent: Agent, question: NaturalQuestion) -> NaturalAttempt:
    images: list[Image.Image] | None = [Image.fromarray(render_image(scene, SIDE)) for scene in question.scenes]
    thread = None
    try:
        for turn in question.turns:
            result = agent.run(images, turn, thread=thread)
            images, thread = None, result.thread
    except PlannerFailed:
        return NaturalAttempt(question, "", "refused", 0)
    return NaturalAttempt(question, result.said, result.status, len(result.doubts))


def _score(intent: str, attempts: Sequence[NaturalAttempt]) -> NaturalScore:
    verdicts, count = Counter(each.verdict for each in attempts), len(attempts)
    shares = {name: verdicts[name] / count for name in get_args(Verdict)}
    return NaturalScore(intent, count, **shares)


def _cells(row: NaturalScore) -> list[str]:
    return [row.intent, str(row.questions), *(f"{100 * share:.1f}" for share in (row.right, row.refused, row.doubted, row.wrong))]
