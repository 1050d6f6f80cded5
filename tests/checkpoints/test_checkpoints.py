"""Published weights: every key finds its place, a delta is summed on the shared rows, ids follow the tokenizer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig

from roi_agent.model.checkpoints import convert, load_published, load_with_report, published_processor, rename_published
from roi_agent.model.checkpoints.shards import WeightFolder
from roi_agent.model.errors import CheckpointMismatch, ModelNotFound
from roi_agent.model.gpt4roi.processing import GPT4RoIProcessor
from tests import published
from tests.published import BASE_ROWS, ROWS, Release

EMBED, HEAD = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


# -- names


def test_names_are_renamed_whatever_the_values_are() -> None:
    renamed = rename_published(published.region_shapes() | published.llama_shapes(8))
    assert renamed["region_encoder.fusions.4.norm.bias"] == (16,)
    assert renamed["region_encoder.position.5.weight"] == (12,)
    assert renamed["region_encoder.up.weight"] == (16, 12)
    assert renamed["projector.weight"] == (16, 8)
    assert renamed["language_model.model.layers.1.mlp.down_proj.weight"] == (16, 24)
    assert renamed[HEAD] == (8, 16)
    assert not [name for name in renamed if "spi_module" in name or name.startswith("model.")]


def test_unknown_names_stay_visible() -> None:
    inv_freq = "model.layers.0.self_attn.rotary_emb.inv_freq"
    renamed = rename_published({inv_freq: 1, "model.vision_tower.0.vision_model.post_layernorm.bias": 2, "model.other": 3})
    assert renamed == {inv_freq: 1, "vision_tower.post_layernorm.bias": 2, "model.other": 3}


def test_two_names_for_one_tensor_are_refused() -> None:
    with pytest.raises(CheckpointMismatch, match=r"projector\.bias"):
        rename_published({"model.mm_projector.bias": 1, "projector.bias": 2})


# -- loading


@pytest.mark.parametrize("format", ["bin", "safetensors"])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_merged_checkpoint_is_taken_as_it_is(release: Release, tmp_path: Path, format: str, shards: int) -> None:
    folder = release.write(tmp_path / "merged", format=format, shards=shards)
    model, report = load_with_report(folder, vision=release.tower, show_progress=False)
    loaded = state(model)
    for name, value in rename_published(release.merged).items():
        assert torch.equal(loaded[name], value), name
    tower = WeightFolder(release.tower)
    assert {"vision_tower." + name.removeprefix("vision_model.") for name in tower.entries} == {
        name for name in loaded if name.startswith("vision_tower.")
    }
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16} and not model.training
    assert set(report.taken) == set(loaded) and not report.added and not report.ignored


def test_a_delta_is_added_on_the_rows_it_shares_with_its_base(release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "GPT4RoI-7B-delta-V0", shards=2)
    base = release.write_base(tmp_path / "llama", shards=3, format="safetensors")
    model, report = load_with_report(folder, base, release.tower, show_progress=False)
    loaded, delta, start = state(model), rename_published(release.merged), rename_published(release.base)
    for name in (EMBED, HEAD):
        assert torch.equal(loaded[name][:BASE_ROWS], delta[name][:BASE_ROWS] + start[name])
        assert torch.equal(loaded[name][BASE_ROWS:], delta[name][BASE_ROWS:])
    for name in set(start) - {EMBED, HEAD}:
        assert torch.equal(loaded[name], delta[name] + start[name]), name
    assert set(report.added) == set(start)
    assert "lm_head.weight: 32000 of 32006 rows are added to the base, the others copied" in report.notes
    assert torch.equal(loaded["projector.weight"], delta["projector.weight"])
    assert set(report.taken) == set(loaded) - set(start)


def test_the_configuration_follows_from_config_json_and_shapes(release: Release, tmp_path: Path) -> None:
    config = load_published(release.write(tmp_path / "merged"), vision=release.tower, show_progress=False).config
    text: Any = config.text_config
    assert (text.vocab_size, text.hidden_size, text.num_hidden_layers, text.rms_norm_eps) == (ROWS, 16, 2, 1e-6)
    assert (text.bos_token_id, text.eos_token_id, text.pad_token_id) == (1, 2, 32000)
    assert (config.region_channels, config.region_dim, config.roi_size, config.num_fusions) == (16, 12, 3, 5)
    assert (config.position_dim, config.fusion_groups, config.num_image_tokens) == (8, 16, 16)
    assert (config.pyramid_sizes, config.region_layers) == ([32, 16, 8, 4], [-11, -8, -5, -2])
    assert (config.image_token_id, config.region_token_id) == (32001, 32002)


def test_a_loaded_model_answers_about_boxes_and_its_buffers_are_computed(release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "merged")
    model = load_published(folder, vision=release.tower, dtype="float32", show_progress=False)
    fresh = type(model)(model.config)
    for name, buffer in fresh.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name)), name
    ids = torch.tensor([[1, *[32001] * 16, 32002, 7]])
    output = model(input_ids=ids, pixel_values=torch.randn(1, 3, 32, 32), boxes=[torch.tensor([[0.1, 0.1, 0.6, 0.9]])])
    assert output.logits.shape == (1, 19, ROWS) and output.logits.isfinite().all()


@pytest.mark.parametrize("dtype", ["float32", torch.bfloat16])
def test_the_type_can_be_chosen(release: Release, tmp_path: Path, dtype: str | torch.dtype) -> None:
    model = load_published(release.write(tmp_path / "merged"), vision=release.tower, dtype=dtype, show_progress=False)
    assert str(model.dtype).removeprefix("torch.") == str(dtype).removeprefix("torch.")
    assert model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32


def test_progress_counts_bytes(release: Release, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    load_published(release.write(tmp_path / "merged"), vision=release.tower, on_progress=lambda *each: seen.append(each))
    assert seen[0][0] == 0 and seen[-1][0] == seen[-1][1] > 2_000_000
    assert capfd.readouterr().err == "", "a bar is for terminals"


# -- the vision tower


def test_the_tower_may_come_from_a_whole_clip(release: Release, tmp_path: Path) -> None:
    ends: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2}
    text = CLIPTextConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, **ends)
    clip = CLIPModel(CLIPConfig(vision_config=published.VISION.to_dict(), text_config=text.to_dict(), projection_dim=8))
    clip.save_pretrained(tmp_path / "clip")
    model, report = load_with_report(release.write(tmp_path / "merged"), vision=tmp_path / "clip", show_progress=False)
    wanted = clip.vision_model.state_dict()["post_layernorm.weight"].half()
    assert torch.equal(state(model)["vision_tower.post_layernorm.weight"], wanted)
    assert {"logit_scale", "visual_projection.weight"} <= set(report.ignored)


def test_the_tower_may_be_in_the_checkpoint_or_named_by_its_config(release: Release, tmp_path: Path) -> None:
    tower = WeightFolder(release.tower)
    whole_tower = {name: torch.cat([part for _, part in tower.blocks(name)]) for name in tower.entries}
    prefix = "model.vision_tower.vision_model."
    inside = {prefix + name.removeprefix("vision_model."): value for name, value in whole_tower.items()}
    config = published.llama_config(ROWS) | {"vision_config": published.VISION.to_dict()}
    whole = published.write_checkpoint(tmp_path / "whole", release.merged | inside, config)
    named = published.write_checkpoint(tmp_path / "named", release.merged, config | {"mm_vision_tower": str(release.tower)})
    wanted = state(load_published(whole, vision=release.tower, show_progress=False))
    for folder in (whole, named):
        found = state(load_published(folder, show_progress=False))
        assert all(torch.equal(value, found[name]) for name, value in wanted.items())


def test_no_tower_is_an_error_that_says_what_to_download(release: Release, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="openai/clip-vit-large-patch14"):
        load_published(release.write(tmp_path / "merged"), show_progress=False)


# -- rows and tokens


@pytest.mark.parametrize(
    ("rows", "tokens", "ids"),
    [
        (32006, published.TOKENS, (32001, 32002, 32004, 32005)),
        (32006, (), (32001, 32002, 32004, 32005)),
        (32006, None, (32001, 32002, 32004, 32005)),
        (32005, published.WITHOUT_POINT, (32001, 32002, 32003, 32004)),
        (32005, (), (32001, 32002, 32003, 32004)),
        (32005, None, (32001, 32002, 32003, 32004)),
        (32005, published.TOKENS[1:], (32000, 32001, 32003, 32004)),
        (32006, ("<im_patch>", "<im_start>", "<im_end>", "<bbox>", "<point>"), (32000, 32003, 32001, 32002)),
    ],
)
def test_both_vocabularies_load_with_the_ids_of_their_tokenizer(
    tmp_path: Path, release: Release, rows: int, tokens: tuple[str, ...] | None, ids: tuple[int, ...]
) -> None:
    shapes = published.llama_shapes(rows) | published.region_shapes()
    folder = release.write(tmp_path / "merged", published.random_weights(shapes, seed=1), rows)
    if tokens is not None:
        published.write_tokenizer(folder, tokens, special=False)
    model, report = load_with_report(folder, vision=release.tower, show_progress=False)
    config = model.config
    found = (config.image_token_id, config.region_token_id, config.image_start_token_id, config.image_end_token_id)
    assert (found, config.vocab_size) == (ids, rows)
    assert ("assumed" in report.notes[0]) == (not tokens)
    if tokens is not None:
        tokenizer = published_processor(folder, config).tokenizer
        assert tokenizer.convert_tokens_to_ids("<bbox>") == ids[1] and len(tokenizer) <= rows


@pytest.mark.parametrize(
    ("rows", "tokens", "told"),
    [
        (
            32006,
            published.WITHOUT_POINT,
            "32005 tokens and the embedding 32006 rows: <point> is added as 32005",
        ),
        (32006, published.TOKENS[1:], "32005 tokens and the embedding 32006 rows: [PAD] is added as 32005"),
        (32006, published.TOKENS[:-1], "32005 tokens and the embedding 32006 rows: <im_end> is added as 32005"),
        (
            32006,
            ("<im_patch>", "<bbox>", "<im_start>", "<im_end>"),
            "32004 tokens and the embedding 32006 rows: [PAD] is added as 32004, <point> as 32005",
        ),
        (32008, published.TOKENS, "32006 tokens and the embedding 32008 rows: 2 rows have no token"),
        (
            32008,
            published.WITHOUT_POINT,
            "32005 tokens and the embedding 32008 rows: <point> is added as 32005, and 2 rows have no token",
        ),
        (32005, published.WITHOUT_POINT, None),
        (32006, published.TOKENS, None),
    ],
)
def test_a_token_that_the_tokenizer_lacks_is_named_and_added(
    tmp_path: Path, release: Release, rows: int, tokens: tuple[str, ...], told: str | None
) -> None:
    shapes = published.llama_shapes(rows) | published.region_shapes()
    folder = release.write(tmp_path / "merged", published.random_weights(shapes, seed=1), rows)
    published.write_tokenizer(folder, tokens)
    report = convert(folder, tmp_path / "out", vision=release.tower, show_progress=False)
    found = [note for note in report.notes if note.startswith("the tokenizer has")]
    assert found == ([f"the tokenizer has {told}"] if told else [])
    assert not told or told in report.summary()
    vocabulary = GPT4RoIProcessor.from_pretrained(tmp_path / "out").tokenizer.get_vocab()
    for token, added in re.findall(r"(\S+) (?:is added )?as (\d+)", told or ""):
        assert vocabulary[token] == int(added)


def test_ids_are_read_from_added_tokens_json_beside_an_older_tokenizer(tmp_path: Path, release: Release) -> None:
    folder = release.write(tmp_path / "merged")
    published.write_tokenizer(folder, ())
    shuffled = {"<im_patch>": 32000, "<im_start>": 32001, "<im_end>": 32002, "<bbox>": 32003, "<point>": 32004, "[PAD]": 32005}
    (folder / "added_tokens.json").write_text(json.dumps(shuffled))
    config = load_published(folder, vision=release.tower, show_progress=False).config
    assert (config.image_token_id, config.region_token_id, config.image_end_token_id) == (32000, 32003, 32002)
    assert published_processor(folder, config).tokenizer.convert_tokens_to_ids("<bbox>") == 32003


def test_typed_special_tokens_stay_text_even_if_the_checkpoint_did_not_mark_them(tmp_path: Path, release: Release) -> None:
    folder = release.write(tmp_path / "merged")
    published.write_tokenizer(folder, special=False)
    processor = published_processor(folder, load_published(folder, vision=release.tower, show_progress=False).config)
    inputs = processor(Image.new("RGB", (40, 30)), "is <bbox> or <im_patch> in <region1>?", regions=[[1, 2, 20, 22]])
    ids = inputs["input_ids"][0].tolist()
    assert (ids.count(32002), ids.count(32001)) == (1, 16)


@pytest.mark.parametrize(("rows", "tokens"), [(32005, published.TOKENS), (32002, ()), (32004, published.TOKENS)])
def test_a_vocabulary_that_does_not_fit_names_both_sizes(
    tmp_path: Path, release: Release, rows: int, tokens: tuple[str, ...]
) -> None:
    shapes = published.llama_shapes(rows) | published.region_shapes()
    folder = release.write(tmp_path / "merged", published.random_weights(shapes, seed=1), rows)
    published.write_tokenizer(folder, tokens)
    with pytest.raises(CheckpointMismatch, match=str(rows)) as caught:
        load_published(folder, vision=release.tower, show_progress=False)
    assert "32006" in str(caught.value)
