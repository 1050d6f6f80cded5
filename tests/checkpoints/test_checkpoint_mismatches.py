"""Published weights that do not fit or are damaged: both sides are named, and nothing half is loaded or written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from roi_agent.model.checkpoints import convert, load_published, load_with_report
from roi_agent.model.errors import CheckpointMismatch, InvalidSetting, ModelNotFound
from tests import published
from tests.published import BASE_ROWS, ROWS, Release


def drop(name: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda weights: weights.pop(name)


def put(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float16) -> Callable[[dict[str, Tensor]], Any]:
    return lambda weights: weights.update({name: torch.ones(shape, dtype=dtype)})


SPI = "model.spi_module."


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("model.norm.weight"), ["missing", "norm.weight", "(16,)"]),
        (drop("lm_head.weight"), ["missing", "lm_head"]),
        (drop("model.embed_tokens.weight"), ["embed_tokens"]),
        (drop("model.mm_projector.bias"), ["missing", "projector.bias"]),
        (drop(SPI + "mlvl_fuse.fuse_convs.4.conv.weight"), ["missing", "fusions.4.conv.weight"]),
        (drop(SPI + "roi_align.flatten_linear.weight"), ["flatten.weight"]),
        (drop("model.layers.1.mlp.up_proj.weight"), ["missing", "layers.1.mlp.up_proj"]),
        (put("model.extra.weight", (2, 3)), ["unexpected", "model.extra.weight", "(2, 3)"]),
        (put("model.layers.2.mlp.up_proj.weight", (24, 16)), ["unexpected", "layers.2"]),
        (put("model.norm.weight", (17,)), ["(17,)", "(16,)"]),
        (put("lm_head.weight", (32005, 16)), ["(32005, 16)", "(32006, 16)"]),
        (put(SPI + "roi_align.updims.weight", (20, 12)), ["(20, 12)", "(16, 12)"]),
        (put(SPI + "roi_align.flatten_linear.weight", (12, 150)), ["(12, 150)", "(12, 144)"]),
        (put(SPI + "mlvl_fuse.input_conv.2.weight", (16, 12, 1, 1)), ["(16, 12, 1, 1)", "(16, 10, 1, 1)"]),
        (put("model.layers.0.mlp.up_proj.weight", (24, 16), torch.int8), ["int8", "floating"]),
    ],
)
def test_what_does_not_fit_is_named_with_both_shapes_and_nothing_is_written(
    release: Release, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], words: list[str]
) -> None:
    weights = dict(release.merged)
    change(weights)
    folder = release.write(tmp_path / "in" / "merged", weights)
    release.copy_tokenizer(folder)
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointMismatch) as caught:
        convert(folder, tmp_path / "out" / "model", vision=release.tower, show_progress=False)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_many_problems_are_counted_and_the_first_are_shown(release: Release, tmp_path: Path) -> None:
    config = published.llama_config(ROWS, hidden=16, layers=4)
    folder = published.write_checkpoint(tmp_path / "merged", release.merged, config)
    with pytest.raises(CheckpointMismatch, match=r"18 keys do not fit: missing .*; and 13 more"):
        load_published(folder, vision=release.tower, show_progress=False)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (published.llama_shapes(BASE_ROWS, hidden=8), ["21 keys", "(32000, 8)", "(32006, 16)"]),
        (published.llama_shapes(32010), ["(32010, 16)", "(32006, 16)"]),
        (published.llama_shapes(BASE_ROWS, layers=3), ["the base has", "layers.2"]),
        (published.llama_shapes(BASE_ROWS, layers=1), ["the base lacks", "layers.1"]),
    ],
)
def test_a_base_that_does_not_fit_is_refused(
    release: Release, tmp_path: Path, base: dict[str, tuple[int, ...]], words: list[str]
) -> None:
    weights = published.random_weights(base, seed=5)
    folder = published.write_checkpoint(tmp_path / "llama", weights, published.llama_config(BASE_ROWS))
    with pytest.raises(CheckpointMismatch) as caught:
        load_published(release.write(tmp_path / "delta"), folder, release.tower, show_progress=False)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_delta_without_its_base_is_refused(release: Release, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatch, match="base"):
        load_published(release.write(tmp_path / "GPT4RoI-7B-delta-V0"), vision=release.tower, show_progress=False)


def test_old_buffers_are_ignored_with_a_reason(release: Release, tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    folder = release.write(tmp_path / "delta", release.merged | {name: torch.ones(4)})
    base = published.write_checkpoint(tmp_path / "llama", release.base | {name: torch.ones(4)}, published.llama_config(BASE_ROWS))
    _, report = load_with_report(folder, base, release.tower, show_progress=False)
    assert set(report.ignored) == {name, f"base: {name}"}
    assert "rotary" in report.ignored[name] and "2 ignored" in report.summary()


def damage_shard(folder: Path) -> None:
    file = sorted(folder.glob("*.bin"))[0]
    file.write_bytes(file.read_bytes()[:1000])


def lose_shard(folder: Path) -> None:
    sorted(folder.glob("*.bin"))[0].unlink()


def lose_tensor(folder: Path) -> None:
    index = json.loads((folder / "pytorch_model.bin.index.json").read_text())
    index["weight_map"]["model.more"] = next(iter(index["weight_map"].values()))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def point_outside(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "../a.bin"}}))


def spoil_index(folder: Path) -> None:
    (folder / "pytorch_model.bin.index.json").write_text("[]")


def pickle_code(folder: Path) -> None:
    torch.save({"a": Path("/")}, sorted(folder.glob("*.bin"))[0])


@pytest.mark.parametrize("harm", [damage_shard, lose_shard, lose_tensor, point_outside, spoil_index, pickle_code])
def test_damaged_files_are_a_mismatch(release: Release, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = release.write(tmp_path / "merged", shards=2)
    harm(folder)
    with pytest.raises(CheckpointMismatch) as caught:
        load_published(folder, vision=release.tower, show_progress=False)
    assert str(tmp_path) not in str(caught.value)


def test_folders_that_are_not_there_are_not_found(release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "merged")
    (tmp_path / "empty").mkdir()
    none = tmp_path / "none"
    for arguments in ((none,), (tmp_path / "empty",), (folder, none), (folder, None, none)):
        with pytest.raises(ModelNotFound):
            load_published(*arguments, show_progress=False)
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        load_published(folder, vision=release.tower, show_progress=False)


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"dtype": "float"}, {"device": "cuda:99"}, {"device": "moon"}])
def test_types_and_devices_that_are_not_there(release: Release, tmp_path: Path, options: dict[str, str]) -> None:
    folder = release.write(tmp_path / "merged")
    with pytest.raises(InvalidSetting):
        load_published(folder, vision=release.tower, show_progress=False, **options)  # type: ignore[arg-type]
