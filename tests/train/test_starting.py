"""What a training on records starts from: a model, its bases, or a part anew."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.settings import LoraSettings
from roi_agent.model.train.starting import Start, prepare
from tests.record_runs import QUICK, make_root, write_bases
from tests.small import TEXT, clip, make_model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("data"))


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


def test_a_part_can_start_anew(root: Path) -> None:
    model, _ = Start(str(root / "tiny")).load()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    prepare(model, QUICK, ["region_encoder"])
    other = {name for name, each in model.state_dict().items() if not torch.equal(each, before[name])}
    assert other and all(name.startswith("region_encoder.") for name in other)
    with pytest.raises(InvalidSetting, match="cannot start anew"):
        prepare(model, QUICK, ["language_model"])


@pytest.mark.parametrize(
    ("trained", "reset", "problem", "do"),
    [
        (("region_encoder",), (), "the projector starts from random weights and does not learn", "give --projector"),
        (("projector",), (), "the region encoder starts from random weights and does not learn", "name region_encoder under"),
        (("projector", "region_encoder.up"), (), r"region_encoder.input_convs.0.weight starts from random", "name region_enc"),
        (("projector", "region_encoder"), ("vision_tower",), "the vision tower starts from", "name vision_tower under"),
    ],
)
def test_what_is_random_and_would_stay_so_is_refused_before_the_first_step(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trained: tuple[str, ...],
    reset: tuple[str, ...],
    problem: str,
    do: str,
) -> None:
    start = write_bases(tmp_path, LlamaConfig(**TEXT), monkeypatch)
    job = RecordJob(replace(QUICK, trained=trained), start, root, tmp_path / "run", reset)
    with pytest.raises(InvalidSetting, match=problem) as refused:
        check_ready(job, 1)
    assert do in str(refused.value)


def test_a_projector_that_learns_may_be_random_and_is_the_same_in_every_process(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = write_bases(tmp_path, LlamaConfig(**TEXT), monkeypatch)
    job = RecordJob(replace(QUICK, trained=("region_encoder", "projector")), start, root, tmp_path / "run")
    check_ready(job, 1)
    found = []
    for _ in range(2):
        model, _ = start.load()
        prepare(model, job.settings, job.random)
        found.append(model.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize(
    ("trained", "learns"),
    [("language_model.model.layers.1", r"layers\.1\."), ("region_encoder.fusions.0.conv", r"fusions\.0\.conv\.")],
)
def test_a_module_learns_and_none_whose_name_begins_alike(trained: str, learns: str) -> None:
    model = make_model(clip, lambda: LlamaConfig(**TEXT | {"num_hidden_layers": 11}))
    prepare(model, replace(QUICK, trained=(trained,)))
    learning = [name for name, each in model.named_parameters() if each.requires_grad]
    assert learning and all(re.search(learns, name) for name in learning)


@pytest.mark.parametrize("trained", [("language_model.lm_head",), ("projector", "language_model.model.rotary_emb")])
def test_what_has_no_weights_of_its_own_cannot_be_trained(trained: tuple[str, ...]) -> None:
    tied = make_model(clip, lambda: LlamaConfig(**TEXT, tie_word_embeddings=True))
    with pytest.raises(InvalidSetting, match="has no weights of its own"):
        prepare(tied, replace(QUICK, trained=trained))


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_adapters_on_one_of_two_tied_tables_are_refused(module: str) -> None:
    tied = make_model(clip, lambda: LlamaConfig(**TEXT, tie_word_embeddings=True))
    settings = replace(QUICK, trained=("region_encoder",), lora=LoraSettings(rank=2, modules=("q_proj", module)))
    with pytest.raises(InvalidSetting, match="shares its weights"):
        prepare(tied, settings)
