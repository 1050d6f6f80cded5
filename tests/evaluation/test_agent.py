"""The agent's benchmark: real answers by every variant, and a table that counts them right."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from roi_agent.evaluation.agent import DIRECT, GOAL, VARIANTS, Attempt, agent_markdown, agent_scores, agent_table, run_agent
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.questions.compositional import COMPOSITIONAL, VisualQuestion

PAGE = Path(__file__).parents[2] / "docs" / "measured.md"
COLUMNS = (*VARIANTS, DIRECT)


@pytest.fixture(scope="module")
def attempts() -> list[Attempt]:
    return run_agent(questions=1, first_seed=40_000, show_progress=False)


def test_every_variant_answers_every_question(attempts: list[Attempt]) -> None:
    for variant in COLUMNS:
        families = [each.question.family for each in attempts if each.variant == variant]
        assert sorted(families) == sorted(COMPOSITIONAL)
        assert any(each.answer for each in attempts if each.variant == variant)


def test_the_agent_beats_the_region_model_alone_and_chance(attempts: list[Attempt]) -> None:
    overall = agent_scores(attempts)[-1]
    assert overall.name == "all" and overall.questions == 12 and overall.goal == GOAL
    assert overall.right["agent"] >= 0.75
    assert overall.right["agent"] > overall.right[DIRECT] + 0.3


def test_scores_are_counted_by_family_and_over_all() -> None:
    def attempt(variant: str, family: str, answer: str) -> Attempt:
        return Attempt(variant, 0, VisualQuestion(family, "Is there a star?", "yes"), answer)

    made = [
        attempt("agent", "existence", "yes (region1)"),
        attempt("agent", "count", "three"),
        attempt(DIRECT, "existence", "no"),
    ]
    first, second, everything = agent_scores([*made, attempt(DIRECT, "count", "yes")])
    assert (first.name, first.right) == ("existence", {"agent": 1.0, DIRECT: 0.0})
    assert (second.name, second.right) == ("count", {"agent": 0.0, DIRECT: 1.0})
    assert everything.right == {"agent": 0.5, DIRECT: 0.5} and everything.chance == 1.0


def test_the_table_is_shown_and_written(attempts: list[Attempt]) -> None:
    rows = agent_scores(attempts)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(agent_table(rows, "offline"))
    shown = console.export_text()
    assert all(column in shown for column in COLUMNS) and "two hop" in shown
    assert agent_markdown(rows).count("\n") == len(COMPOSITIONAL) + 2


def test_variants_and_seeds_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="there is no variant 'no luck'; use agent, no detector"):
        run_agent(variants=["no luck"])
    with pytest.raises(InvalidSetting, match="seed 1000000 belongs to training"):
        run_agent(questions=1, first_seed=1_000_000, variants=[DIRECT], show_progress=False)


def test_the_published_table_has_every_family_and_reaches_the_goal() -> None:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("<!-- table: agent -->")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == [*(name.replace("_", " ") for name in COMPOSITIONAL), "all"]
    assert all(int(row[1]) >= 50 for row in rows)
    assert float(rows[-1][2]) >= 100 * GOAL and re.search(r"agent \| no detector \| no measuring \| no second look", table)
