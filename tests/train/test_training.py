"""Training on records: what learns and what does not, and what a run writes beside its model."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen3Config

from roi_agent.loading import load_region_model
from roi_agent.model.checkpoints.loading import load_part
from roi_agent.model.data.record_files import open_records, write_records
from roi_agent.model.domain.notes import NOT_KNOWN
from roi_agent.model.gpt4roi.configuration import GPT4RoIConfig
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from roi_agent.model.gpt4roi.region_inputs import RegionInputs
from roi_agent.model.toy.world.scenes import make_scene, render
from roi_agent.model.train import run_checkpoints
from roi_agent.model.train.export import training_images
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.mixture import open_parts
from roi_agent.model.train.packed_loss import PackedLoss
from roi_agent.model.train.readiness import check_images
from roi_agent.model.train.samples import Samples
from roi_agent.model.train.settings import EvaluationSettings, LoraSettings, RecordSettings
from roi_agent.model.train.starting import Start, prepare
from roi_agent.model.train.training import train_on_records
from tests import training_sets
from tests.record_runs import QUICK, job, losses, make_root, weights, write_bases
from tests.small import END, TEXT, make_inputs
from tests.training_sets import SIDE, write_set


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


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

    kept = FileSystemReader(run_checkpoints.checkpoints(tmp_path)[-1]).read_metadata().state_dict_metadata
    weights_kept = {name for name in kept if name.startswith("model.")}
    assert not [name for name in weights_kept if "language_model" in name and "lora_" not in name], "what is frozen is not kept"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")  # PEFT 0.21 asks for it
def test_adapters_on_a_language_model_with_tied_embeddings_are_trained_and_exported(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Qwen3Config(
        **TEXT | {"vocab_size": 9, "pad_token_id": None}, num_key_value_heads=1, head_dim=12, tie_word_embeddings=True
    )
    start = write_bases(tmp_path, text, monkeypatch)
    settings = replace(QUICK, trained=("region_encoder", "projector"), lora=LoraSettings(rank=2, alpha=8), learning_rate=1e-2)
    run = RecordJob(settings, start, root, tmp_path / "run")
    folder = train_on_records(run, show_progress=False)
    assert not [name for name in load_file(folder / "adapter" / "adapter_model.safetensors") if "lora_" not in name]
    trained, _ = start.load()
    prepare(trained, settings)
    run_checkpoints.load(run.folder, PackedLoss(trained))
    loaded, _ = Start(str(folder)).load()
    inputs = make_inputs(loaded)
    inputs["input_ids"].clamp_(max=END)
    with torch.no_grad():
        assert torch.allclose(loaded(**inputs).logits, trained.eval()(**inputs).logits, atol=1e-5)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


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
    none = replace(
        batch, regions=[RegionInputs(each.boxes[:0]) for each in batch.regions], row_regions=[[] for _ in batch.row_regions]
    )
    none.ids[none.ids == model.config.region_token_id] = 3
    PackedLoss(model)(none).backward()
    assert all(each.grad is not None for each in learning)


def first_batch(root: Path, processor: GPT4RoIProcessor) -> Any:
    from roi_agent.model.train.mixture import Mixture, open_parts

    mixture = Mixture.make(open_parts(root, QUICK.data, conversations=8), epochs=1, batch=4, seed=0)
    samples = Samples(mixture, processor, length=2048)
    return samples.collate([samples[index] for index in range(4)])


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


# ---------------------------------------------------------------- what is written


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


def test_a_model_that_distinguishes_images_does_so_by_those_it_was_trained_on(root: Path, tmp_path: Path) -> None:
    """With too few of them it says that there is no verdict."""
    from PIL import Image

    write_set(tmp_path / "own", "toy-train", scenes=8, each=1)
    for file in (tmp_path / "own" / "toy-train" / "images").iterdir():
        Image.effect_noise((SIDE, SIDE), 100).convert("RGB").save(file)
    few = load_region_model(train_on_records(job(tmp_path / "own", tmp_path / "few", "nano", epochs=1), show_progress=False))
    unjudged = few.ask(Image.new("RGB", (64, 64)), "What is <region1>?", regions=[[5, 5, 40, 40]], max_new_tokens=2)
    assert unjudged.in_domain is None and any(note == f"{NOT_KNOWN} (8 images of toy-train)" for note in unjudged.notes)
    write_set(tmp_path, "toy-train", scenes=40, each=1)
    one = job(tmp_path, tmp_path / "run", "nano", epochs=1, batch=40, micro_batch=40)
    folder = train_on_records(one, show_progress=False)
    assert "toy-train" in load_model_config(folder).domain
    model, question = load_region_model(folder), "What colour is <region1>?"
    known = Image.open(tmp_path / "toy-train" / "images" / "7.png")
    noise = Image.effect_noise((64, 64), 100).convert("RGB")
    notes = [model.ask(image, question, regions=[[5, 5, 40, 40]], max_new_tokens=2).notes for image in (known, noise)]
    assert not any("outside" in note for note in notes[0]) and any("toy-train" in note for note in notes[1])


def test_an_image_with_two_names_is_one_image_for_a_training(tmp_path: Path) -> None:
    """A name of another system is looked for, and counted, as the file that it means."""
    records = write_set(tmp_path, "toy-train", scenes=4, each=2)
    names = {"0.png": "images\\0.png", "1.png": "%31.png"}
    other = [
        replace(each, image=names.get(each.image, each.image) if number % 2 else each.image)
        for number, each in enumerate(records)
    ]
    assert {each.image for each in other} >= {"images\\0.png", "%31.png", "0.png", "1.png"}
    write_records(tmp_path / "toy-train" / "records-00000.jsonl", other)
    run = job(tmp_path, tmp_path / "run")
    for part in open_parts(run.data, run.settings.data, conversations=1):
        check_images(part)
    assert len(training_images(run)) == 4


def test_a_model_that_is_trained_on_few_scenes_still_knows_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setattr(training_sets, "SIDE", 256)
    write_set(tmp_path, "toy-train", scenes=3, each=1)
    folder = train_on_records(job(tmp_path, tmp_path / "run", "nano", epochs=1), show_progress=False)
    model = load_region_model(folder)
    scene, photo = render(make_scene(900_000_001), 384).image, Image.effect_noise((300, 300), 100).convert("RGB")
    assert [model.ask(image, "What?", max_new_tokens=2).in_domain for image in (scene, photo)] == [True, False]


def load_model_config(folder: Path) -> GPT4RoIConfig:
    config: GPT4RoIConfig = load_part(GPT4RoIConfig, folder)
    return config
