"""The training loop: phases one after another, each resumable at its last saved step.

A run's folder holds one file of weights for every finished phase, the state of the one in progress, and a log as CSV.
"""

import csv
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from roi_agent.model.configuration import GPT4RoIConfig
from roi_agent.model.data.questions import FAMILY_NAMES, TRAINING_SEEDS
from roi_agent.model.data.scenes import make_scene
from roi_agent.model.data.toy import RENDER_SIDES, ToyBatch, ToyDataset, collate, scene_pixels
from roi_agent.model.domain import Domain, pool
from roi_agent.model.errors import TrainingDiverged
from roi_agent.model.modeling import GPT4RoIForConditionalGeneration
from roi_agent.model.processing import GPT4RoIProcessor, new_processor
from roi_agent.model.train.objectives import OBJECTIVES, Figures, freeze_all_but
from roi_agent.model.train.settings import PhaseSettings, TrainSettings
from roi_agent.model.train.tokenizer import train_tokenizer

LOG_COLUMNS = ("phase", "step", "seconds", "learning_rate", "loss", "exact", "kind_in_box", "colour_in_box", *FAMILY_NAMES)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where a phase stands: the next step, the optimiser's state and the seconds spent."""

    step: int
    seconds: float
    optimizer: dict[str, Any]


def train(settings: TrainSettings, folder: Path, *, only: str | None = None, show_progress: bool = True) -> Path:
    """Run all phases that are not finished in the folder, or only the one named; returns the folder of the final model.

    What a finished phase learned is loaded before the next one begins. Running it again goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    set_seed(settings.seed)
    config = GPT4RoIConfig.preset(settings.preset)
    processor = new_processor(config, _tokenizer(folder / "tokenizer", config.vocab_size))
    model = GPT4RoIForConditionalGeneration(config)
    for phase in settings.phases:
        finished = folder / f"{phase.name}.safetensors"
        if not finished.exists() and only in (None, phase.name):
            _run_phase(settings, phase, model, processor, folder, show_progress=show_progress)
        if finished.exists():
            load_part(model, load_file(finished))
    target = folder / "model"
    model.eval().save_pretrained(target)
    processor.save_pretrained(target)
    if config.domain:
        fit_domain(model, processor).save(target)
    return target


@torch.inference_mode()
def fit_domain(model: GPT4RoIForConditionalGeneration, processor: GPT4RoIProcessor, *, num_scenes: int = 2000) -> Domain:
    """What images the model was trained on look like to it: the first half of the scenes fits, the second sets the limit."""
    pooled = []
    for start in range(0, num_scenes, 50):
        seeds = range(TRAINING_SEEDS + start, TRAINING_SEEDS + start + 50)
        pixels = torch.stack(
            [scene_pixels(processor, make_scene(seed), RENDER_SIDES[seed % len(RENDER_SIDES)]) for seed in seeds]
        )
        pooled.append(pool(model.encode_image(pixels.to(model.device))).cpu())
    known, held_out = torch.cat(pooled).chunk(2)
    return Domain.fit(known, held_out)


def _run_phase(
    settings: TrainSettings,
    phase: PhaseSettings,
    model: GPT4RoIForConditionalGeneration,
    processor: GPT4RoIProcessor,
    folder: Path,
    *,
    show_progress: bool,
) -> None:
    accelerator = Accelerator(mixed_precision=phase.precision)
    learning = freeze_all_but(model, phase.trained)
    optimizer = torch.optim.AdamW(learning, lr=phase.learning_rate, weight_decay=phase.weight_decay, betas=(0.9, 0.98))
    resume = _load_resume(folder / phase.name, model, optimizer)
    loader = _loader(settings, phase, processor, resume.step)
    objective = OBJECTIVES[phase.objective]
    prepared, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    recent: defaultdict[str, list[float]] = defaultdict(list)
    start = time.monotonic() - resume.seconds
    with _progress(show_progress) as progress, _Log(folder / "log.csv", phase, resume) as log:
        task = progress.add_task(phase.name, total=phase.steps, completed=resume.step, figures="")
        for step, batch in enumerate(loader, resume.step):
            torch.manual_seed(settings.seed + step)  # a resumed run draws the same noise
            rate = learning_rate(phase, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with accelerator.autocast():
                loss, figures = objective(accelerator.unwrap_model(prepared), batch)
            _optimise(accelerator, optimizer, learning, loss, f"phase {phase.name}, step {step}")
            _remember(recent, loss, figures)
            progress.update(task, advance=1, figures=_summary(recent))
            last = step + 1 == phase.steps
            if (step + 1) % settings.log_every == 0 or last:
                log.write(step + 1, time.monotonic() - start, rate, recent)
                recent.clear()
            if (step + 1) % settings.save_every == 0 and not last:
                state = Resume(step + 1, time.monotonic() - start, optimizer.state_dict())
                _save_resume(folder / phase.name, model, phase, state)
    _save_aside(folder / f"{phase.name}.safetensors", partial(save_file, _part(model, phase.trained)))
    for leftover in (folder / phase.name).glob("*"):
        leftover.unlink()


def _optimise(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, learning: list[nn.Parameter], loss: Tensor, where: str
) -> None:
    if not bool(torch.isfinite(loss)):
        raise TrainingDiverged(f"the loss is {loss.item()} at {where}", do="lower the learning rate; the last saved step is kept")
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(learning, 1.0)
    optimizer.step()


def learning_rate(phase: PhaseSettings, step: int) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` of the peak."""
    warm = max(1, round(phase.steps * phase.warmup))
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    progress = (step - warm) / max(1, phase.steps - warm)
    left = phase.final_rate + (1 - phase.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    return phase.learning_rate * left


# ---------------------------------------------------------------- data


class _Consecutive(Sampler[int]):
    """Every index once, in order, from a given one: resuming needs no replay."""

    def __init__(self, start: int, stop: int) -> None:
        self.indices = range(start, stop)

    def __iter__(self) -> Any:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def _loader(settings: TrainSettings, phase: PhaseSettings, processor: GPT4RoIProcessor, step: int) -> "DataLoader[ToyBatch]":
    # No two phases see the same scenes.
    first = sum(each.steps * each.scenes for each in settings.phases[: settings.phases.index(phase)])
    dataset = ToyDataset(
        processor,
        size=phase.steps * phase.scenes,
        first=first,
        questions=phase.questions,
        weights=phase.family_weights,
        pixels=phase.objective != "words",
        alone=phase.alone,
    )
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=phase.scenes,
        sampler=_Consecutive(step * phase.scenes, phase.steps * phase.scenes),
        collate_fn=partial(collate, pad_id=processor.tokenizer.pad_token_id),
        num_workers=settings.workers,
        worker_init_fn=_one_thread,
        prefetch_factor=4 if settings.workers else None,
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


# ---------------------------------------------------------------- what is kept


def _tokenizer(folder: Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """The run's tokenizer, trained once: weights mean nothing under another one."""
    if not folder.exists():
        aside = folder.with_name(folder.name + ".part")
        train_tokenizer(vocab_size).save_pretrained(aside)
        os.replace(aside, folder)
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_part(model: nn.Module, part: dict[str, Tensor]) -> None:
    """Weights of some modules into a model; names that it lacks fail."""
    unexpected = model.load_state_dict(part, strict=False).unexpected_keys
    assert not unexpected, unexpected


def _part(model: nn.Module, trained: Iterable[str]) -> dict[str, Tensor]:
    # A tied head is stored once, under its embedding's name.
    seen: dict[int, str] = {}
    part = {}
    for name, tensor in model.state_dict().items():
        if any(name.startswith(prefix) for prefix in trained) and seen.setdefault(tensor.data_ptr(), name) == name:
            part[name] = tensor.contiguous().cpu()
    return part


def _save_resume(folder: Path, model: nn.Module, phase: PhaseSettings, state: Resume) -> None:
    folder.mkdir(exist_ok=True)
    values = {"step": state.step, "seconds": state.seconds, "optimizer": state.optimizer, "weights": _part(model, phase.trained)}
    _save_aside(folder / "state.pt", partial(torch.save, values))


def _load_resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Resume:
    path = folder / "state.pt"
    if not path.exists():
        return Resume(0, 0.0, {})
    values = torch.load(path, weights_only=True, map_location="cpu")
    load_part(model, values["weights"])
    optimizer.load_state_dict(values["optimizer"])
    return Resume(values["step"], values["seconds"], values["optimizer"])


def _save_aside(path: Path, save: Any) -> None:
    """Write beside the target and rename, so that a cut leaves the earlier file whole."""
    aside = path.with_name(path.name + ".part")
    save(aside)
    os.replace(aside, path)


# ---------------------------------------------------------------- what is shown


class _Log:
    """Appends rows to the run's CSV; rows that a resumed phase will write again are dropped first."""

    def __init__(self, path: Path, phase: PhaseSettings, resume: Resume) -> None:
        self._path, self._phase, self._resume = path, phase, resume

    def __enter__(self) -> "_Log":
        kept = [row for row in self._rows() if row["phase"] != self._phase.name or int(row["step"]) <= self._resume.step]
        _save_aside(self._path, lambda aside: self._write_rows(aside, kept))
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._file, LOG_COLUMNS, restval="", lineterminator="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, step: int, seconds: float, rate: float, recent: dict[str, list[float]]) -> None:
        figures = {name: f"{sum(values) / len(values):.4f}" for name, values in recent.items()}
        row = {"phase": self._phase.name, "step": step, "seconds": f"{seconds:.0f}", "learning_rate": f"{rate:.3g}", **figures}
        self._writer.writerow(row)
        self._file.flush()

    @staticmethod
    def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, LOG_COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _rows(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _remember(recent: dict[str, list[float]], loss: Tensor, figures: Figures) -> None:
    recent["loss"].append(loss.item())
    for name, value in figures.items():
        recent[name].append(value)


def _summary(recent: dict[str, list[float]]) -> str:
    shown = [name for name in ("loss", "exact", "kind_in_box", "colour_in_box") if name in recent]
    return "  ".join(f"{name} {sum(recent[name]) / len(recent[name]):.3f}" for name in shown)


def _progress(show: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        disable=not show,
    )
