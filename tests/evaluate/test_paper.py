"""The paper's figures stand beside the data set and split that they belong to, and beside no other."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from roi_agent.evaluation.report import Report, make_report
from roi_agent.model.data.record_files import RecordSet, open_records
from roi_agent.model.evaluate.benches import BENCHES
from roi_agent.model.evaluate.paper import PUBLISHED
from roi_agent.model.evaluate.sample import Output
from tests import toy_records

RECORDS = {"captions": toy_records.names, "vcr": toy_records.reasons, "visual7w": toy_records.closed, "boxes": toy_records.kinds,
           "pope": toy_records.kinds}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sets")
    return {bench: toy_records.write_set(folder / bench, make, scenes=4, first_seed=4) for bench, make in RECORDS.items()}


def reported(bench: str, records: RecordSet) -> Report:
    """The report of a model that says the right answer every time."""
    made = BENCHES[bench]()
    samples = made.samples(list(records), seed=0)
    outputs = {each.key: Output(*each.key, each.digest(), text=each.truth) for each in samples}
    run = {"bench": bench, "model": {"name": "m"}, "data": {"name": records.name}, "options": {"seed": 0}}
    return make_report(made, samples, outputs, run, records, 0)


def named(records: RecordSet, name: str) -> RecordSet:
    assert records.card is not None
    records.card, records.name = replace(records.card, name=name), name
    return records


def shown(report: Report) -> str:
    text = StringIO()
    Console(width=200, file=text).print(report.table())
    return text.getvalue()


@pytest.mark.parametrize(
    ("bench", "data", "figures"),
    [
        ("captions", "visual-genome test", {"BLEU-4": 0.105, "METEOR": 0.165, "ROUGE-L": 0.334, "CIDEr": 1.345}),
        ("visual7w", "visual7w-pointing test", {"pointing": 0.8183}),
        ("vcr", "vcr val", {"Q->A by likelihood": 0.874, "QA->R by letter": 0.896, "Q->AR by letter": 0.786}),
    ],
)
def test_the_papers_figures_name_their_data_set(
    bench: str, data: str, figures: dict[str, float], written: dict[str, Path]
) -> None:
    report = reported(bench, named(open_records(written[bench]), data))
    found = {each.name: each.paper for each in report.figures}
    assert {name: found[name] for name in figures} == figures
    assert {name: found[name] for name in PUBLISHED[bench, data]} == PUBLISHED[bench, data]
    column = f"GPT4RoI-7B, {data}"
    assert column in shown(report) and column in report.markdown() and report.to_dict()["paper"] == column


@pytest.mark.parametrize(
    ("bench", "data"),
    [
        pytest.param("captions", "refcocog val", marks=pytest.mark.sweep),  # its scores take a Java program
        *(("vcr", name) for name in ("vcr train", "vcr", "toy", "visual-genome test")),
        *(("visual7w", name) for name in ("visual7w-telling test", "visual7w-pointing val", "toy")),
        ("boxes", "coco val"),
        ("pope", "coco val"),
    ],
)
def test_another_data_set_or_split_has_no_figure_of_the_paper(bench: str, data: str, written: dict[str, Path]) -> None:
    report = reported(bench, named(open_records(written[bench]), data))
    assert not any(each.paper for each in report.figures) and report.to_dict()["paper"] is None
    assert "paper" not in shown(report) and "paper" not in report.markdown() and "GPT4RoI" not in report.markdown()


def test_a_file_without_a_card_has_no_figure_of_the_paper(written: dict[str, Path]) -> None:
    (file,) = written["vcr"].glob("records-*.jsonl")
    records = open_records(file, images=written["vcr"] / "images")
    assert not any(each.paper for each in reported("vcr", records).figures)


def test_cards_of_the_public_data_sets_have_these_names() -> None:
    from roi_agent.model.data.readers import READERS

    for _, data in PUBLISHED:
        reader, split = data.split(" ")
        assert split in READERS[reader].splits
