"""Benchmark of the agent: compositional questions about held-out scenes.

Baselines show the contribution of each part: the region model asked about the whole image, the agent without detection,
without measuring and without second looks, and the most frequent answer of each family (chance).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image
from rich.table import Table

from roi_agent.agent.agent import build_agent
from roi_agent.evaluation.tables import markdown, table
from roi_agent.loading import load_role
from roi_agent.model.errors import InvalidSetting, PlannerFailed
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.model.toy.questions.compositional import COMPOSITIONAL, VisualQuestion, same_answer, visual_questions
from roi_agent.model.toy.world.scenes import Scene, render_image
from roi_agent.model.utils.progress import progress_bar
from roi_agent.model_choice import ModelChoice
from roi_agent.prompts import load_blocks

GOAL = 0.90  # accuracy of the offline planner over all families
SIDE = 384  # pixels of the rendered scenes, as `roi-agent scenes` writes them

# The agent's options in each column of the table.
VARIANTS: dict[str, dict[str, Any]] = {
    "agent": {},
    "no detector": {"without": ["detect"]},
    "no measuring": {"without": ["measure"]},
    "no second look": {"second_look": False},
}
DIRECT = "whole image"


@dataclass(frozen=True, slots=True)
class AgentScore:
    """One row of the table: a family, its number of questions, and the accuracy of every variant and of chance."""

    name: str
    questions: int
    right: dict[str, float]
    chance: float
    goal: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question and a variant's answer, which is empty if the agent failed."""

    variant: str
    scene: int
    question: VisualQuestion
    answer: str

    @property
    def right(self) -> bool:
        """Whether the answer is correct."""
        return same_answer(self.answer, self.question.answer)


def run_agent(
    planner: Any = "offline",
    *,
    models: ModelChoice | None = None,
    questions: int = 50,
    first_seed: int = 0,
    variants: Sequence[str] = (*VARIANTS, DIRECT),
    show_progress: bool = True,
    **options: Any,
) -> list[Attempt]:
    """Ask `questions` of every family with every variant, about scenes from `first_seed` on.

    models: nano by default.  options: further ones of `build_agent`, such as base_url.
    Error: InvalidSetting for an unknown variant, or seeds that overlap with those of training.
    """
    if unknown := [name for name in variants if name not in (*VARIANTS, DIRECT)]:
        raise InvalidSetting(f"there is no variant {unknown[0]!r}", do=f"use {', '.join((*VARIANTS, DIRECT))}")
    options |= loaded_models(models or ModelChoice())
    answer_functions: dict[str, Callable[[Image.Image, str], str]] = {}
    for name in variants:
        answer_functions[name] = (
            _ask_model(options["region_model"]) if name == DIRECT else _ask_agent(planner, {**options, **VARIANTS[name]})
        )
    attempts = []
    with progress_bar(show_progress) as progress:
        task = progress.add_task("answering", total=questions * len(COMPOSITIONAL))
        for scene, question in visual_questions(questions, first_seed=first_seed):
            attempts += list(_attempts(scene, question, answer_functions))
            progress.update(task, advance=1)
    return attempts


def agent_scores(attempts: Sequence[Attempt]) -> list[AgentScore]:
    """Return the table: one row for each family, and one for all of them."""
    families = [name for name in COMPOSITIONAL if any(each.question.family == name for each in attempts)]
    rows = [_score(name.replace("_", " "), [each for each in attempts if each.question.family == name]) for name in families]
    total = sum(row.questions for row in rows)
    chance = sum(row.chance * row.questions for row in rows) / max(total, 1)
    everything = _score("all", attempts)
    return [*rows, AgentScore("all", everything.questions, everything.right, chance, GOAL)]


def agent_table(rows: list[AgentScore], planner: str) -> Table:
    """Return the scores as a table for a terminal."""
    reached = [row.goal is None or row.right.get("agent", 1.0) >= row.goal for row in rows]
    return table(f"Agent: {planner}, exact match", _headings(rows), [_cells(row) for row in rows], reached)


def agent_markdown(rows: list[AgentScore]) -> str:
    """Return the scores as a Markdown table, for documents."""
    return markdown(_headings(rows), [_cells(row) for row in rows])


def loaded_models(choice: ModelChoice) -> dict[str, Any]:
    """Load every model once for all variants, under its name in `build_agent`."""
    names = {"ask": "region_model", "detect": "detector", "segment": "segmenter"}
    models: dict[str, Any] = {}
    for role, given in choice.by_role.items():
        missing = given == "none" and role != "ask"  # `_ask_model` needs an object, even for no region model
        models[names[role]] = None if missing else load_role(role, choice) if isinstance(given, str) else given
    return models


def _ask_agent(planner: Any, options: dict[str, Any]) -> Callable[[Image.Image, str], str]:
    agent = build_agent(planner, **options)

    convention = load_blocks("compositional")["convention"]

    def answer(image: Image.Image, question: str) -> str:
        try:
            return agent.run(image, f"{question} {convention}").said
        except PlannerFailed:
            return ""

    return answer


def _ask_model(model: RegionModel) -> Callable[[Image.Image, str], str]:
    return lambda image, question: model.ask(image, question, [[0, 0, *image.size]]).text


def _attempts(
    scene: Scene, question: VisualQuestion, answer_functions: dict[str, Callable[[Image.Image, str], str]]
) -> Iterator[Attempt]:
    image = Image.fromarray(render_image(scene, SIDE))
    for name, answer in answer_functions.items():
        yield Attempt(name, scene.seed, question, answer(image, question.question))


def _score(name: str, attempts: Sequence[Attempt]) -> AgentScore:
    variants = list(dict.fromkeys(each.variant for each in attempts))
    one = [each for each in attempts if each.variant == variants[0]]
    most_frequent = Counter(each.question.answer for each in one).most_common(1)[0][1]
    right = {variant: sum(each.right for each in attempts if each.variant == variant) / len(one) for variant in variants}
    return AgentScore(name, len(one), right, most_frequent / len(one))


def _headings(rows: list[AgentScore]) -> tuple[str, ...]:
    return ("family", "questions", *rows[0].right, "chance", "goal")


def _cells(row: AgentScore) -> list[str]:
    goal = "" if row.goal is None else f"{100 * row.goal:.0f}"
    return [
        row.name,
        str(row.questions),
        *(f"{100 * share:.1f}" for share in row.right.values()),
        f"{100 * row.chance:.1f}",
        goal,
    ]
