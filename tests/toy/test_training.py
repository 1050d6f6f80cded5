"""The trainer: settings, phases, what learns, and resuming."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, ModelNotFound, TrainingDiverged
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor, new_processor
from roi_agent.model.toy.questions.questions import FAMILY_NAMES
from roi_agent.model.toy.samples.questions import ToyDataset, collate
from roi_agent.model.toy.train import domain as familiar
from roi_agent.model.toy.train import phases, region_model
from roi_agent.model.toy.train.objectives import OBJECTIVES, answer_loss, region_codes
from roi_agent.model.toy.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.toy.train.tokenizer import train_tokenizer
from roi_agent.model.train.parameters import freeze_all_but
from tests.interrupted_steps import stop_at

QUICK = TrainSettings(
    preset="nano",
    save_every=2,
    log_every=1,
    workers=0,
    phases=(
        PhaseSettings(
            name="words",
            objective="words",
            trained=("language_model", "region_encoder.position", "region_encoder.up"),
            steps=3,
            scenes=2,
            questions=2,
            learning_rate=1e-3,
        ),
        PhaseSettings(
            name="stage1", objective="questions", trained=("region_encoder",), steps=3, scenes=2, questions=2, learning_rate=1e-3
        ),
    ),
)


@pytest.fixture(scope="module")
def processor() -> GPT4RoIProcessor:
    config = GPT4RoIConfig.preset("nano")
    return new_processor(config, train_tokenizer(config.vocab_size, num_scenes=200))


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Tokenizer and domain from few scenes: what they learn is not looked at."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(familiar, "SCENES", 100)
        patched.setattr(region_model, "train_tokenizer", partial(train_tokenizer, num_scenes=200))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    phases.train(QUICK, folder, show_progress=False)
    return folder


def losses(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "log.csv").open() as file:
        return [(row["phase"], row["step"], row["loss"]) for row in csv.DictReader(file)]


def test_an_interrupted_run_continues_with_the_same_losses_and_ends_in_the_same_weights(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut"
    stop_at(monkeypatch, 3, 7)  # in the first phase, and in the second after its checkpoint
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            phases.train(QUICK, cut, show_progress=False)
    phases.train(QUICK, cut, show_progress=False)

    assert losses(cut) == losses(whole)
    ours, theirs = load_file(whole / "model" / "model.safetensors"), load_file(cut / "model" / "model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_phase_is_run_alone_and_continues_only_as_what_it_began(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="no phase 'stage9'; choose one of words, stage1"):
        phases.train(QUICK, tmp_path, only="stage9", show_progress=False)
    phases.train(QUICK, tmp_path, only="stage1", show_progress=False)
    assert {phase for phase, *_ in losses(tmp_path)} == {"stage1"}
    alone = load_file(tmp_path / "model" / "model.safetensors")
    phases.train(QUICK, tmp_path, show_progress=False)
    after = load_file(tmp_path / "model" / "model.safetensors")
    changed = {name for name in after if not torch.equal(alone[name], after[name])}
    assert changed and all(name.startswith("language_model.") for name in changed), "each phase keeps only what it trained"
    assert [each.name for each in (tmp_path / "phases" / "words" / "checkpoints").iterdir()] == ["step-00000003"]
    words, stage1 = QUICK.phases
    with pytest.raises(InvalidSetting, match="'words' began with other settings: learning_rate"):
        phases.train(replace(QUICK, phases=(replace(words, learning_rate=1.0), stage1)), tmp_path, show_progress=False)
    with pytest.raises(InvalidSetting, match="no module 'towers'"):
        phases.train(replace(QUICK, phases=(replace(words, trained=("towers",)),)), tmp_path / "other", show_progress=False)


def test_phases_of_different_precision_follow_one_another_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, stage1 = (replace(phase, steps=1) for phase in QUICK.phases)
    tower = PhaseSettings(
        name="tower",
        objective="tower",
        trained=("vision_tower",),
        steps=1,
        scenes=2,
        questions=0,
        learning_rate=1e-3,
        precision="bf16",
    )
    seen: list[tuple[str, bool]] = []
    inner = region_model.RegionModelTrainee.loss

    def loss(self: Any, phase: PhaseSettings, *rest: Any) -> Any:
        seen.append((phase.name, torch.is_autocast_enabled("cpu")))
        return inner(self, phase, *rest)

    monkeypatch.setattr(region_model.RegionModelTrainee, "loss", loss)
    phases.train(replace(QUICK, phases=(words, tower, stage1)), tmp_path, show_progress=False)
    assert seen == [("words", False), ("tower", True), ("stage1", False)]


def test_a_trained_folder_is_a_model_that_answers(whole: Path) -> None:
    model = LocalRegionModel.from_folder(whole / "model")
    from PIL import Image

    assert model.ask(Image.new("RGB", (64, 64)), "What is <region1>?", regions=[[1, 1, 40, 40]], max_new_tokens=2).regions


def test_a_phase_changes_only_what_it_trains(processor: GPT4RoIProcessor) -> None:
    model = GPT4RoIForConditionalGeneration(GPT4RoIConfig.preset("nano"))
    learning = freeze_all_but(model, ("region_encoder.up",))
    assert {id(each) for each in learning} == {id(each) for each in model.region_encoder.up.parameters()}
    assert not model.vision_tower.training, "batch statistics of a frozen tower must not move"
    assert not model.language_model.training


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_every_objective_gives_gradients_to_what_it_reads(objective: str, processor: GPT4RoIProcessor) -> None:
    dataset = ToyDataset(processor, size=2, first=0, questions=2, weights={}, pixels=objective != "words")
    batch = collate([dataset[0], dataset[1]], pad_id=processor.tokenizer.pad_token_id)
    model = GPT4RoIForConditionalGeneration(GPT4RoIConfig.preset("nano"))
    loss, metrics = OBJECTIVES[objective](model, batch)
    loss.backward()
    reached = {name.split(".")[0] for name, each in model.named_parameters() if each.grad is not None and each.grad.any()}
    assert "region_encoder" in reached
    assert ("vision_tower" in reached) == (objective != "words")
    assert ("language_model" in reached) == (objective != "tower")
    assert all(0 <= value <= 1 for value in metrics.values())


def test_answers_weigh_as_the_root_of_their_length_however_padded(processor: GPT4RoIProcessor) -> None:
    dataset = ToyDataset(processor, size=3, first=0, questions=5, weights={}, pixels=False)
    samples = [dataset[index] for index in range(3)]
    model = GPT4RoIForConditionalGeneration(GPT4RoIConfig.preset("nano")).eval()
    pad = processor.tokenizer.pad_token_id

    def loss(rows_of: int | None) -> list[float]:
        found = []
        for sample in samples:
            for row in [sample.rows] if rows_of is None else [[each] for each in sample.rows]:
                batch = collate([replace(sample, rows=row)], pad_id=pad)
                kinds, colours = region_codes(model.config.region_dim)
                vectors = model.region_encoder.project(kinds[batch.kinds] + colours[batch.colours], batch.boxes)
                found.append(answer_loss(model, batch, None, vectors)[0].item())
        return found

    together, alone = loss(None), loss(1)
    for sample, whole, start in zip(samples, together, (0, 5, 10), strict=True):
        weights = [sum(label != IGNORE for label in row.labels) ** 0.5 for row in sample.rows]
        parts = [weight * each for weight, each in zip(weights, alone[start : start + 5], strict=True)]
        assert whole == pytest.approx(sum(parts) / sum(weights), abs=1e-4)


def test_samples_are_determined_by_their_index(processor: GPT4RoIProcessor) -> None:
    one, other = (ToyDataset(processor, size=4, first=7, questions=3, weights={}, pixels=True) for _ in range(2))
    assert torch.equal(one[2].boxes, other[2].boxes)
    assert one[2].rows == other[2].rows
    a, b = one[2].pixels, other[2].pixels
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)
    assert [row.labels.count(IGNORE) < len(row.labels) for row in one[2].rows] == [True] * 3


def test_codes_of_kinds_and_colours_are_orthogonal() -> None:
    codes = torch.cat(region_codes(128))
    gram = codes @ codes.T
    assert torch.allclose(gram, 64 * torch.eye(50), atol=1e-3)


def test_the_learning_rate_warms_up_and_decays() -> None:
    phase = PhaseSettings(
        name="p", objective="words", trained=("up",), steps=100, scenes=1, questions=1, learning_rate=1.0, warmup=0.1
    )
    schedule = replace(QUICK, phases=(phase,)).schedule(phase)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[-1] < 0.03


def test_the_shipped_configuration_loads_and_its_phases_follow_the_paper() -> None:
    settings = TrainSettings.load("nano")
    named = {phase.name: phase for phase in settings.phases}
    assert list(named)[-4:] == ["tower", "stage1", "stage2", "stage2-again"]
    assert named["stage1"].trained == ("region_encoder",)
    assert not any("vision" in module for module in named["stage2"].trained)
    assert all(set(phase.family_weights) <= set(FAMILY_NAMES) for phase in settings.phases)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("preset: nano\nphase: []", "unknown keys phase"),
        ("preset: nano\nphases: [{name: a, objective: dance, steps: 1, scenes: 1, questions: 1, learning_rate: 1}]", "dance"),
        (
            "preset: nano\nphases: [{name: a, objective: words, steps: 0, scenes: 1, questions: 1, learning_rate: 1}]",
            "steps is 0",
        ),
        (
            "preset: nano\nphases: [{name: a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 1, alone: 2}]",
            "alone is 2",
        ),
        (
            "preset: nano-detector\nphases: [{name: a, objective: phrases, steps: 1, scenes: 1, questions: 0, learning_rate: 1}]",
            "questions is 0",
        ),
        (
            "preset: nano-detector\n"
            "phases: [{name: a, objective: phrases, steps: 1, scenes: 1, questions: 1, learning_rate: 1, rates: {model: 2}}]",
            "phase a: rates are",
        ),
        ("preset: nano\nphases: [{name: a}]", "missing"),
        (
            "preset: nano\nphases: [{name: ../a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 1}]",
            "called '../a'",
        ),
        ("preset: nano\nsave_every: 0\nphases: []", "save_every is 0"),
        ("preset: nano\nworkers: -1\nphases: []", "workers is -1"),
        ("preset: nano\nseed: -1\nphases: []", "seed is -1"),
        ("preset: nano\nphases: 3", "phases is 3"),
        ("preset: nano\nphases: [words]", "phases is"),
        (
            "preset: nano\nphases: [{name: a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 1}]",
            "phase a: nothing is trained",
        ),
        (
            "preset: nano\n"
            "phases: [{name: a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 1, family_weights: {a: no}}]",
            "phase a: family_weights: the weight of a is False",
        ),
        (
            "preset: nano\nphases: [{name: a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 2e-5}]",
            "phase a: learning_rate is '2e-5', not a number",
        ),
        (
            "preset: nano\nphases:\n"
            "- &a {name: a, objective: words, steps: 1, scenes: 1, questions: 1, learning_rate: 1, trained: [up]}\n- *a",
            "two phases are called 'a'",
        ),
        ("preset: [", "not YAML"),
        ("just text", "a mapping"),
    ],
)
def test_wrong_settings_say_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InvalidSetting, match=problem):
        TrainSettings.load(tmp_path / "own.yaml")


def test_an_unknown_configuration_names_the_known_ones() -> None:
    with pytest.raises(ModelNotFound, match="nano"):
        TrainSettings.load("missing")


def test_a_loss_that_is_no_number_stops_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken: Any = {name: (lambda model, batch: (torch.tensor(float("nan"), requires_grad=True), {})) for name in OBJECTIVES}
    monkeypatch.setattr(region_model, "OBJECTIVES", broken)
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 0, on the scenes words/\d+, words/\d+;"):
        phases.train(QUICK, tmp_path, show_progress=False)


def test_a_run_that_continues_leaves_out_the_batch_at_which_it_diverged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = replace(QUICK.phases[0], steps=2)
    settings, objective, calls = replace(QUICK, phases=(words,)), OBJECTIVES["words"], []

    def broken(*arguments: Any) -> Any:
        calls.append(1)
        loss, metrics = objective(*arguments)
        return (loss * float("nan") if len(calls) == 2 else loss), metrics

    monkeypatch.setitem(OBJECTIVES, "words", broken)
    with pytest.raises(TrainingDiverged, match=r"step 1, on the scenes words/.*without this batch"):
        phases.train(settings, tmp_path, show_progress=False)
    phases.train(settings, tmp_path, show_progress=False)
    assert [(step, bool(loss)) for _, step, loss in losses(tmp_path)] == [("1", True), ("2", False)]
    assert (tmp_path / "left_out.txt").read_text().count("where the training diverged") == 2
