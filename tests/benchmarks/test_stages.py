"""Nano goes through the stages of the paper, from records in the public layouts, by the commands of the 7B.  Writes STAGES.md.

Everything is made in `runs/stages`: scenes in the layouts, record sets, the three runs, and the evaluations before and after
each. What is there is kept, and what was cut goes on.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.data.record_files import CARD
from roi_agent.model.train.settings import RecordSettings
from roi_agent.model.train.starting import Start, prepare

FOLDER = Path("runs") / "stages"
RESULTS = Path(__file__).parent / "STAGES.md"
SIDE = 224


@dataclass(frozen=True, slots=True)
class Scenes:
    """Scenes in a public layout: `train` of them for training, `held_out` for the evaluation.  seed: of the first of each."""

    layout: str
    train: int
    held_out: int
    seed: int

    @property
    def sets(self) -> dict[str, str]:
        """The folder of each record set, by its split, as the reader names that."""
        splits = [name for name, count in (("train", self.train), ("val", self.held_out)) if count]
        year = "2017" if self.layout == "coco" else ""
        return {f"{split}{year}": f"sets/{self.layout}-{split}" for split in splits}

    def commands(self) -> Iterator[list[str]]:
        """All that it takes to make the record sets, as a user types it."""
        folder = f"public/{self.layout}"
        numbers = ("--count", str(self.train), "--held-out", str(self.held_out), "--seed", str(self.seed), "--side", str(SIDE))
        yield ["scenes", folder, "--layout", self.layout, *numbers]
        for split, target in self.sets.items():
            yield [
                "data",
                "convert",
                self.layout,
                folder,
                target,
                *(() if self.layout == "llava-instruct" else ("--split", split)),
            ]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: a shipped configuration, the model that it starts from, and the bench on which it has to gain.

    before: the model that the stage is compared with.  judged: figures that have to gain, of which the first is worse with the
    boxes shuffled.  options: of its command.
    limit: images of the evaluation.  note: what a reader of its figures should know.
    """

    title: str
    config: str
    start: str
    bench: str
    data: str
    before: str
    judged: tuple[str, ...]
    options: tuple[str, ...] = ()
    limit: int | None = None
    note: str = ""

    @property
    def model(self) -> str:
        """What comes out."""
        return f"runs/{self.config}/model"

    def training(self) -> list[str]:
        """Its command."""
        return ["train", self.config, "--data", "sets", "--from", self.start, *self.options, "--out", f"runs/{self.config}"]

    def evaluation(self, model: str) -> list[str]:
        """The command that measures a model on its bench; with shuffled boxes too once the stage is done."""
        folder = f"evaluations/{self.bench}-{Path(model).parent.name}"
        limit = [] if self.limit is None else ["--limit", str(self.limit)]
        right_only = [] if model == self.model else ["--no-shuffled"]
        return ["evaluate", self.bench, "--data", self.data, "--region-model", model, *limit, *right_only, "--out", folder]


SCENES = (
    Scenes("coco", 1600, 200, 0),
    Scenes("refcoco", 1600, 0, 2_000),
    Scenes("refcoco+", 1600, 0, 4_000),
    Scenes("refcocog", 600, 120, 10_000),
    Scenes("flickr30k", 400, 0, 11_000),
    Scenes("visual-genome", 400, 0, 12_000),
    Scenes("llava-instruct", 400, 0, 13_000),
    Scenes("vcr", 1000, 300, 14_000),
)
UNTRAINED = "runs/untrained/model"  # nano with a region encoder that knows nothing
STAGES = (
    Stage(
        "Stage 1: the region encoder learns anew, and all else is frozen",
        "nano-stage1",
        "nano",
        "boxes",
        "sets/coco-val",
        UNTRAINED,
        ("exact match", "likeliest class"),
        ("--reset", "region_encoder"),
        limit=80,
    ),
    Stage(
        "Stage 2: all but the vision tower learns",
        "nano-stage2",
        "runs/nano-stage1/model",
        "captions",
        "sets/refcocog-val",
        "runs/nano-stage1/model",
        ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr"),
        limit=60,
    ),
    Stage(
        "VCR: two rounds with four choices each",
        "nano-vcr",
        "runs/nano-stage2/model",
        "vcr",
        "sets/vcr-val",
        "runs/nano-stage2/model",
        ("Q->AR by likelihood", "QA->R by likelihood"),
        note="A reason repeats much of the answer before it, so that QA->R can often be told without looking.\n"
        "In so few steps nano learns to write a letter, and not which one.",
    ),
)


_HEAD = """# What each stage of the paper brings nano

Written by `make stages`. Nano goes through stage 1, stage 2 and the tuning for VCR on a CPU, by the commands and the code of
7B, from records in the public layouts; only the configurations are smaller. The pictures are rendered scenes of
{SIDE} x {SIDE} pixels: training sees seeds from 1,000,000 on, and what is asked is about seeds below. Figures are
of hundred, as the paper gives them; CIDEr can be above that.

- *before*: of stage 1, shipped nano with the random region encoder that the stage begins with, which the benchmark writes to
  `runs/untrained`; later, the model of the stage before.
- *95 % intervals*: of bootstrap resamples of whole images.
- *chance*: always the most frequent class; the most frequent caption; drawing one of the options.
- *boxes shuffled*: the model after the stage, asked with every region in a wrong place.

The training sets:

```bash
{scenes}
```
"""


@pytest.mark.slow
def test_each_stage_gains_on_its_bench() -> None:
    for scenes in SCENES:
        if not all((FOLDER / each / CARD).is_file() for each in scenes.sets.values()):
            for command in scenes.commands():
                roi_agent(command)
    save_untrained(FOLDER / UNTRAINED)
    parts = [_HEAD.format(SIDE=SIDE, scenes=_shell(command for scenes in SCENES for command in scenes.commands()))]
    for stage in STAGES:
        roi_agent(stage.training())
        before, after = (json.loads(roi_agent([*stage.evaluation(each), "--json"])) for each in (stage.before, stage.model))
        parts.append(table(stage, before, after))
        RESULTS.write_text("\n".join(parts), encoding="utf-8")
        earlier, later = ({each["name"]: each for each in report["figures"]} for report in (before, after))
        for name in stage.judged:
            assert later[name]["low"] > earlier[name]["high"], f"{stage.config}: {name} has not gained"
            assert later[name]["low"] > later[name]["chance"]
        looked = later[stage.judged[0]]
        assert looked["low"] > looked["shuffled"], f"{stage.config}: {looked['name']} needs no boxes"


def roi_agent(command: list[str]) -> str:
    """Run a command in FOLDER, in a process of its own; returns what it printed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "roi_agent.cli", *command]
    return subprocess.run(line, cwd=FOLDER, check=True, stdout=subprocess.PIPE, text=True).stdout


def save_untrained(folder: Path) -> None:
    """Nano as stage 1 begins with it, as a model of its own."""
    model, processor = Start("nano").load()
    prepare(model, RecordSettings.load("nano-stage1"), ("region_encoder",))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def table(stage: Stage, before: dict[str, Any], after: dict[str, Any]) -> str:
    """The commands of a stage, and its figures before and after, of hundred."""
    commands = _shell([stage.training(), stage.evaluation(stage.before), stage.evaluation(stage.model)])
    lines = [f"## {stage.title}", "", "```bash", commands, "```", ""]
    lines += ["| | asked | before | after | chance | boxes shuffled |", "|---|--:|--:|--:|--:|--:|"]
    earlier = {each["name"]: each for each in before["figures"]}
    for each in after["figures"]:
        if not each["detail"]:
            cells = [_reached(earlier[each["name"]]), _reached(each), _percent(each["chance"]), _percent(each["shuffled"])]
            lines.append(f"| {each['name']} | {each['questions']} | {' | '.join(cells)} |")
    counts = [
        f"{name}: {before['counts'][name]} before, {count} after" for name, count in after["counts"].items() if "that" in name
    ]
    return "\n".join([*lines, "", *counts, "", stage.note]).rstrip() + "\n"


def _shell(commands: Iterable[list[str]]) -> str:
    return "\n".join(f"roi-agent {' '.join(each)}" for each in commands)


def _reached(figure: dict[str, Any]) -> str:
    return f"{_percent(figure['value'])} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
