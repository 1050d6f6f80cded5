"""What a training on records starts from: a model, its bases, or a part anew."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    LlamaConfig,
    PreTrainedModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound, RoiAgentError
from roi_agent.model.train.job import RecordJob
from roi_agent.model.train.readiness import check_ready
from roi_agent.model.train.settings import LoraSettings
from roi_agent.model.train.starting import Start, prepare
from tests.record_runs import DEEP, QUICK, make_root, write_bases
from tests.small import PATCHES, TEXT, clip, gpt2, make_model


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


WORDS: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TOWERS: dict[str, Callable[[], PreTrainedModel]] = {
    "clip": lambda: CLIPVisionModel(CLIPVisionConfig(**DEEP)),
    "clip with its text half": lambda: CLIPModel(CLIPConfig(vision_config=DEEP, text_config=WORDS)),
    "siglip with its text half": lambda: SiglipModel(SiglipConfig(vision_config=DEEP, text_config=WORDS)),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**DEEP, num_register_tokens=4)),
    "shallow": lambda: CLIPVisionModel(CLIPVisionConfig(**{**PATCHES, "num_hidden_layers": 5})),
}


@torch.no_grad()
@pytest.mark.parametrize("name", TOWERS)
def test_any_tower_of_patches_becomes_part_of_a_model_that_is_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch.manual_seed(1)
    given = TOWERS[name]().eval()
    start = write_bases(tmp_path, gpt2() if name == "dinov3" else LlamaConfig(**TEXT), monkeypatch, given)
    model, processor = start.load()
    pixels = torch.randn(1, 3, 32, 32)
    tower: Any = getattr(given, "vision_model", given)
    expected = tower(pixels, output_hidden_states=True).hidden_states
    found = model.eval().vision_features(pixels, [-2])[0]
    assert found.shape[1] == model.config.num_image_tokens == 16
    assert torch.equal(found, expected[-2][:, -16:])
    inputs = processor(Image.new("RGB", (64, 48)), "What is <region1>?", regions=[[1, 2, 30, 40]])
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    again, _ = Start(str(tmp_path / "model")).load()
    assert torch.allclose(again.eval()(**inputs).logits, model(**inputs).logits, atol=1e-5)


def test_images_are_normalised_as_the_tower_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = write_bases(tmp_path, LlamaConfig(**TEXT), monkeypatch)
    SiglipImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.5, 0.5]).save_pretrained(tmp_path / "vision")
    for _, processor in (start.load(), start.description()):
        assert processor.image_processor.image_mean == [0.1, 0.2, 0.3]


def _lose(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _resize(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {name: torch.zeros(3)}, folder / "model.safetensors", {"format": "pt"})


HARMS: list[tuple[Callable[[Path, Path], Any], type[RoiAgentError], str]] = [
    (
        lambda language, vision: _lose(language, "model.norm.weight"),
        CheckpointMismatch,
        "'language'.* missing.*model.norm.weight",
    ),
    (lambda language, vision: _resize(language, "model.norm.weight"), CheckpointMismatch, r"model.norm.weight.*\(3,\).*\(24,\)"),
    (lambda language, vision: _resize(vision, "more.weight"), CheckpointMismatch, "'vision'.* unexpected.*more.weight"),
    (lambda language, vision: (vision / "model.safetensors").unlink(), ModelNotFound, "no weights in the folder 'vision'"),
    (lambda language, vision: (vision / "model.safetensors").write_bytes(b"x" * 99), CheckpointMismatch, "'vision'"),
    (lambda language, vision: _pickled(language, {"a": Path("/")}), CheckpointMismatch, "'language'"),
    (lambda language, vision: _pickled(language, b"x"), CheckpointMismatch, "'language'"),
    (lambda language, vision: (vision / "config.json").write_text('{"model_type": "resnet"}'), CheckpointMismatch, "patches"),
]


def _pickled(folder: Path, content: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


@pytest.mark.parametrize(("harm", "error", "problem"), HARMS)
def test_bases_that_do_not_fit_are_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    harm: Callable[[Path, Path], Any],
    error: type[RoiAgentError],
    problem: str,
) -> None:
    start = write_bases(tmp_path, LlamaConfig(**TEXT), monkeypatch)
    harm(tmp_path / "language", tmp_path / "vision")
    capfd.readouterr()
    with pytest.raises(error, match=problem) as refused:
        start.load()
    assert str(tmp_path) not in str(refused.value)
    assert capfd.readouterr().err == "", "the error says it all"


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
    with pytest.raises(InvalidSetting, match="cannot be reset"):
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
    with pytest.raises(InvalidSetting, match="is tied to the other embedding table"):
        prepare(tied, settings)
