"""Training on records: the same losses however the work is shared and cut; what learns, what is kept, what stops it."""

import csv
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from roi_agent.loading import load_region_model
from roi_agent.model.configuration import GPT4RoIConfig
from roi_agent.model.data.record_files import open_records, write_records
from roi_agent.model.errors import (
    CheckpointMismatch,
    DataNotFound,
    InvalidSetting,
    ModelNotFound,
    RoiAgentError,
    TrainingDiverged,
    TrainingFailed,
)
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.processing import GPT4RoIProcessor
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.divergence import LossGuard
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.processes import launch
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.record_job import RecordJob
from roi_agent.model.train.record_settings import EvaluationSettings, LoraSettings, RecordSettings
from roi_agent.model.train.record_training import train_on_records
from roi_agent.model.train.samples import Samples
from roi_agent.model.train.starting import Start, prepare
from roi_agent.model.weights import load_model, load_part
from tests.commands import Runner
from tests.small import make_model, make_processor
from tests.training_sets import write_set

ALL = ("region_encoder", "projector", "language_model")
QUICK = RecordSettings(
    model="nano",
    trained=ALL,
    data={"toy-train": 1.0},
    batch=4,
    micro_batch=4,
    epochs=2,
    learning_rate=1e-3,
    weight_decay=0.01,
    precision="float32",
    log_every=1,
    save_every=2,
    workers=0,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record sets, and `tiny/`: a random GPT4RoI that is faster than nano by far."""
    folder = tmp_path_factory.mktemp("data")
    write_set(folder, "toy-train", scenes=8)
    write_set(folder, "toy-val", scenes=3, first=50, each=1)
    model = make_model()
    model.save_pretrained(folder / "tiny")
    make_processor(model.config).save_pretrained(folder / "tiny")
    return folder


def job(root: Path, folder: Path, start: str = "", **changes: Any) -> RecordJob:
    return RecordJob(replace(QUICK, **changes), Start(start or str(root / "tiny")), root, folder)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def back_to_step_2(folder: Path, other: Path) -> Path:
    """A copy of a finished run as it stood after its first checkpoint."""
    shutil.copytree(folder, other)
    shutil.rmtree(other / "checkpoints" / "step-00000004")
    shutil.rmtree(other / "model")
    return other


# ---------------------------------------------------------------- the same, however it is shared out and cut


def test_accumulation_does_not_change_the_losses(root: Path, tmp_path: Path) -> None:
    found = []
    for micro_batch in (4, 2, 1):
        train_on_records(job(root, tmp_path / str(micro_batch), micro_batch=micro_batch), show_progress=False)
        found.append(losses(tmp_path / str(micro_batch)))
    assert len(found[0]) == 4 and found[0][-1] < found[0][0]
    assert found[1] == pytest.approx(found[0], abs=1e-4) and found[2] == pytest.approx(found[0], abs=1e-4)


def test_a_cut_run_goes_on_to_the_same_losses_and_the_same_bits(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = job(root, tmp_path / "whole", "nano"), job(root, tmp_path / "cut", "nano")
    train_on_records(whole, show_progress=False)
    step, calls = torch.optim.AdamW.step, []

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", failing)
    with pytest.raises(KeyboardInterrupt):
        train_on_records(cut, show_progress=False)
    assert len(losses(cut.folder)) == 3, "the third step was done, and not kept"
    train_on_records(cut, show_progress=False)
    assert losses(cut.folder) == losses(whole.folder)
    ours, theirs = weights(whole.folder), weights(cut.folder)
    assert set(ours) == set(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_two_processes_with_fsdp_give_the_losses_of_one_and_either_goes_on_from_the_other(root: Path, tmp_path: Path) -> None:
    evaluate = EvaluationSettings("toy-val", every=2, records=2, max_new_tokens=4)
    one = job(root, tmp_path / "one", "nano", micro_batch=2, evaluate=evaluate)
    two = replace(one, folder=tmp_path / "two")
    train_on_records(one, show_progress=False)
    train_on_records(two, processes=2, show_progress=False)
    assert losses(two.folder) == pytest.approx(losses(one.folder), abs=1e-4)
    ours, theirs = weights(one.folder), weights(two.folder)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-4) for name in ours)
    for folder, processes in ((one.folder, 2), (two.folder, 1)):
        again = replace(one, folder=back_to_step_2(folder, tmp_path / f"{folder.name}-again"))
        train_on_records(again, processes=processes, show_progress=False)
        assert losses(again.folder) == pytest.approx(losses(one.folder), abs=1e-4)


@pytest.mark.slow
def test_two_processes_train_adapters_in_bf16(root: Path, tmp_path: Path) -> None:
    run = job(
        root, tmp_path, precision="bf16", trained=("region_encoder",), micro_batch=2, lora=LoraSettings(rank=2, dropout=0.0)
    )
    train_on_records(run, processes=2, show_progress=False)
    train_on_records(replace(run, folder=tmp_path / "one"), show_progress=False)
    assert losses(tmp_path) == pytest.approx(losses(tmp_path / "one"), rel=0.02)
    ours, theirs = weights(tmp_path), weights(tmp_path / "one")
    assert all(torch.allclose(ours[name], theirs[name], atol=0.05) for name in ours)


@pytest.mark.slow
def test_an_error_in_a_process_is_the_error_of_the_run(root: Path, tmp_path: Path) -> None:
    broken = tmp_path / "toy-train"
    shutil.copytree(root / "toy-train", broken)
    (broken / "images" / "3.png").write_bytes(b"no image")
    wrong = replace(job(root, tmp_path / "run", micro_batch=2), data=tmp_path)
    with pytest.raises(RoiAgentError) as error:
        train_on_records(wrong, processes=2, show_progress=False)
    assert error.value.code == "image_unreadable"


def end_suddenly() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_its_signal() -> None:
    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers = [signal.getsignal(each) for each in heard]
    with pytest.raises(TrainingFailed, match=r"training_failed: a training process ended: signal 9; .*last checkpoint"):
        launch(end_suddenly, processes=2)
    assert [signal.getsignal(each) for each in heard] == handlers  # the launcher leaves its own behind


@pytest.mark.slow
def test_a_killed_training_loses_at_most_what_came_after_the_last_checkpoint(root: Path, tmp_path: Path) -> None:
    settings = {"model": "nano", "trained": list(ALL), "data": {"toy-train": 1}, "batch": 2, "micro_batch": 2, "epochs": 4,
                "learning_rate": 1e-3, "precision": "float32", "log_every": 1, "save_every": 2, "workers": 0}  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "roi_agent.cli", "train", str(tmp_path / "own.yaml"), "--data", str(root), "--from", "nano"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--out", str(folder)], env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(run_checkpoints.saved(folder)) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done, kept = len(losses(folder)), int(run_checkpoints.saved(folder)[-1].name.removeprefix("step-"))
    assert kept <= done <= kept + 2 and done < 16
    whole = tmp_path / "whole"
    for each in (whole, folder):
        subprocess.run([*command, "--out", str(each)], env=environment, check=True, capture_output=True, timeout=240)
    assert losses(folder) == losses(whole)
    assert all(torch.equal(value, weights(folder)[name]) for name, value in weights(whole).items())


def test_only_the_two_newest_checkpoints_are_kept_and_halves_are_removed(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, save_every=1, workers=1)
    (tmp_path / "checkpoints" / "step-00000009.part").mkdir(parents=True)
    train_on_records(run, show_progress=False)
    assert sorted(each.name for each in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000004"]


# ---------------------------------------------------------------- what learns


@pytest.mark.parametrize("trained", [("region_encoder",), ("projector", "region_encoder.up")])
def test_only_what_is_trained_changes_and_the_result_answers(root: Path, tmp_path: Path, trained: tuple[str, ...]) -> None:
    folder = train_on_records(job(root, tmp_path, trained=trained), show_progress=False)
    before, after = load_file(root / "tiny" / "model.safetensors"), weights(tmp_path)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(trained) for name in changed)
    assert {name.split(".")[0] for name in changed} == {each.split(".")[0] for each in trained}
    from PIL import Image

    model = load_region_model(folder)
    assert model.ask(Image.new("RGB", (64, 64)), "is <region1> red ?", regions=[[1, 1, 40, 40]], max_new_tokens=2).regions


def test_a_part_can_start_anew(root: Path) -> None:
    model, _ = Start(str(root / "tiny")).load()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    prepare(model, QUICK, ["region_encoder"])
    other = {name for name, each in model.state_dict().items() if not torch.equal(each, before[name])}
    assert other and all(name.startswith("region_encoder.") for name in other)
    with pytest.raises(InvalidSetting, match="cannot start anew"):
        prepare(model, QUICK, ["language_model"])


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT 0.21 asks for it
def test_adapters_are_merged_into_the_result_and_kept_beside_it(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, trained=("region_encoder",), lora=LoraSettings(rank=2, alpha=8), learning_rate=1e-2)
    folder = train_on_records(run, show_progress=False)
    before, after = load_file(root / "tiny" / "model.safetensors"), weights(tmp_path)
    assert set(before) == set(after), "a merged model has no adapters"
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    text = {name for name in changed if name.startswith("language_model.")}
    assert text and all("_proj." in name for name in text) and any(name.startswith("region_encoder") for name in changed)
    from peft import PeftModel

    model, _ = Start(str(root / "tiny")).load()
    adapted = PeftModel.from_pretrained(model.language_model, str(folder / "adapter")).merge_and_unload()
    for name in text:
        assert torch.allclose(adapted.state_dict()[name.removeprefix("language_model.")], after[name], atol=1e-6)
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    kept = FileSystemReader(run_checkpoints.saved(tmp_path)[-1]).read_metadata().state_dict_metadata
    weights_kept = {name for name in kept if name.startswith("model.")}
    assert not [name for name in weights_kept if "language_model" in name and "lora_" not in name], "what is frozen is not kept"


def test_in_bf16_what_learns_is_kept_in_float32_and_the_rest_is_not(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, precision="bf16", trained=("region_encoder",))
    model, _ = run.start.load()
    prepare(model, run.settings)
    kinds = {part: {each.dtype for each in getattr(model, part).parameters()} for part in ("region_encoder", "language_model")}
    assert kinds == {"region_encoder": {torch.float32}, "language_model": {torch.bfloat16}}
    before = load_file(root / "tiny" / "model.safetensors")
    assert torch.equal(model.region_encoder.up.weight, before["region_encoder.up.weight"]), "nothing is rounded on the way"
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    train_on_records(run, show_progress=False)
    assert {each.dtype for each in weights(tmp_path).values()} == {torch.bfloat16}
    train_on_records(
        replace(run, settings=replace(run.settings, precision="float32"), folder=tmp_path / "32"), show_progress=False
    )
    assert losses(tmp_path) == pytest.approx(losses(tmp_path / "32"), rel=0.05)


def test_checkpointed_activations_give_the_same_gradients(root: Path) -> None:
    found = []
    for checkpointing in (False, True):
        model, processor = Start(str(root / "tiny")).load()
        prepare(model, replace(QUICK, gradient_checkpointing=checkpointing))
        PackedLoss(model)(first_batch(root, processor)).backward()
        found.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    assert set(found[0]) == set(found[1])
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


def test_a_batch_without_regions_gives_every_weight_a_gradient(root: Path) -> None:
    model, processor = Start(str(root / "tiny")).load()
    learning = prepare(model, QUICK)
    batch = first_batch(root, processor)
    none = replace(batch, boxes=[each[:0] for each in batch.boxes], row_regions=[[] for _ in batch.row_regions])
    none.ids[none.ids == model.config.region_token_id] = 3
    PackedLoss(model)(none).backward()
    assert all(each.grad is not None for each in learning)


def first_batch(root: Path, processor: GPT4RoIProcessor) -> Any:
    from roi_agent.model.train.mixture import Mixture, open_parts

    mixture = Mixture.make(open_parts(root, QUICK.data, conversations=8), epochs=1, batch=4, seed=0)
    samples = Samples(mixture, processor, length=2048)
    return samples.collate([samples[index] for index in range(4)])


def test_a_run_writes_held_out_scores_and_files_for_tensorboard(root: Path, tmp_path: Path) -> None:
    evaluate = EvaluationSettings("toy-val", every=2, records=3, max_new_tokens=8)
    train_on_records(job(root, tmp_path, "nano", evaluate=evaluate, learning_rate=1e-5), show_progress=False)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["held_out_loss"]) for row in rows] == [False, True, False, True]
    assert float(rows[1]["held_out_exact"]) >= 2 / 3, "nano knows these scenes' kind"
    assert all(float(row["tokens_per_second"]) > 0 and float(row["gradient_norm"]) > 0 for row in rows)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2, 3, 4]
    assert {"learning_rate", "tokens_per_second", "gradient_norm", "held_out_exact"} <= set(board.Tags()["scalars"])


def test_conversations_that_are_too_long_are_left_out_and_named(root: Path, tmp_path: Path) -> None:
    train_on_records(job(root, tmp_path, length=75, batch=8, micro_batch=8, epochs=1), show_progress=False)
    lines = (tmp_path / "left_out.txt").read_text().splitlines()
    assert 0 < len(lines) < 24 and all(line.startswith("toy/") and "longer than 75 tokens" in line for line in lines)


# ---------------------------------------------------------------- where it starts from


def test_bases_become_a_model_whose_new_parts_know_nothing(release: Any, root: Path, tmp_path: Path) -> None:
    base = release.write_base(tmp_path / "llama", format="safetensors")
    for file in release.tokenizer.iterdir():
        shutil.copy(file, base)
    hidden, channels = 16, 8
    base_weights = load_file(base / "model.safetensors")
    hidden = base_weights["model.norm.weight"].shape[0]
    projector = {"model.mm_projector.weight": torch.randn(hidden, channels), "model.mm_projector.bias": torch.randn(hidden)}
    torch.save(projector, tmp_path / "mm_projector.bin")
    start = Start(None, str(base), str(release.tower), str(tmp_path / "mm_projector.bin"))
    model, processor = start.load()
    config, _ = start.description()
    assert config.vocab_size == model.config.vocab_size == len(processor.tokenizer) == 32006
    state = model.state_dict()
    assert torch.equal(state["projector.weight"], projector["model.mm_projector.weight"])
    embeddings = state["language_model.model.embed_tokens.weight"]
    assert torch.equal(embeddings[:32000], base_weights["model.embed_tokens.weight"].float())
    assert torch.allclose(embeddings[32003], embeddings[:32000].mean(0), atol=1e-6)
    tower = load_file(release.tower / "model.safetensors")
    ours = {name.replace("vision_model.", "").removeprefix("vision_tower."): each for name, each in state.items()}
    for name, value in tower.items():
        short = name.replace("vision_model.", "")
        if "position_ids" not in short:
            assert torch.equal(ours[short], value)
    assert all(torch.isfinite(each).all() for each in state.values() if each.is_floating_point())
    with pytest.raises(CheckpointMismatch, match="projector"):
        torch.save({"weight": torch.zeros(2, 2), "bias": torch.zeros(2)}, tmp_path / "other.bin")
        replace(start, projector=str(tmp_path / "other.bin")).load()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "nothing to start from"),
        ({"folder": "nano", "vision": "a"}, "give --from, or the bases"),
        ({"language_model": "a"}, "nothing to start from"),
    ],
)
def test_a_start_is_a_model_or_its_bases(given: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidSetting, match=problem):
        Start(**given)


def test_presets_without_weights_say_what_to_give() -> None:
    with pytest.raises(ModelNotFound, match="not shipped"):
        Start("gpt4roi-7b").load()


# ---------------------------------------------------------------- what stops it


def test_a_loss_that_is_no_number_names_the_records_and_keeps_the_checkpoint(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(root / "tiny", folder)
    model = load_model(GPT4RoIForConditionalGeneration, folder)
    with torch.no_grad():
        model.projector.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(TrainingDiverged, match=r"the loss is nan at step 0, on the records toy/.*-0, .* and 4 more"):
        train_on_records(job(root, tmp_path / "run", str(folder)), show_progress=False)


def test_a_spike_stops_the_run_and_the_checkpoint_before_it_is_kept(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path, epochs=10, learning_rate=30.0, clip=1e9, warmup=0.6, spike=1.5, save_every=1)
    with pytest.raises(TrainingDiverged, match=r"at step \d+.*on the records toy/"):
        train_on_records(run, show_progress=False)
    assert run_checkpoints.saved(tmp_path)


@pytest.mark.parametrize(
    ("history", "step", "loss", "stops"),
    [
        ([1.0] * 20, 50, 4.9, False),
        ([1.0] * 20, 50, 5.1, True),
        ([1.0] * 20, 5, 50.0, False),
        ([0.001] * 20, 50, 0.4, False),
        ([0.001] * 20, 50, 0.6, True),
        ([1.0] * 9, 50, 50.0, False),
        ([1.0] * 20, 5, float("nan"), True),
        ([], 0, float("inf"), True),
    ],
)
def test_a_spike_is_told_from_the_running_median_once_warm(history: list[float], step: int, loss: float, stops: bool) -> None:
    guard = LossGuard(factor=5.0, warm=10, losses=history)
    if stops:
        with pytest.raises(TrainingDiverged, match="records a, b"):
            guard.check(step, loss, lambda: ["a", "b"])
    else:
        guard.check(step, loss, lambda: ["a", "b"])
        assert guard.losses[-1] == loss
    with pytest.raises(TrainingDiverged, match="norm is nan"):
        guard.check_gradient(step, float("nan"), lambda: ["a"])


Change = Callable[[Path, RecordJob], RecordJob]


def _without_images(data: Path, run: RecordJob) -> RecordJob:
    shutil.rmtree(data / "toy-train" / "images")
    (data / "toy-train" / "images").mkdir()
    return run


def _other_processor(data: Path, run: RecordJob) -> RecordJob:
    processor = load_part(GPT4RoIProcessor, data / "tiny")
    processor.num_image_tokens = 4
    processor.save_pretrained(data / "tiny")
    return run


@pytest.mark.parametrize(
    ("change", "error", "problem"),
    [
        (lambda _, run: replace(run, settings=replace(run.settings, data={"vcr-train": 1.0})), DataNotFound, "data convert vcr"),
        (_without_images, DataNotFound, r"8 of 8 images looked for of toy-train are not there, the first '0.png'"),
        (_other_processor, CheckpointMismatch, "shows 4 image tokens, and the model gives 16"),
        (lambda _, run: replace(run, settings=replace(run.settings, micro_batch=3)), InvalidSetting, "cannot be cut"),
        (lambda _, run: replace(run, settings=replace(run.settings, length=4000)), InvalidSetting, "length is 4000"),
        (lambda _, run: replace(run, settings=replace(run.settings, length=10)), InvalidSetting, "length is 10"),
        (lambda _, run: replace(run, settings=replace(run.settings, trained=("projector.x",))), InvalidSetting, "projector.x"),
        (lambda _, run: replace(run, start=Start("missing")), ModelNotFound, "missing"),
    ],
)
def test_what_would_stop_it_is_found_before_the_first_step(
    root: Path, tmp_path: Path, change: Change, error: type[RoiAgentError], problem: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(root, data)
    with pytest.raises(error, match=problem):
        check_ready(change(data, job(data, tmp_path / "run")), 1)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_found_before_the_first_step(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 65 << 20})())
    with pytest.raises(InvalidSetting, match="free"):
        check_ready(job(root, tmp_path / "run", "nano"), 1)


def test_a_run_goes_on_only_as_what_it_began(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    check_ready(replace(run, settings=replace(run.settings, micro_batch=1, log_every=7)), 1)
    with pytest.raises(InvalidSetting, match="other settings: learning_rate"):
        check_ready(replace(run, settings=replace(run.settings, learning_rate=0.5)), 1)
    with pytest.raises(InvalidSetting, match="other settings: from"):
        check_ready(replace(run, start=Start("nano")), 1)


def test_a_checkpoint_that_finds_no_room_ends_the_run_and_the_one_before_is_kept(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    longer = RecordJob(
        replace(run.settings, epochs=2, save_every=1), run.start, root, back_to_step_2(tmp_path, tmp_path / "again")
    )
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a full disk: a file of 20 kB and no more
    try:
        with pytest.raises(TrainingFailed, match="the checkpoint of step 3 cannot be written: File too large"):
            train_on_records(longer, show_progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [each.name for each in run_checkpoints.saved(longer.folder)] == ["step-00000002"]
    train_on_records(longer, show_progress=False)
    assert losses(longer.folder) == losses(tmp_path)


def test_a_damaged_checkpoint_is_named(root: Path, tmp_path: Path) -> None:
    run = job(root, tmp_path)
    train_on_records(run, show_progress=False)
    for file in run_checkpoints.saved(tmp_path)[-1].glob("*.distcp"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointMismatch, match="step-00000004 cannot be read"):
        train_on_records(run, show_progress=False)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"model": "large"}, "model is 'large'"),
        ({"trained": ["everything"]}, "everything"),
        ({"trained": []}, "nothing is trained"),
        ({"learning_rate": "2e-5"}, "learning_rate is '2e-5', not a number"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"warmup": 1}, "warmup is 1"),
        ({"precision": "fp8"}, "fp8"),
        ({"data": ["a"]}, "data is"),
        ({"data": {"a": 0}}, "weight of a is 0"),
        ({"data": {"a": True}}, "weight of a is True"),
        ({"single_turns": ["b"]}, "single_turns is .*'b'"),
        ({"single_turns": True}, "single_turns is True"),
        ({"spike": 1}, "spike is 1"),
        ({"compile": "yes"}, "compile is 'yes'"),
        ({"lora": {}}, "has adapters"),
        ({"lora": {"rank": 0}}, "rank is 0"),
        ({"lora": 8}, "lora is 8"),
        ({"evaluate": {"every": 5}}, "missing"),
        ({"speed": 1}, "unknown keys speed"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict[str, Any], problem: str) -> None:
    good = {"model": "nano", "trained": ["language_model"], "data": {"a": 1}, "batch": 4}
    assert RecordSettings.of(good).trained == ("language_model",)
    with pytest.raises(InvalidSetting, match=problem):
        RecordSettings.of(good | changes)


@pytest.mark.parametrize(("warmup_steps", "warm"), [(None, 10), (0, 1), (25, 25)])
def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine(warmup_steps: int | None, warm: int) -> None:
    settings = replace(QUICK, learning_rate=2.0, warmup=0.1, warmup_steps=warmup_steps)
    rates = [settings.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(2.0 / warm) and max(rates) == rates[warm] == pytest.approx(2.0)
    assert rates[-1] < 0.01 and rates[50 + warm // 2] == pytest.approx(1.0, abs=0.05)


def test_the_command_trains_on_records_and_refuses_options_of_the_other_kind(
    root: Path, tmp_path: Path, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"model": "nano", "trained": ["projector"], "data": {"toy-train": 1}, "batch": 8, "epochs": 1, "workers": 0}
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump(settings | {"precision": "float32", "micro_batch": 8}))
    done = run("train", str(config), "--data", str(root), "--from", str(root / "tiny"), "--out", str(tmp_path / "run"), "--json")
    assert done.code == 0 and (tmp_path / "run" / "model" / "config.json").is_file()
    for arguments, problem in (
        (("nano", "--data", str(root)), "trains on the toy world"),
        ((str(config), "--phase", "words"), "has no phases"),
        ((str(config), "--from", "nano"), "no data is named"),
    ):
        refused = run("train", *arguments)
        assert refused.code == 2 and problem in refused.err


def test_a_model_that_tells_images_apart_does_so_by_those_it_was_trained_on(root: Path, tmp_path: Path) -> None:
    """With too few of them it no longer does: a wrong warning is worse than none."""
    from PIL import Image

    assert not load_model_config(train_on_records(job(root, tmp_path / "few", "nano", epochs=1), show_progress=False)).domain
    write_set(tmp_path, "toy-train", scenes=40, each=1)
    one = job(tmp_path, tmp_path / "run", "nano", epochs=1, batch=40, micro_batch=40)
    folder = train_on_records(one, show_progress=False)
    assert "toy-train" in load_model_config(folder).domain
    model, question = load_region_model(folder), "What colour is <region1>?"
    known = Image.open(tmp_path / "toy-train" / "images" / "7.png")
    noise = Image.effect_noise((64, 64), 100).convert("RGB")
    notes = [model.ask(image, question, regions=[[5, 5, 40, 40]], max_new_tokens=2).notes for image in (known, noise)]
    assert not any("outside" in note for note in notes[0]) and any("toy-train" in note for note in notes[1])


def load_model_config(folder: Path) -> GPT4RoIConfig:
    config: GPT4RoIConfig = load_part(GPT4RoIConfig, folder)
    return config


def test_records_of_own_boxes_are_learned(root: Path, tmp_path: Path) -> None:
    """Made-up words for what nano knows by others: after a few steps it writes them."""
    data = tmp_path / "data"
    shutil.copytree(root / "toy-train", data / "boxes-train")
    records = [
        replace(record, turns=(replace(record.turns[0], question=f"What is <{record.regions[0].name}>?", answer="a blorp"),))
        for record in open_records(data / "boxes-train")
        if record.image in ("0.png", "1.png", "2.png", "3.png")
    ]
    write_records(data / "boxes-train" / "records-00000.jsonl", records)
    settings = replace(
        RecordSettings.load("nano-boxes"), trained=("region_encoder", "projector", "language_model"), epochs=40, log_every=1
    )
    run = RecordJob(settings, Start("nano"), data, tmp_path / "run")
    folder = train_on_records(run, show_progress=False)
    found = losses(tmp_path / "run")
    assert found[-1] < found[0] / 10
    image = open_records(data / "boxes-train").image(records[0])
    assert load_region_model(folder).ask(image, "What is <region1>?", regions=[records[0].regions[0].box]).text == "a blorp"
