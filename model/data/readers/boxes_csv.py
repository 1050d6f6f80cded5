"""A user's own boxes as CSV: one box a line, with its text and optionally its question."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from roi_agent.model.data.readers.base import MALFORMED, Trouble
from roi_agent.model.data.readers.own_boxes import OwnBox, OwnBoxes
from roi_agent.model.errors import RecordInvalid

_NUMBERS = ("x1", "y1", "x2", "y2")
_NEEDED, _OPTIONAL = ("image", *_NUMBERS, "text"), ("question", "format", "unit")
_HEADER = f"name the columns in the first line: {','.join(_NEEDED)}, optionally {', '.join(_OPTIONAL)}"


class BoxesCsv(OwnBoxes):
    """Reads four numbers in the order `format` (xyxy, xywh, cxcywh) and the unit `unit` (pixel, normalised, thousandths).

    The default unit is pixel, but four fractions need a unit.
    """

    name: ClassVar[str] = "boxes-csv"
    about: ClassVar[str] = "your own boxes as CSV: each with its text, and optionally a question"
    layout: ClassVar[tuple[str, ...]] = (
        "ROOT is the .csv file, or contains boxes.csv",
        "its first line: image,x1,y1,x2,y2,text and optionally question,format,unit",
        "in a question, <region> is the box of its line",
    )

    def boxes(self, path: Path) -> Iterator[tuple[str, OwnBox]]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            try:
                header = _columns(next(rows, []), path.name)
                for row in rows:
                    if row:
                        yield from self._box(
                            dict(zip(header, row, strict=False)), len(row) - len(header), f"{path.name}, line {rows.line_num}"
                        )
            except csv.Error as error:
                raise RecordInvalid(f"{path.name}, line {rows.line_num}: {error}", do="write it as CSV, with commas") from None
            except UnicodeDecodeError:
                problem = f"{path.name}, after line {rows.line_num}: this is not UTF-8"
                raise RecordInvalid(problem, do="save the table as CSV in UTF-8") from None

    def _box(self, values: dict[str, str], surplus: int, where: str) -> Iterator[tuple[str, OwnBox]]:
        if surplus:
            problem = f"it has {abs(surplus)} columns {'more' if surplus > 0 else 'fewer'} than the first line"
            self.troubles.append(Trouble(MALFORMED, where, problem))
            return
        numbers = []
        for column in _NUMBERS:
            try:
                numbers.append(float(values[column]))
            except ValueError:
                self.troubles.append(Trouble(MALFORMED, f"{where}, column {column}", f"{values[column]!r} is not a number"))
                return
        question, format, unit = (values.get(key, "").strip() for key in _OPTIONAL)
        box = OwnBox(where, numbers, values["text"], format or "xyxy", unit, question=question or None)
        yield values["image"].strip(), box


def _columns(header: Sequence[str], name: str) -> list[str]:
    """Return the names of the columns.  Error: RecordInvalid."""
    columns = [each.strip() for each in header]
    where = f"{name}, line 1"
    if missing := [each for each in _NEEDED if each not in columns]:
        raise RecordInvalid(f"{where}: there is no column {missing[0]}", do=_HEADER)
    for number, each in enumerate(columns, start=1):
        if each not in (*_NEEDED, *_OPTIONAL) or columns.count(each) > 1:
            what = "occurs twice" if columns.count(each) > 1 else "is unknown"
            raise RecordInvalid(f"{where}, column {number}: {each!r} {what}", do=_HEADER)
    return columns
