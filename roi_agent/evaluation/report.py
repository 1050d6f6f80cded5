"""The results of an evaluation: as JSON, as a Markdown report, and as a table for a terminal."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from roi_agent.evaluation.outputs import REPORT, SCORES
from roi_agent.evaluation.tables import markdown
from roi_agent.model.data.record_files import RecordSet
from roi_agent.model.evaluate.benches.base import Bench, Metric
from roi_agent.model.evaluate.intervals import interval
from roi_agent.model.evaluate.paper import MODEL, PUBLISHED
from roi_agent.model.evaluate.sample import RIGHT, SHUFFLED, Key, Output, Prediction, Sample

_HEADINGS = ("figure", "questions", "value", "95 % interval", "chance", "shuffled")
_SIZES = ("questions", "images", "classes")  # counts of the data set, not of the answers
_PACKAGES = ("roi-agent", "torch", "transformers", "numpy", "pycocoevalcap")
_HOW = """\
- interval: 95 % bootstrap interval, resampling whole images. If all answers are right, or all are wrong, resamples cannot
  differ, and the interval carries no information.
- shuffled: the same model with every region in a wrong place. A model that scores as well there does not use the boxes."""
_PAPER = "{column}: the published figure for that model on that data set and split as a whole."


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the report; values in [0, 1], CIDEr up to 10.

    low, high: of the 95 % interval.  chance: accuracy without the image.  shuffled: value with the boxes in wrong places.
    paper: the published figure for this data set and split, if any.
    detail: whether the row is a detail, such as one class, and not shown in the terminal's table.
    """

    name: str
    questions: int
    value: float
    low: float
    high: float
    chance: float | None
    shuffled: float | None
    paper: float | None
    detail: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a benchmark and their basis.

    paper: source of the published figures, or None.
    run: benchmark, model, data set and options, as in run.json.  counts: questions, images, and the benchmark's own counts.
    shuffled_counts: the benchmark's counts with shuffled boxes.  troubles: samples that could not be asked, by error code.
    card: the data set's card.
    """

    figures: list[Figure]
    paper: str | None
    run: dict[str, Any]
    chance: str
    counts: dict[str, int]
    shuffled_counts: dict[str, int]
    troubles: dict[str, int]
    card: dict[str, Any]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """Return the table for a terminal, without details."""
        title = f"{self.run['bench']}: {self.run['model']['name']} on {self.run['data']['name']} (%)"
        made = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        for number, heading in enumerate(self._headings()):
            made.add_column(heading, justify="right" if number else "left", no_wrap=number > 0)
        for figure in self.figures:
            if not figure.detail:
                made.add_row(*self._cells(figure))
        return made

    def notes(self) -> list[str]:
        """Return notes on the table: unparsable answers, and samples that could not be asked."""
        lines = [f"{name}: {count}" for name, count in self.counts.items() if count and name not in _SIZES]
        return lines + [f"not asked, counted as wrong: {code}: {count}" for code, count in self.troubles.items()]

    def markdown(self) -> str:
        """Return the report as Markdown."""
        main = [self._cells(each) for each in self.figures if not each.detail]
        details = [self._cells(each) for each in self.figures if each.detail]
        parts = [
            f"# {self.run['bench']}: {self.run['model']['name']} on {self.run['data']['name']} (%)",
            markdown(self._headings(), main),
            "\n".join([_HOW, *([f"- {_PAPER.format(column=self.paper)}"] if self.paper else []), f"- chance: {self.chance}."]),
            *(["## Details", markdown(self._headings(), details)] if details else []),
            "## Counts",
            _table(self.counts, "count", "correct boxes"),
            *([_table(self.shuffled_counts, "count", "shuffled boxes")] if self.shuffled_counts else []),
            "## Failures",
            _table(self.troubles, "samples not asked, counted as wrong", "count") if self.troubles else "None.",
            "## Configuration",
            _table(_flat({key: self.run[key] for key in ("bench", "model", "data", "options")}), "", ""),
            *(["## Data set", _table(_flat(self.card), "", "")] if self.card else []),
            "## Versions",
            _table(self.versions, "package", "version"),
        ]
        return "\n\n".join(parts) + "\n"

    def _headings(self) -> tuple[str, ...]:
        return (*_HEADINGS, self.paper) if self.paper else _HEADINGS

    def _cells(self, figure: Figure) -> list[str]:
        shares = (figure.chance, figure.shuffled, *([figure.paper] if self.paper else []))
        bounds = f"{100 * figure.low:.1f} to {100 * figure.high:.1f}"
        reached = [figure.name, str(figure.questions), f"{100 * figure.value:.1f}", bounds]
        return reached + ["" if each is None else f"{100 * each:.1f}" for each in shares]


def make_report(
    bench: Bench,
    samples: Sequence[Sample],
    outputs: Mapping[Key, Output],
    run: dict[str, Any],
    records: RecordSet,
    left_out: int,
) -> Report:
    """Compute the results from complete outputs.  Errors: those of the benchmark."""
    answered = [Prediction(sample, outputs[sample.key]) for sample in samples]
    in_place = [each for each in answered if each.sample.boxes == RIGHT]
    displaced = [each for each in answered if each.sample.boxes == SHUFFLED]
    shuffled = {each.name: each for each in bench.metrics(displaced)} if displaced else {}
    counts = {
        "questions": len(in_place),
        "images": len({each.sample.image for each in in_place}),
        "records without a question": left_out,
    }
    counts["answers cut at the maximum length"] = sum(each.output.finish == "length" for each in in_place)
    data = records.card.name if records.card else ""
    published = PUBLISHED.get((bench.name, data), {})
    seed = run["options"]["seed"]
    return Report(
        figures=[_figure(each, shuffled.get(each.name), published.get(each.name), seed) for each in bench.metrics(in_place)],
        paper=f"{MODEL}, {data}" if published else None,
        run=run,
        chance=bench.chance,
        counts=counts | bench.counts(in_place),
        shuffled_counts=bench.counts(displaced) if displaced else {},
        troubles=dict(sorted(Counter(each.output.error for each in answered if each.output.error).items())),
        card={} if records.card is None else {key: value for key, value in asdict(records.card).items() if key != "images"},
        versions=_versions(),
    )


def write_tables(folder: Path, title: str, tables: Mapping[str, str], values: object) -> None:
    """Write scores.json and report.md of an evaluation with its own tables.  tables: Markdown by heading."""
    parts = [f"# {title}", *(f"## {heading}\n\n{table}" for heading, table in tables.items())]
    parts += ["## Versions", _table(_versions(), "package", "version")]
    (folder / SCORES).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (folder / REPORT).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _figure(measure: Metric, shuffled: Metric | None, paper: float | None, seed: int) -> Figure:
    found = interval(measure.statistics, measure.images, measure.figure, seed=seed)
    shuffled_value = None if shuffled is None else float(shuffled.figure(shuffled.statistics.sum(0)))
    return Figure(
        name=measure.name,
        questions=len(measure.images),
        value=found.value,
        low=found.low,
        high=found.high,
        chance=measure.chance,
        shuffled=shuffled_value,
        paper=paper,
        detail=measure.detail,
    )


def _table(values: Mapping[str, object], *headings: str) -> str:
    return markdown(headings, [[name, str(value)] for name, value in values.items()])


def _flat(values: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Flatten nested values to names such as "model sha256"."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{above} {key}".strip()
        found |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
