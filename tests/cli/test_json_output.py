"""docs/reference/json.md has every field that --json prints, and no other."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from PIL import Image

from roi_agent.agent.events import Approval
from roi_agent.doctor import DoctorReport
from roi_agent.evaluation.agent import AgentScore
from roi_agent.evaluation.natural import NaturalAttempt, NaturalScore
from roi_agent.evaluation.report import Report
from roi_agent.generation.generating import Summary
from roi_agent.model.checkpoints.report import LoadReport
from roi_agent.model.data.statistics import Statistics
from roi_agent.model.protocol.answers import Answer, Timing, Usage
from roi_agent.model.toy.evaluate.detection import DetectionScore
from roi_agent.model.toy.evaluate.questions import Score
from roi_agent.model.toy.evaluate.segmentation import SegmentationScore
from roi_agent.model.toy.questions.natural import NaturalQuestion
from roi_agent.model.toy.world.scenes import make_scene
from roi_agent.model.train.plan import Plan
from roi_agent.replay import Replay
from roi_agent.tools.ask import Asked
from roi_agent.tools.models import Placement
from roi_agent.trace import Step
from tests.commands import COMMANDS, Runner

ROOT = Path(__file__).parents[2]
SCENE = str(ROOT / "examples" / "scene1.png")
PAGE = (ROOT / "docs" / "reference" / "json.md").read_text(encoding="utf-8")


def page() -> dict[str, dict[str, str]]:
    """The tables: the type of each field by heading."""
    _, *parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    tables = zip(parts[::2], parts[1::2], strict=True)
    return {heading: dict(re.findall(r"^\| `(.+?)` \| (.+?) \|", text, re.MULTILINE)) for heading, text in tables}


TABLES = page()


def documented(heading: str) -> dict[str, str]:
    """The fields of a table with those of the tables that it links to."""
    found: dict[str, str] = {}
    for name, kind in TABLES[heading].items():
        linked = re.match(r"\[(Region|Spread)\]", kind)
        found |= {f"{name}.{each}": its for each, its in documented(linked[1]).items()} if linked else {name: kind}
    return found


def printed(value: object, path: str = "") -> Iterator[str]:
    """The fields of a JSON value; an empty list or object has none of its own."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from printed(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for each in value:
            yield from printed(each, f"{path}[]")
    else:
        yield path


def declared(kind: Any, path: str = "") -> Iterator[str]:
    """The fields of a dataclass as its JSON."""
    if isinstance(kind, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        for each in fields(kind):
            yield from declared(hints[each.name], f"{path}.{each.name}" if path else each.name)
    elif get_origin(kind) in (list, tuple):
        yield from declared(get_args(kind)[0], f"{path}[]")
    elif get_args(kind):
        yield from declared(get_args(kind)[1], f"{path}.*")
    else:
        yield path


def compared(heading: str, found: set[str]) -> tuple[set[str], set[str]]:
    """Fields of the page and of the code, both as the page writes them."""
    wanted = documented(heading)
    free = {name.removesuffix(".*") for name in wanted if name.endswith(".*")}
    opaque = {name for name, kind in wanted.items() if kind == "object"}
    nothing = {re.split(r"[.\[]", name)[0] for name in wanted} - set(wanted)  # null where the object is not there

    def as_written(name: str) -> str:
        for each in opaque:
            if re.match(rf"{re.escape(each)}([.\[]|$)", name):
                return each
        for each in free:
            if re.match(rf"{re.escape(each)}\.", name):
                return f"{each}.*"
        return name

    return set(wanted), {as_written(name) for name in found if name not in nothing} - {"schema_version"}


ANSWER = Answer("red", 0.5, (), Usage(1, 1), Timing(1.0, 1.0, image_cached=False))
ASKED = NaturalAttempt(NaturalQuestion("colour", 0, (make_scene(0),), ("What?",), "colours", ("red",)), "red", "answered", 0)
NATURAL_QUESTION = {f"questions[].{name}{'[]' if isinstance(value, list) else ''}" for name, value in ASKED.to_dict().items()}
DECLARED: dict[str, set[str]] = {
    "convert": set(declared(LoadReport)),
    "doctor": {*declared(DoctorReport), *declared(Placement, "plan[]")},
    "evaluate captions, boxes, vcr, visual7w, pope": set(declared(Report)),
    "evaluate toy": {
        *declared(Score, "ask[]"),
        *declared(DetectionScore, "detect[]"),
        *declared(SegmentationScore, "segment[]"),
    },
    "evaluate agent": set(declared(AgentScore, "rows[]")),
    "evaluate natural": {*declared(NaturalScore, "rows[]"), *NATURAL_QUESTION},
    "data generate": set(declared(Summary)),
    "data stats": {"name", "troubles.*", *declared(Statistics)},
    "train --plan": {"memory.total", *declared(Plan)},
    "replay": set(declared(Replay)),
}


@pytest.mark.parametrize("heading", DECLARED)
def test_fields_of_dataclasses_are_on_the_page(heading: str) -> None:
    wanted, found = compared(heading, DECLARED[heading])
    assert found == wanted


@pytest.fixture
def outputs(run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What commands print, by heading."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (60, 40)).save("a.png")
    Path("boxes.csv").write_text("image,x1,y1,x2,y2,text\na.png,1,1,20,20,a cup\na.png,1,1,99,20,a tray\n")

    def ran(*arguments: str) -> Any:
        value = json.loads(run(*arguments, "--json").out)
        assert value["schema_version"] == 1
        return value

    box, kept = ("--box", "123,194,303,377"), ("--workspace", "kept")
    found = {
        "detect": [ran("detect", SCENE, "umbrella . dragon", *kept)],
        "segment": [ran("segment", *kept, "--region", "region1"), ran("segment", SCENE, "--point", "200,280")],
        "ask": [
            ran("ask", SCENE, "What is <region1>?", *box),
            ran("ask", SCENE, "What kind of thing is <region1>?", *box, "--choose", "cup,umbrella"),
            ran("ask", "What is <region1>?", *kept),
        ],
        "run": [ran("run", SCENE, "Is there an umbrella?", "--out", "run1")],
        "trace.json": [ran("replay", "run1")],
        "replay": [ran("replay", "run1", "--models", "nano")],
        "scenes": [
            ran("scenes", "new", "--count", "1", "--side", "64"),
            ran("scenes", "coco", "--layout", "coco", "--count", "1", "--side", "64"),
        ],
        "data formats": [ran("data", "formats")],
        "data convert": [ran("data", "convert", "boxes-csv", "boxes.csv", "records", "--images", ".")],
        "data stats": [ran("data", "stats", "records")],
        "doctor": [ran("doctor")],
        "train --plan": [ran("train", "nano-boxes", "--plan")],
        "Errors": [ran("ask", "missing.png", "What?")],
    }
    asking = [*found["ask"], *found["detect"], *found["segment"]]
    found["Region"] = [region for each in asking for region in each["regions"]]
    asked = Asked("What?", ANSWER, "image1", (), crop="1,1,9,9", first_look=ANSWER)
    found["ask"].append(json.loads(json.dumps(asked.to_dict())))
    return found


# What no run above shows.
NOT_SHOWN = {
    "ask": {"tokens[]"},
    "run": set(declared(Approval, "waiting[]")),
    "trace.json": set(declared(Step, "steps[]")) - {"steps[].result"},  # it is not written
}


def test_what_commands_print_is_on_the_page(outputs: dict[str, list[Any]]) -> None:
    for heading, values in outputs.items():
        wanted, found = compared(heading, {name for value in values for name in printed(value)})
        assert found <= wanted, heading
        if heading not in DECLARED:
            shown = found | compared(heading, NOT_SHOWN.get(heading, set()))[1]
            own = {name for name in TABLES[heading] if name in wanted and not name.endswith("[]")}  # a list may be empty
            assert own <= shown, heading


def test_a_name_that_is_not_text_is_printed_escaped(run: Runner, tmp_path: Path) -> None:
    folder = f"{tmp_path}/caf\udce9"
    done = run("scenes", folder, "--count", "1", "--side", "64", "--json")
    assert done.code == 0 and json.loads(done.out)["scenes"][0]["image"].startswith(folder)


def test_every_command_with_json_has_a_table() -> None:
    commands = [" ".join(path) for path, each in COMMANDS.items() if any(opt.name == "as_json" for opt in each.params)]
    headings = {name for heading in TABLES for name in re.sub(r"^evaluate (.*)", _benches, heading).split(", ")}
    assert commands and set(commands) <= headings


def _benches(match: re.Match[str]) -> str:
    return ", ".join(f"evaluate {name}" for name in match[1].split(", "))
