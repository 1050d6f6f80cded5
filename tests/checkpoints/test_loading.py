"""Models as they are loaded: in which type, on which device, at what cost of memory; and whether they can be trained later."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from roi_agent.loading import load_detector, load_models, load_region_model, load_segmenter
from roi_agent.model.checkpoints import dtypes
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.gpt4roi.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.protocol.answers import AnswerStream
from roi_agent.model.utils import progress
from tests import tiny
from tests.commands import Runner
from tests.small import make_model, make_processor

HALVES = (torch.float16, torch.bfloat16)


def save_as(folder: Path, dtype: torch.dtype) -> Path:
    """A small random model in a folder, its weights in that type."""
    model: Any = make_model()
    model.to(dtype)
    model.save_pretrained(folder)
    make_processor(model.config).save_pretrained(folder)
    return folder


def on_a_processor(monkeypatch: pytest.MonkeyPatch, *, bf16: bool, free_bytes: int) -> None:
    """One that multiplies bfloat16, or not, with so much memory."""
    monkeypatch.setattr(dtypes, "has_bfloat16", lambda: bf16)
    monkeypatch.setattr(dtypes, "memory", lambda: (free_bytes, free_bytes))


@pytest.mark.parametrize(
    ("stored", "bf16", "room", "runs", "told"),
    [
        (torch.float16, True, True, torch.bfloat16, "run in bfloat16"),
        (torch.float16, False, True, torch.float32, "run in float32"),
        (torch.float16, False, False, torch.bfloat16, "run in bfloat16, slowly"),
        (torch.bfloat16, True, True, torch.bfloat16, ""),
        (torch.bfloat16, False, True, torch.float32, "run in float32"),
        (torch.bfloat16, False, False, torch.bfloat16, "run in bfloat16, slowly"),
        (torch.float32, True, False, torch.float32, ""),
    ],
)
def test_on_a_cpu_half_precision_runs_in_what_is_fast_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    stored: torch.dtype,
    bf16: bool,
    room: bool,
    runs: torch.dtype,
    told: str,
) -> None:
    on_a_processor(monkeypatch, bf16=bf16, free_bytes=8 << 30 if room else 1 << 10)
    model = load_region_model(save_as(tmp_path / "mine", stored), device="cpu")
    assert isinstance(model, LocalRegionModel) and {each.dtype for each in model.model.parameters()} == {runs}
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert (len(lines) == 1 and told in lines[0] and "mine" in lines[0]) if told else not lines
    answer = model.ask(Image.new("RGB", (64, 64)), "is <region1> red ?", regions=[[1, 1, 40, 40]], max_new_tokens=2)
    assert answer.confidence is not None
    weights = load_file(tmp_path / "mine" / "model.safetensors")
    assert all(torch.equal(value, weights[name].to(runs)) for name, value in model.model.state_dict().items() if name in weights)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_type_that_is_asked_for_is_the_one_that_runs(tmp_path: Path, dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    model = load_region_model(save_as(tmp_path, torch.float16), device="cpu", dtype=dtype)
    assert isinstance(model, LocalRegionModel) and model.model.dtype == getattr(torch, dtype)
    assert not caplog.records


def test_detectors_and_segmenters_too_run_in_what_is_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_processor(monkeypatch, bf16=False, free_bytes=8 << 30)
    for folder, (model, processor) in ((tmp_path / "dino", tiny.grounding_dino(tmp_path)), (tmp_path / "sam", tiny.sam())):
        model.half().save_pretrained(folder)
        processor.save_pretrained(folder)
    detector: Any = load_detector(tmp_path / "dino", device="cpu")
    segmenter: Any = load_segmenter(tmp_path / "sam", device="cpu")
    assert detector.model.dtype == segmenter.model.dtype == torch.float32


@pytest.mark.parametrize(
    ("dtype", "types"),
    [
        (None, ("float32", "float32", "float32")),
        ("bfloat16", ("bfloat16", "bfloat16", "bfloat16")),
        ("ask=bfloat16", ("float32", "float32", "bfloat16")),
    ],
)
def test_the_models_of_the_tools_take_a_type_together_or_by_role(dtype: str | None, types: tuple[str, ...]) -> None:
    models = load_models(dtype=dtype)
    for role, wanted in zip(("detect", "segment", "ask"), types, strict=True):
        with models.use(role) as model:
            assert model.model.dtype == getattr(torch, wanted), role


@pytest.mark.parametrize("dtype", ["float8", "ask=", "draw=float16", "ask=float8"])
def test_a_type_that_there_is_not_is_named(run: Runner, dtype: str) -> None:
    found = run("run", "examples/scene1.png", "How many stars?", "--dtype", dtype)
    assert found.code == 2 and "invalid_setting" in found.err and "bfloat16" in found.err


COMMANDS = ["ask", "chat", "run", "detect", "segment", "serve", "mcp", "replay", "doctor", "data generate", "evaluate toy"]
COMMANDS += ["evaluate agent", "evaluate boxes", "evaluate vcr", "evaluate captions", "evaluate visual7w", "evaluate pope"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_loads_a_model_takes_a_type(run: Runner, command: str) -> None:
    assert "--dtype" in run(*command.split(), "--help").out


def test_a_command_runs_in_the_type_that_is_asked_for(run: Runner) -> None:
    found = run("ask", "examples/scene1.png", "What is <region1>?", "--box", "10,20,110,140", "--dtype", "bfloat16", "--json")
    assert found.code == 0 and json.loads(found.out)["text"]


_PEAK = """
import resource, sys, torch
from pathlib import Path
from roi_agent.model.protocol.answers import AnswerStream
from roi_agent.model.engine.local import LocalRegionModel
import roi_agent.model.checkpoints
from tests.small import make_model

def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

start = anonymous()
model = LocalRegionModel.from_folder(sys.argv[1], dtype=torch.bfloat16).model
size = sum(each.numel() * each.element_size() for each in model.parameters())
print((anonymous() - start) / size, size >> 20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_weights_in_another_type_cost_their_memory_once(tmp_path: Path) -> None:
    model = make_model().half()
    rows = 2_000_000
    table = torch.zeros(rows, model.config.hidden_size, dtype=torch.float16)
    model.config.text_config.vocab_size = rows
    weights = {name: each.clone() for name, each in model.state_dict().items()}
    weights |= {f"language_model.{name}.weight": table.clone() for name in ("model.embed_tokens", "lm_head")}
    model.config.save_pretrained(tmp_path)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    make_processor(model.config).save_pretrained(tmp_path)
    done = subprocess.run([sys.executable, "-c", _PEAK, str(tmp_path)], capture_output=True, text=True, check=True)
    times, megabytes = (float(each) for each in done.stdout.split())
    assert megabytes > 150 and times < 1.5


def test_a_model_that_was_moved_can_still_be_trained() -> None:
    model: GPT4RoIForConditionalGeneration = make_model()
    local = LocalRegionModel(model, make_processor(model.config))
    local.to("meta")  # a device that every machine has, beside the CPU
    assert model.device.type == "meta"
    assert not [name for name, each in model.named_parameters() if each.is_inference()]
    assert not [name for name, each in model.named_buffers() if each.is_inference()]


# ---------------------------------------------------------------- what is shown while it takes its time


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything takes too long."""
    monkeypatch.setattr(progress, "FIRST_S", 0.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("ask", "examples/scene1.png", "What is <region1>?", "--box", "10,20,110,140"), ("loading nano", "answering")),
        (("detect", "examples/scene1.png", "star"), ("loading nano",)),
        (("run", "examples/scene1.png", "What colour is the umbrella?"), ("loading nano", "the first answer")),
    ],
)
def test_what_takes_long_says_so_beside_the_json(run: Runner, arguments: tuple[str, ...], lines: tuple[str, ...]) -> None:
    found = run(*arguments, "--json")
    assert found.code == 0 and json.loads(found.out)
    assert all(f"{line} ... " in found.err for line in lines), found.err


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("streamed", [False, True])
def test_only_the_first_answer_of_a_model_is_waited_for_aloud(streamed: bool, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_region_model("nano")
    assert "loading nano ... " in capsys.readouterr().err
    for shown in (True, False):
        ask = model.stream if streamed else model.ask
        answer = ask("examples/scene1.png", "What is <region1>?", [[10, 20, 110, 140]])
        assert "".join(answer) if isinstance(answer, AnswerStream) else answer.text
        assert ("the first answer ... " in capsys.readouterr().err) == shown


def test_a_line_comes_again_and_never_within_another(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    monkeypatch.setattr(progress, "AGAIN_S", 0.0)
    told = ""
    with progress.waiting("counting"), progress.waiting("adding"):
        while told.count("counting ... ") < 3:
            told += capsys.readouterr().err
    assert "adding" not in told


def test_a_bar_that_nobody_sees_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "FIRST_S", 0.0)
    monkeypatch.setattr(progress, "AGAIN_S", 0.0)
    told = ""
    with progress.progress_bar() as bar, progress.waiting("reading"):
        task = bar.add_task("loading weights", total=None)
        while "loading weights ... " not in told:
            told += capsys.readouterr().err
        bar.update(task, total=4, completed=1)
        while "loading weights, 25 % ... " not in told:
            told += capsys.readouterr().err
    capsys.readouterr()
    assert "reading" not in told and "loading" not in capsys.readouterr().err
