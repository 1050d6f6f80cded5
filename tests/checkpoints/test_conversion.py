"""`convert`: a folder that answers questions, or nothing at all; its tokenizers; its peak memory."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from PIL import Image
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from roi_agent.model.checkpoints import convert, load_published, published_processor
from roi_agent.model.checkpoints.dtypes import stored_dtype
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.errors import InvalidSetting, ModelNotFound
from tests import published
from tests.published import BASE_ROWS, ROWS, Release


def state(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


def test_convert_writes_a_folder_that_answers_questions(release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "delta", shards=2)
    release.copy_tokenizer(folder)
    base = release.write_base(tmp_path / "llama")
    out = tmp_path / "deep" / "out"
    report = convert(folder, out, base=base, vision=release.tower, show_progress=False)
    assert json.loads((out / "conversion.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert [each.name for each in out.parent.iterdir()] == ["out"] and list(out.glob("*.safetensors"))
    assert len({oct(file.stat().st_mode) for file in out.iterdir()}) == 1
    model = LocalRegionModel.from_folder(out, dtype=torch.float16)
    direct = load_published(folder, base, release.tower, show_progress=False)
    assert stored_dtype(out) == (torch.float16, report.num_parameters)
    assert all(torch.equal(value, state(model.model)[name]) for name, value in state(direct).items())
    answer = LocalRegionModel.from_folder(out, dtype=torch.float32).ask(
        Image.new("RGB", (64, 48)), "a <region1>", regions=[[1, 2, 30, 40]], max_new_tokens=2
    )
    assert answer.usage.prompt_tokens > 16


@pytest.mark.parametrize("kind", ["file", "full"])
def test_convert_never_overwrites(release: Release, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "full":
        out.mkdir()
    target = out if kind == "file" else out / "precious"
    target.write_text("keep me")
    with pytest.raises(InvalidSetting, match="out"):
        convert(tmp_path / "any", out, vision=release.tower, show_progress=False)
    assert target.read_text() == "keep me"


def test_convert_leaves_nothing_when_it_fails_late(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = release.write(tmp_path / "merged")
    release.copy_tokenizer(folder)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("roi_agent.model.gpt4roi.processing.GPT4RoIProcessor.save_pretrained", fail)
    with pytest.raises(OSError, match="no space"):
        convert(folder, tmp_path / "out" / "model", vision=release.tower, show_progress=False)
    assert not list((tmp_path / "out").iterdir())


def test_convert_checks_the_disk_first(release: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("roi_agent.model.checkpoints.target.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InvalidSetting, match="GiB free"):
        convert(release.write(tmp_path / "merged"), tmp_path / "out", vision=release.tower, show_progress=False)
    assert not (tmp_path / "out").exists()


def test_a_missing_tokenizer_is_said_before_the_weights_are_moved(release: Release, tmp_path: Path) -> None:
    folder = release.write(tmp_path / "merged")
    seen: list[int] = []
    with pytest.raises(ModelNotFound, match=r"tokenizer"):
        convert(folder, tmp_path / "out", vision=release.tower, show_progress=False, on_progress=lambda *_: seen.append(1))
    assert not seen and not (tmp_path / "out").exists()


def test_a_sentencepiece_tokenizer_is_read_as_llama_ships_it(release: Release, tmp_path: Path) -> None:
    text = [f"a {word} is at the {side} of the table" for word in ("cup", "ball", "lamp", "chair") for side in ("left", "right")]
    trained = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text * 20),
        model_writer=trained,
        vocab_size=60,
        model_type="bpe",
        byte_fallback=False,
        minloglevel=2,
    )
    pieces = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())  # type: ignore[attr-defined]
    for number in range(len(pieces.pieces), BASE_ROWS):  # LLaMA has 32,000; the release's tokens come after them
        pieces.pieces.add(piece=f"unused{number}", score=-1e6)
    folder = release.write(tmp_path / "merged")
    (folder / "tokenizer.model").write_bytes(pieces.SerializeToString())
    config = load_published(folder, vision=release.tower, show_progress=False).config
    tokenizer = published_processor(folder, config).tokenizer
    assert tokenizer.decode(tokenizer.encode("a cup is at the left", add_special_tokens=False)) == "a cup is at the left"
    assert tokenizer.convert_tokens_to_ids("<bbox>") == config.region_token_id


# -- memory

MEASURE = """
import gc, sys
from pathlib import Path
from roi_agent.model.checkpoints import convert, load_published

def memory(key):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))

def load(base):
    return load_published(big, base, tower, show_progress=False).num_parameters()

def write(base):
    return convert(big, root / "out", base=base, vision=tower, show_progress=False).num_parameters

root, small, big, base, tower = map(Path, sys.argv[1:])
convert(small, root / "warm", vision=tower, show_progress=False)  # imports and pools of the libraries are no cost of ours
gc.collect()
start = memory("VmRSS")  # once: what a case leaves behind with the allocator counts for the next
for case, run, start_from in (("merged", load, None), ("delta", load, base), ("convert", write, base)):
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")
    size = 2 * run(start_from)
    print(case, (memory("VmHWM") - start) / size, size >> 20)
"""


@pytest.mark.sweep
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_the_peak_is_at_most_a_third_above_the_result(release: Release, tmp_path: Path) -> None:
    sizes = {"hidden": 512, "layers": 20, "intermediate": 1376}
    shapes = published.llama_shapes(ROWS, **sizes) | published.region_shapes(hidden=512, channels=64, dim=1024, roi=14)
    delta = {name: torch.full(shape, 0.5, dtype=torch.float16) for name, shape in shapes.items()}
    llama = published.llama_shapes(BASE_ROWS, **sizes)
    start = {name: torch.full(shape, 0.25, dtype=torch.float16) for name, shape in llama.items()}
    big = published.write_checkpoint(tmp_path / "big", delta, published.llama_config(ROWS, **sizes))
    base = published.write_checkpoint(tmp_path / "base", start, published.llama_config(BASE_ROWS, **sizes), shards=2)
    small = release.write(tmp_path / "small")
    release.copy_tokenizer(small)
    release.copy_tokenizer(big)
    arguments = [sys.executable, "-c", MEASURE, *map(str, (tmp_path, small, big, base, release.tower))]
    # What one case frees goes back to the system before the next: the allocator would keep more or less of it, by chance.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    peaks = {case: float(ratio) for case, ratio, _ in map(str.split, done.stdout.splitlines())}
    print(done.stdout)
    assert set(peaks) == {"merged", "delta", "convert"} and max(peaks.values()) < 1.3
