"""`roi-agent data`: convert public data sets to records, and inspect and count records."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from roi_agent.cli.command import Command, Commands
from roi_agent.cli.generating import EPILOG, generate_command
from roi_agent.cli.options import JsonOption, among, check_picture, out, print_json, save_picture
from roi_agent.model.errors import InvalidSetting

if TYPE_CHECKING:
    from roi_agent.model.data.record import Record
    from roi_agent.model.data.record_files import Card, RecordSet
    from roi_agent.model.data.statistics import Spread, Statistics

RECORD_EXAMPLE = """{"id": "boxes/7", "image": "cats/7.jpg", "width": 640, "height": 480,
 "regions": [
  {"name": "region1", "box": [12, 30, 200, 240], "label": "cat"}],
 "turns": [{"question": "What is <region1>?", "answer": "a cat"}],
 "source": "my boxes", "licence": "CC0-1.0"}"""

_HELP = f"""Convert, generate and inspect data sets of regions and conversations.

A record is one conversation about regions of one image. A data set is a file of records, with one JSON object per line (.jsonl)
or as a table (.parquet), or a folder of such files with a card, dataset.json. One record:

```
{RECORD_EXAMPLE}
```

- box: pixels x1, y1, x2, y2 of the upright image. A region may have a label, a score, and a mask in COCO's run lengths.

- turns: a question with region names, and its answer. A closed question has options, exactly one of which is the answer; a
  question with several accepted answers has references.

- evidence: kind, text and score: why a generated answer is considered true.
"""
_EXAMPLES = 3  # per kind of trouble
_SHORT, _TURNS = 240, 6  # characters of a text, and turns, below a picture

app = Commands(help=_HELP, no_args_is_help=True)
app.command("generate", epilog=EPILOG)(generate_command)

RecordsArgument = Annotated[
    Path, typer.Argument(help=".jsonl or .parquet file, or a folder written by a conversion.", metavar="RECORDS")
]
ImagesOption = Annotated[
    Path | None, typer.Option(help="Folder of images.  [default: that of the card, or of the file]", metavar="FOLDER")
]


def _readers(incomplete: str) -> list[str]:
    from roi_agent.model.data.readers import READERS

    return among(*READERS)(incomplete)


class _ConvertCommand(Command):
    """The command `convert`; its help lists the readers, which are imported only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # click's types, which typer may have vendored
        from roi_agent.model.data.readers import READERS

        formats = "\n\n".join(f"- {name}: {each.about} ({'; '.join(each.layout)})" for name, each in READERS.items())
        self.help = f"{self.help}\n\nNAME is one of:\n\n{formats}".replace("<", r"\<")  # otherwise Markdown treats it as HTML
        super().format_help(ctx, formatter)


@app.command(
    cls=_ConvertCommand, epilog="Example: `roi-agent data convert vcr vcr1annots/ records/vcr --images vcr1images/ --split val`"
)
def convert(
    name: Annotated[
        str,
        typer.Argument(
            help="Format of the data set; `roi-agent data formats` lists all.", metavar="NAME", autocompletion=_readers
        ),
    ],
    root: Annotated[Path, typer.Argument(help="Folder or file of annotations, as downloaded.", metavar="SOURCE")],
    target: Annotated[
        Path, typer.Argument(help="Folder for the records; an interrupted conversion is continued.", metavar="FOLDER")
    ],
    images: Annotated[Path | None, typer.Option(help="Folder of images.  [default: SOURCE/images]", metavar="FOLDER")] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set.  [default: the first, usually train]", metavar="NAME")
    ] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write Parquet tables instead of JSON Lines.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="Number of processes that share the work.")] = 1,
    refuse: Annotated[bool, typer.Option("--refuse", help="Stop at the first annotation that cannot be used.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of images (or samples) to read.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the wordings and of random draws.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Convert a public data set, or your own boxes, to records.

    Annotations that cannot be used are listed with the reason.
    """
    from roi_agent.model.data.conversion import ConversionSettings
    from roi_agent.model.data.conversion import convert as run
    from roi_agent.model.data.readers import READERS
    from roi_agent.model.utils.progress import waiting

    if name not in READERS:
        raise InvalidSetting(f"there is no format {name!r}", do=f"use one of {', '.join(READERS)}")
    kind = READERS[name]
    settings = ConversionSettings("parquet" if parquet else "jsonl", refuse, limit, processes, seed)
    folder = images or (root.parent if root.is_file() else root) / "images"
    with waiting(f"reading {root.name}", not as_json):
        reader = kind(root, images=folder, split=split or kind.splits[0])
    card = run(reader, target, settings, show_progress=not as_json)
    _report(card, target, as_json)
    if not card.records:
        raise InvalidSetting(f"no annotation of {root.name!r} could be used", do=f"see {_list_of(target)}")


@app.command(epilog="Example: `roi-agent data formats`")
def formats(as_json: JsonOption = False) -> None:
    """List the formats that `convert` reads."""
    from roi_agent.model.data.readers import READERS

    if as_json:
        rows = [(name, each.about, each.layout, each.splits, each.licence) for name, each in READERS.items()]
        keys = ("name", "about", "layout", "splits", "licence")
        print_json({"formats": [dict(zip(keys, row, strict=True)) for row in rows]})
        return
    for name, each in READERS.items():
        lines = [f"{name}: {each.about}", *each.layout, f"splits: {', '.join(each.splits)}", f"licence: {each.licence}"]
        out.print("\n  ".join(lines), markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent data inspect records/vcr --count 6 --picture samples.png`")
def inspect(
    path: RecordsArgument,
    count: Annotated[int, typer.Option(min=1, max=100, help="Number of records.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="File for a picture: each image with its regions, its turns below.", metavar="FILE")
    ] = None,
    images: ImagesOption = None,
) -> None:
    """Show records drawn at random, as text and as a picture."""
    from roi_agent.model.data.record_files import open_records

    check_picture(picture)
    records = open_records(path, images=images)
    drawn = records.sample(count, seed=seed)
    if not drawn:
        raise InvalidSetting(f"{path.name!r} contains no records", do="name another file or folder")
    if picture is not None:
        save_picture(_sheet(records, drawn), picture)
    for record in drawn:
        out.print("\n".join(_lines(record)) + "\n", markup=False, soft_wrap=True)


@app.command(epilog="Example: `roi-agent data stats records/vcr`")
def stats(path: RecordsArgument, as_json: JsonOption = False) -> None:
    """Count what a data set contains: records, regions, turns, sizes, labels, sources, licences, and skipped or fixed ones."""
    from roi_agent.model.data.record_files import open_records, read_values
    from roi_agent.model.data.statistics import count_records
    from roi_agent.model.utils.progress import waiting

    records = open_records(path, images=path if path.is_dir() else path.parent)  # the images are not read
    with waiting("counting", not as_json):
        found = count_records(each for file in records.files for each in read_values(file))
    troubles = records.card.troubles if records.card else {}
    if as_json:
        print_json({"name": records.name, **found.to_dict(), "troubles": troubles})
        return
    table = Table(title=records.name, title_justify="left", show_header=False)
    for row in _rows(found, troubles):
        table.add_row(*map(Text, row))
    out.print(table)


def _report(card: "Card", target: Path, as_json: bool) -> None:
    """Print the number of records, and troubles by kind with a few examples."""
    from roi_agent.model.data.conversion import TROUBLES
    from roi_agent.model.data.readers.base import FIXED

    examples: dict[str, list[str]] = {kind: [] for kind in card.troubles}
    with (target / TROUBLES).open(encoding="utf-8") as lines:
        for line in lines:
            each = json.loads(line)
            if len(examples[each["kind"]]) < _EXAMPLES:
                examples[each["kind"]].append(f"{each['where']}: {each['problem']}")
    if as_json:
        counts = {"records": card.records, "troubles": card.troubles, "examples": examples}
        print_json({"name": card.name, "folder": str(target), **counts})
        return
    out.print(f"{card.records:,} records of {card.name} in {target}", markup=False, soft_wrap=True)
    for kind, number in card.troubles.items():
        out.print(f"{kind}: {number:,} {'fixed' if kind in FIXED else 'skipped'}", markup=False)
        for example in examples[kind]:
            out.print(f"  {example}", markup=False, soft_wrap=True)
    if card.troubles:
        out.print(f"The full list is in {_list_of(target)}", markup=False, soft_wrap=True)


def _sheet(records: "RecordSet", drawn: "list[Record]") -> Any:
    from roi_agent.tools.view import contact_sheet, draw_regions

    return contact_sheet([draw_regions(records.image(each).pixels, each.regions, _lines(each, short=True)) for each in drawn])


def _list_of(target: Path) -> str:
    from roi_agent.model.data.conversion import TROUBLES

    return str(target / TROUBLES)


def _lines(record: "Record", *, short: bool = False) -> list[str]:
    """Return a record as lines of text; short for below a picture, in which its regions are drawn."""

    def shortened(text: str) -> str:
        return f"{text[:_SHORT]} ..." if short and len(text) > _SHORT else text

    lines = [f"{record.id}  ({record.image}, {record.size_wh[0]} x {record.size_wh[1]}, {record.source})"]
    for region in () if short else record.regions:
        label = f" {region.label}" if region.label else ""
        score = f", score {region.score:.2f}" if region.score is not None else ""
        corners = ", ".join(f"{value:g}" for value in region.box.xyxy)
        lines.append(f"  {region.name}:{label} at {corners}{score}{', with a mask' if region.mask else ''}")
    for turn in record.turns[: _TURNS if short else None]:
        lines += [f"  Q: {shortened(turn.question)}", f"  A: {shortened(turn.answer)}"]
        lines += [f"     options: {shortened(' | '.join(turn.options))}"] if turn.options else []
    left = len(record.turns) - _TURNS
    return [*lines, f"  ... and {left} more turns"] if short and left > 0 else lines


def _rows(found: "Statistics", troubles: dict[str, int]) -> list[tuple[str, str]]:
    """Return the rows of the table."""

    def spread(values: "Spread", unit: str = "") -> str:
        return f"{values.least}{unit} to {values.most}{unit}, median {values.median}{unit}"

    def counts(values: dict[str, int]) -> str:
        return ", ".join(f"{name} {number:,}" for name, number in values.items()) or "none"

    return [
        ("records", f"{found.records:,}"),
        ("images", f"{found.images:,}"),
        ("regions", f"{found.regions:,}, of which {found.masks:,} with masks"),
        ("regions per record", spread(found.regions_per_record)),
        ("box sizes", counts(found.box_sizes)),
        ("box sides, relative to the image", spread(found.box_sides, " %")),
        ("turns", f"{found.turns:,}, of which {found.closed_turns:,} with options"),
        ("turns per record", spread(found.turns_per_record)),
        ("words per answer", spread(found.answer_words)),
        ("most frequent labels", counts(found.labels)),
        ("sources", counts(found.sources)),
        ("licences", counts(found.licences)),
        ("skipped or fixed", counts(troubles)),
    ]
