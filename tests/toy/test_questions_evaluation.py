"""The evaluation on the toy world, and that the published figures are those of the shipped weights."""

import json
from collections import Counter
from pathlib import Path

import pytest

from roi_agent.evaluation.toy import run_toy, toy_markdown
from roi_agent.loading import SHIPPED, load_region_model
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting
from roi_agent.model.toy.evaluate.questions import GOALS, GROUPS, Score, ask_families, evaluate_toy, scores
from roi_agent.model.toy.questions.questions import FAMILY_NAMES, TRAINING_SEEDS
from tests.commands import Runner

ROOT = Path(__file__).parents[2]


def test_every_family_is_in_one_row_and_every_goal_has_a_row() -> None:
    assert sorted(family for families in GROUPS.values() for family in families) == sorted(FAMILY_NAMES)
    assert set(GOALS) <= set(GROUPS)


def test_seeds_of_training_are_refused() -> None:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    with pytest.raises(InvalidSetting, match="belongs to training"):
        list(evaluate_toy(model, questions=5, first_seed=TRAINING_SEEDS - 3))


def test_families_are_asked_as_often_as_wanted() -> None:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    wanted = {"colour": 20, "touching": 3, "turns": 0}
    asked = [each for batch in ask_families(model, wanted, first_seed=70) for each in batch]
    assert Counter(each.example.family for each in asked) == {"colour": 20, "touching": 3}
    assert len({(each.scene.seed, each.example.family) for each in asked}) == 23
    assert list(ask_families(model, {})) == []


def test_batched_answers_are_those_of_asking_one_by_one() -> None:
    model = load_region_model("nano")
    assert isinstance(model, LocalRegionModel)
    from roi_agent.model.toy.world.scenes import render

    (answered, *_) = evaluate_toy(model, questions=1, first_seed=40)
    for asked in answered:
        if len(asked.example.turns) > 1:
            continue
        things = asked.scene.things
        regions = [{"name": name, "box": things[index].box, "unit": "normalised"} for name, index in asked.example.regions]
        answer = model.ask(render(asked.scene, 384).image, asked.example.turns[0].question, regions, max_new_tokens=32)
        assert answer.text == asked.answer


@pytest.mark.sweep
def test_nano_answers_as_well_as_published_on_scenes_it_never_saw() -> None:
    said = {score.name: score for score in published()}
    for score in run_toy("nano", questions=80, first_seed=600_000, show_progress=False):
        claim = said[score.name].accuracy
        # Four standard errors of so few questions below the published figure are a regression, not chance.
        assert score.accuracy >= claim - 4 * (max(claim * (1 - claim), 0.01) / score.questions) ** 0.5, score


def published() -> list[Score]:
    return [Score(**row) for row in json.loads((SHIPPED["ask"]["nano"] / "scores.json").read_text())]


@pytest.mark.parametrize("document", [ROOT / "docs" / "measured.md", SHIPPED["ask"]["nano"] / "README.md"])
def test_documents_show_the_measured_table(document: Path) -> None:
    assert toy_markdown(published()) in document.read_text()


def test_the_published_figures_rest_on_enough_questions() -> None:
    assert [score.name for score in published()] == list(GROUPS)
    assert all(score.questions >= 500 for score in published())


def test_the_published_figures_meet_every_goal() -> None:
    reached = {score.name: score.accuracy for score in published()}
    assert {name: reached[name] for name, goal in GOALS.items() if reached[name] < goal} == {}


def test_the_published_answers_come_from_the_boxes() -> None:
    for score in published():
        assert score.shuffled < score.accuracy - 0.15, score


def test_the_tables_are_written_as_a_report(run: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    done = run("evaluate", "toy", "--only", "segment", "--scenes", "3", "--out", str(folder), "--json")
    scores = json.loads((folder / "scores.json").read_text())
    assert done.code == 0 and json.loads(done.out) == {"schema_version": 1, **scores}
    text = (folder / "report.md").read_text()
    assert "## segment\n\n| prompt |" in text and "| torch |" in text
    (tmp_path / "file").write_text("")
    refused = run("evaluate", "toy", "--only", "segment", "--scenes", "3", "--out", str(tmp_path / "file"))
    assert refused.code == 2 and refused.err.startswith("invalid_setting: cannot write")


def test_chance_is_the_most_frequent_answer() -> None:
    from roi_agent.model.protocol.conversation import Turn
    from roi_agent.model.toy.evaluate.questions import AskedQuestion
    from roi_agent.model.toy.questions.questions import Example
    from roi_agent.model.toy.world.scenes import make_scene

    scene = make_scene(1)
    asked = [
        AskedQuestion(scene, Example("colour", (Turn("?", truth),), ()), answer, "red")
        for truth, answer in (("red", "red"), ("red", "blue"), ("blue", "blue"), ("red", "red"))
    ]
    row = next(score for score in scores(asked) if score.name == "colour")
    assert (row.questions, row.accuracy, row.chance, row.shuffled) == (4, 0.75, 0.75, 0.75)
