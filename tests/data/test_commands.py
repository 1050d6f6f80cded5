"""`roi-agent data`: public layouts into records, and records to look at and to count."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roi_agent.cli.data import RECORD_EXAMPLE
from roi_agent.model.data.readers import READERS
from roi_agent.model.data.record import Record
from roi_agent.model.data.record_files import open_records
from roi_agent.model.toy.layouts import LAYOUTS
from tests.commands import Runner
from tests.public_data import picture, write_json

TABLE = "image,x1,y1,x2,y2,text\na.png,1,2,30,20,a cup\na.png,1,2,99,20,too wide\na.png,5,5,60.5,20,a tray\n,1,2,3,4,lost\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    picture(tmp_path / "own/images/a.png")
    (tmp_path / "own/boxes.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path / "own"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    LAYOUTS["vcr"](folder / "vcr", [*range(30), 1_000_001], 96)
    return folder / "vcr"


def test_convert_reports_what_was_read_and_what_was_not(run: Runner, own: Path, tmp_path: Path) -> None:
    target = tmp_path / "records"
    result = run("data", "convert", "boxes-csv", str(own), str(target))
    assert result.code == 0 and "Traceback" not in result.err
    lines = result.out.splitlines()
    assert lines[0] == f"1 records of boxes-csv train in {target}"
    assert "box_outside: 1 skipped" in lines and "box_clipped: 1 fixed" in lines and "missing_image: 1 skipped" in lines
    assert any(line.startswith("  boxes.csv, line 3: x2 is 99 in an image 60 wide") for line in lines)
    assert lines[-1] == f"The full list is in {target / 'troubles.jsonl'}"
    kinds = [json.loads(line)["kind"] for line in (target / "troubles.jsonl").read_text().splitlines()]
    assert sorted(kinds) == ["box_clipped", "box_outside", "missing_image"]
    (record,) = open_records(target)
    assert [turn.answer for turn in record.turns] == ["a cup", "a tray"]


def test_convert_as_json_is_for_programs(run: Runner, own: Path, tmp_path: Path) -> None:
    result = run("data", "convert", "boxes-csv", str(own / "boxes.csv"), str(tmp_path / "records"), "--json", "--parquet")
    told = json.loads(result.out)
    assert (told["records"], told["troubles"]) == (1, {"box_clipped": 1, "box_outside": 1, "missing_image": 1})
    assert told["examples"]["missing_image"][0].startswith("boxes.csv, line 5: ")
    assert len(list(open_records(tmp_path / "records"))) == 1
    assert (tmp_path / "records/records-00000.parquet").exists()


def test_convert_shares_the_work_and_stops_early(run: Runner, toy: Path, tmp_path: Path) -> None:
    for name, options in (("all", ["--processes", "2"]), ("few", ["--limit", "3"])):
        result = run("data", "convert", "vcr", str(toy), str(tmp_path / name), "--split", "val", *options)
        assert result.code == 0, result.err
    everything, few = (list(open_records(tmp_path / name)) for name in ("all", "few"))
    assert len({record.image for record in few}) == 3 and everything[: len(few)] == few and len(everything) > len(few)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_scenes_writes_convert_reads(run: Runner, tmp_path: Path, name: str) -> None:
    written = run("scenes", str(tmp_path / "toy"), "--layout", name, "--count", "8", "--side", "64")
    result = run("data", "convert", name, str(tmp_path / "toy"), str(tmp_path / "out"), "--json")
    assert (written.code, result.code) == (0, 0), written.err + result.err
    told = json.loads(result.out)
    assert told["records"] == len(list(open_records(tmp_path / "out"))) >= 3 and told["troubles"] == {}


def test_the_first_split_is_the_default(run: Runner, toy: Path, tmp_path: Path) -> None:
    result = run("data", "convert", "vcr-qa", str(toy), str(tmp_path / "out"), "--json")
    assert json.loads(result.out)["name"] == "vcr-qa train"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["voc", "{own}", "{out}"], ["invalid_setting", "voc", "boxes-csv"]),
        (["coco", "{own}", "{out}"], ["data_not_found", "instances_train2017.json"]),
        (["boxes-json", "{own}", "{out}"], ["data_not_found", "boxes.json"]),
        (["boxes-csv", "{own}/nowhere", "{out}"], ["data_not_found", "nowhere"]),
        (["boxes-csv", "{own}", "{out}", "--images", "{own}/no"], ["data_not_found", "the folder of images"]),
        (["boxes-csv", "{own}", "{out}", "--images", "{empty}"], ["invalid_setting", "no annotation", "troubles.jsonl"]),
        (["boxes-csv", "{own}", "{out}", "--refuse"], ["data_refused", "boxes.csv, line 3"]),
        (["boxes-csv", "{own}", "{own}"], ["invalid_setting", "contains files already"]),
        (["boxes-csv", "{own}", "{own}/boxes.csv"], ["invalid_setting", "boxes.csv"]),
        (["boxes-json", "{cut}", "{out}"], ["record_invalid", "cut.json", "line 1, column 13"]),
        (["vcr", "{own}", "{out}", "--split", "test"], ["invalid_setting", "not public"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    run: Runner, own: Path, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (own / "cut.json").write_text('{"images":[{', encoding="utf-8")
    names = {"own": own, "out": tmp_path / "out", "empty": tmp_path / "empty", "cut": own / "cut.json"}
    result = run("data", "convert", *(each.format(**names) for each in arguments))
    assert result.code == 2
    assert all(word in result.err for word in words), result.err
    assert result.err.count("\n") == 1 and "Traceback" not in result.err


def test_help_lists_every_format_with_its_files(run: Runner) -> None:
    text = " ".join(run("data", "convert", "--help").out.split())
    for name, each in READERS.items():
        assert f"• {name}: {each.about}" in text
    for word in ("llava_instruct_150k.json", "detections.json", "image,x1,y1,x2,y2,text", "<region> is the box of its line"):
        assert word in text


def test_formats_are_listed_for_people_and_for_programs(run: Runner) -> None:
    listed = run("data", "formats").out
    for each in json.loads(run("data", "formats", "--json").out)["formats"]:
        assert f"{each['name']}: {each['about']}" in listed and all(line in listed for line in each["layout"])


def test_the_help_of_the_group_shows_a_record_that_is_one(run: Runner) -> None:
    assert Record.from_dict(json.loads(RECORD_EXAMPLE), where="help").turns[0].answer == "a cat"
    text = run("data", "--help").out
    assert all(line.strip() in " ".join(text.split()) for line in RECORD_EXAMPLE.splitlines())
    for word in ("regions", "options", "references", "evidence", "dataset.json"):
        assert word in text


@pytest.fixture(scope="module")
def converted(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from roi_agent.model.data.conversion import ConversionSettings, convert

    target = tmp_path_factory.mktemp("converted") / "vcr"
    reader = READERS["vcr"](toy, images=toy / "images", split="val")
    convert(reader, target, ConversionSettings(), show_progress=False)
    return target


def test_inspect_prints_records_and_draws_them(run: Runner, converted: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run("data", "inspect", str(converted), "--count", "3", "--seed", "4", "--picture", str(sheet))
    assert result.code == 0, result.err
    drawn = open_records(converted).sample(3, seed=4)
    for record in drawn:
        assert f"{record.id}  ({record.image}, 96 x 96, VCR)" in result.out
        for turn in record.turns:
            assert f"  Q: {turn.question}\n  A: {turn.answer}\n     options: {' | '.join(turn.options)}" in result.out
        for region in record.regions:
            assert re.search(rf"{region.name}: {region.label} at \d+", result.out)
    with Image.open(sheet) as whole:
        assert whole.width == 2 * 640 + 3 * 16 and whole.height > 2 * 640
        first = np.asarray(whole.convert("RGB"))[16:656, 16:656]
    with Image.open(converted / open_records(converted).images / drawn[0].image) as image:
        expected = np.asarray(image.resize((640, 640)))
    assert np.median(np.abs(first.astype(int) - expected.astype(int))) < 8  # the image, under the boxes


@pytest.mark.parametrize("options", [[], ["--count", "500"]])
def test_inspect_needs_at_most_the_records_that_there_are(run: Runner, own: Path, tmp_path: Path, options: list[str]) -> None:
    run("data", "convert", "boxes-csv", str(own), str(tmp_path / "records"))
    result = run("data", "inspect", str(tmp_path / "records"), *options)
    assert (result.code, result.out.count("Q: ")) == ((0, 2) if not options else (2, 0))


def test_inspect_refuses_what_it_cannot_show(run: Runner, converted: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("")
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n')
    (tmp_path / "bad.parquet").write_text("PAR1")
    elsewhere = ["--images", str(tmp_path), "--picture", str(tmp_path / "x.png")]
    cases = [
        ([str(tmp_path / "missing")], "data_not_found"),
        ([str(tmp_path / "none.jsonl")], "contains no records"),
        ([str(tmp_path / "bad.jsonl")], "bad.jsonl, line 1: id"),
        ([str(tmp_path / "bad.parquet")], "bad.parquet: this is not Parquet"),
        ([str(converted), "--picture", str(tmp_path / "x.doc")], "x.doc"),
        ([str(converted), *elsewhere], "image_unreadable"),
    ]
    for arguments, word in cases:
        result = run("data", "inspect", *arguments)
        assert (result.code, result.err.count("\n")) == (2, 1) and word in result.err
    assert not (tmp_path / "x.png").exists()


def test_stats_counts_for_people_and_for_programs(run: Runner, converted: Path) -> None:
    told = json.loads(run("data", "stats", str(converted), "--json").out)
    records = list(open_records(converted))
    assert told["name"] == "vcr val"
    assert told["records"] == len(records) and told["turns"] == told["closed_turns"] == 2 * len(records)
    assert told["regions"] == sum(len(record.regions) for record in records)
    assert told["sources"] == {"VCR": len(records)} and told["troubles"] == {}
    text = run("data", "stats", str(converted)).out
    assert re.search(rf"records +│ {len(records)} ", text) and "skipped or fixed" in text


def test_stats_needs_no_images_and_shows_what_was_left_out(run: Runner, own: Path, tmp_path: Path) -> None:
    run("data", "convert", "boxes-csv", str(own), str(tmp_path / "records"))
    (own / "images").rename(own / "moved")
    result = run("data", "stats", str(tmp_path / "records"))
    assert result.code == 0 and "box_outside 1" in " ".join(result.out.split())


def test_stats_names_the_line_that_is_no_record(run: Runner, tmp_path: Path) -> None:
    write_json(tmp_path / "bad.jsonl", {"id": "1", "image": "a.png"})
    result = run("data", "stats", str(tmp_path / "bad.jsonl"))
    assert result.code == 2 and result.err.startswith("record_invalid: bad.jsonl, line 1: width: ")


def test_labels_with_brackets_are_shown_as_they_are(run: Runner, own: Path, tmp_path: Path) -> None:
    (own / "boxes.csv").write_text("image,x1,y1,x2,y2,text\na.png,1,2,30,20,[red] cup\n", encoding="utf-8")
    run("data", "convert", "boxes-csv", str(own), str(tmp_path / "[bold]"))
    assert "A: [red] cup" in run("data", "inspect", str(tmp_path / "[bold]")).out


def test_coco_points_to_the_format_for_boxes_of_ones_own(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "mine.json").write_text('{"images": [], "annotations": [], "categories": []}')
    for root in (tmp_path, tmp_path / "mine.json"):
        done = run("data", "convert", "coco", str(root), str(tmp_path / "out"), "--images", str(tmp_path / "images"))
        assert done.code == 2 and "boxes-json" in done.err
    for command in (("data", "convert", "--help"), ("data", "formats")):
        coco = re.search(r"\bcoco: .*?(?=refcoco:)", " ".join(run(*command).out.split()))
        assert coco and "boxes-json" in coco[0]
