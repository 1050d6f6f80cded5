"""Training on records with masks, focal crops and another image size: what is kept, what goes on, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from roi_agent.model.checkpoints.adapt import load_adapted
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.plan import estimate
from roi_agent.model.train.readiness import check_fit, check_ready
from roi_agent.model.train.settings import EvaluationSettings, RecordSettings
from roi_agent.model.train.starting import Start
from roi_agent.model.train.training import train_on_records
from tests.masked_runs import BOTH, job, make_root
from tests.record_runs import losses, weights


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


# ---------------------------------------------------------------- what is learned, and what is kept


def test_in_bf16_the_losses_are_near_those_in_float32(root: Path, tmp_path: Path) -> None:
    for precision in ("float32", "bf16"):
        train_on_records(job(root, tmp_path / precision, precision=precision, epochs=1, **BOTH), show_progress=False)
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "float32"), rel=0.05)


def test_an_interrupted_run_with_both_options_continues_to_the_same_bits_and_its_model_keeps_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = (job(root, tmp_path / name, "nano", epochs=1, **BOTH) for name in ("whole", "cut"))
    folder = train_on_records(whole, show_progress=False)
    step, calls = torch.optim.AdamW.step, []

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(cut, show_progress=False)
    train_on_records(cut, show_progress=False)
    assert losses(cut.folder) == losses(whole.folder) and len(losses(cut.folder)) == 2
    ours, theirs = weights(whole.folder), weights(cut.folder)
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)
    opened = ours["region_encoder.focal_gate"].abs().max()
    assert opened > 10 * whole.settings.learning_rate, "two steps at the common rate open it by twice that rate at most"
    model, processor = load_adapted(folder)
    assert (model.config.mask_pooling, model.config.focal_crop) == (True, True)
    assert (processor.mask_bins, processor.focal_crop) == (model.config.roi_size, True)


def test_masks_are_learned_from_only_where_the_option_is_on(root: Path, tmp_path: Path) -> None:
    found = {}
    for name in ("masked", "plain"):
        for on in (None, True):
            folder = tmp_path / f"{name}-{on}"
            train_on_records(job(root, folder, mask_pooling=on, data={name: 1.0}, epochs=1), show_progress=False)
            found[name, on] = losses(folder), weights(folder)
    assert found["masked", None][0] == found["plain", None][0] == found["plain", True][0] != found["masked", True][0]
    for name, value in found["masked", None][1].items():
        assert torch.equal(value, found["plain", None][1][name])


def test_a_training_at_another_image_size_gives_a_model_of_that_size(root: Path, tmp_path: Path) -> None:
    folder = train_on_records(job(root, tmp_path, image_size=48, epochs=1), show_progress=False)
    model, processor = load_adapted(folder)
    assert (model.config.image_size, model.config.num_image_tokens, processor.num_image_tokens) == (48, 36, 36)
    assert processor.image_processor.size["height"] == 48 and len(losses(tmp_path)) == 2


@pytest.mark.sweep
def test_two_processes_with_both_options_give_the_losses_of_one(root: Path, tmp_path: Path) -> None:
    """Of two images a step, each process has one; where one has no mask, the other has."""
    one = job(root, tmp_path / "one", "nano", micro_batch=1, evaluate=EvaluationSettings("masked", every=2, records=2), **BOTH)
    train_on_records(one, show_progress=False)
    train_on_records(replace(one, folder=tmp_path / "two"), processes=2, show_progress=False)
    assert losses(tmp_path / "two") == pytest.approx(losses(one.folder), abs=1e-4)
    ours, theirs = weights(one.folder), weights(tmp_path / "two")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)


# ---------------------------------------------------------------- what is refused, and what it takes


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"mask_pooling": "often"}, "mask_pooling is 'often'"),
        ({"focal_crop": 1}, "focal_crop is 1"),
        ({"image_size": 0}, "image size 0"),
        ({"image_size": 50}, "image size 50"),
        ({"image_size": 48.0}, r"image_size is 48\.0, not a number"),
        ({"image_size": "large"}, "image_size is 'large', not a number"),
        ({"image_size": 8192}, "image size 8192"),
        ({"focal_crop": True, "trained": ["projector"]}, "its gate would stay closed"),
    ],
)
def test_an_option_that_cannot_be_is_refused_before_the_first_step(
    root: Path, tmp_path: Path, values: dict[str, Any], problem: str
) -> None:
    given = {"model": "nano", "trained": ["region_encoder"], "data": {"masked": 1}, "batch": 2, "precision": "float32"}
    with pytest.raises(InvalidSetting, match=problem):
        check_ready(RecordJob(RecordSettings.of(given | values), Start(str(root / "tiny")), root, tmp_path / "run"), 1)
    assert not (tmp_path / "run").exists()


def test_a_run_continues_only_under_the_options_that_it_began_with(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, epochs=1)
    train_on_records(run, show_progress=False)
    with pytest.raises(InvalidSetting, match="other settings: mask_pooling"):
        check_ready(replace(run, settings=replace(run.settings, mask_pooling=True)), 1)


@pytest.mark.parametrize(("name", "value"), [("mask_bins", 7), ("focal_crop", True)])
def test_a_processor_with_other_options_is_no_processor_of_the_model(root: Path, name: str, value: object) -> None:
    config, processor = Start(str(root / "tiny")).description()
    setattr(processor, name, value)
    with pytest.raises(CheckpointMismatch, match=f"the processor has {name} {value}"):
        check_fit(config, processor, 200)


def test_the_plan_counts_crops_and_the_image_size() -> None:
    settings, config = RecordSettings.load("stage2-7b"), GPT4RoIConfig.preset("gpt4roi-7b")
    none: dict[str, Any] = {}
    plain, crops, masked = (
        estimate(replace(settings, **options), config, processes=8)
        for options in (none, {"focal_crop": True}, {"mask_pooling": True})
    )
    assert crops.parameters == plain.parameters + config.region_dim and crops.trained == plain.trained + config.region_dim
    assert crops.memory.activations > plain.memory.activations + 1e9
    assert masked == plain
    with pytest.raises(InvalidSetting, match="a multiple of 14"):
        estimate(replace(settings, image_size=300), config, processes=8)
