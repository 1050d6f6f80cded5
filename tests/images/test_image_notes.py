"""What was changed when an image was read is told once in every reply about it, at every door, and is no doubt of an answer."""

import base64
import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from mcp.client.client import Client
from PIL import Image

from roi_agent import Workspace, __version__, build_agent, build_toolbox
from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.model.geometry.regions import Region
from roi_agent.model.images.loading import LoadedImage, load_image
from roi_agent.model.protocol.answers import Answer, Choice, Decoding, Timing, Usage
from roi_agent.model.protocol.conversation import Turn
from roi_agent.model.protocol.region_model import RegionModel
from roi_agent.server import build_app
from roi_agent.settings import ServerSettings
from roi_agent.tools.ask import ask
from roi_agent.tools.models import Models
from roi_agent.tools.toolbox import Toolbox
from tests.commands import Runner
from tests.leaving import Leaving
from tests.pictures import ADOBE_RGB, encoded, icc_profile

SCENE = Path(__file__).parents[2] / "examples" / "scene1.png"
FILE = encoded(Image.open(SCENE).convert("RGB"), "PNG", icc_profile=icc_profile(ADOBE_RGB))
URL = "data:image/png;base64," + base64.b64encode(FILE).decode()
NOTE = "colours converted from the picture's own profile to sRGB"
BOX = [141, 9, 246, 134]
SMALL = [200, 60, 220, 80]
TIMING = Timing(0.0, 0.0, False)


class Own(RegionModel):
    """A region model of the user's own, which knows nothing of how an image was read, and is surer of what it sees from near."""

    def reply(self, image: LoadedImage, turns: Sequence[Turn], regions: Sequence[Region], decoding: Decoding) -> Answer:
        return Answer("a thing", 0.5 if image.whole is None else 0.9, tuple(regions), Usage(3, 2), TIMING)

    def choose_for(self, image: LoadedImage, question: str, options: Sequence[str], regions: Sequence[Region]) -> Choice:
        return Choice(options[0], 0, 0.5, tuple(options), (-1.0,) * len(options), tuple(regions), Usage(3, 2), TIMING)


MODELS: dict[str, Models] = {"nano": load_models(), "own": load_models(region_model=Own())}


@pytest.fixture(params=MODELS)
def models(request: pytest.FixtureRequest) -> Models:
    """Ours, and with a region model of the user's own."""
    return MODELS[request.param]


def notes_in(told: Any) -> list[list[str]]:
    """The lists called "notes" anywhere in plain values."""
    if isinstance(told, dict):
        return [value for key, value in told.items() if key == "notes"] + [
            found for key, value in told.items() if key != "notes" for found in notes_in(value)
        ]
    return [found for each in told for found in notes_in(each)] if isinstance(told, list) else []


def told_once(told: Any) -> bool:
    found = notes_in(told)
    return found != [] and all(notes.count(NOTE) == 1 for notes in found)


# ---------------------------------------------------------------- Python and its tools


ASKS: dict[str, Callable[[RegionModel, LoadedImage], Any]] = {
    "ask": lambda model, image: model.ask(image, "What is <region1>?", [BOX]),
    "whole": lambda model, image: model.ask(image, "What is it?"),
    "each": lambda model, image: model.ask_each(image, "What is <region>?", [BOX, SMALL])[1],
    "choose": lambda model, image: model.choose(image, "What is <region1>?", ["a cup", "a ball"], [BOX]),
    "stream": lambda model, image: model.stream(image, "What is <region1>?", [BOX]).answer(),
    "chat": lambda model, image: model.chat(image, [BOX]).ask("What is <region1>?"),
}


@pytest.mark.parametrize("asked", ASKS.values(), ids=ASKS)
def test_an_answer_reports_how_its_image_was_read(models: Models, asked: Callable[[RegionModel, LoadedImage], Any]) -> None:
    with models.use("ask") as model:
        assert asked(model, load_image(FILE)).notes.count(NOTE) == 1


async def test_an_awaited_answer_reports_how_its_image_was_read(models: Models) -> None:
    with models.use("ask") as model:
        assert (await model.aask(FILE, "What is <region1>?", [BOX])).notes.count(NOTE) == 1
        assert [each.notes.count(NOTE) for each in await model.aask_each(FILE, "What is <region>?", [BOX, SMALL])] == [1, 1]
        chosen = await model.achoose(FILE, "What is <region1>?", ["a cup", "a ball"], [BOX])
        assert chosen.notes.count(NOTE) == 1


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("find_regions", {"phrases": ["flag"]}),
    ("find_regions", {"phrases": ["gramophone"]}),
    ("segment_regions", {"points": [[200, 60]]}),
    ("segment_everything", {}),
    ("ask_about_regions", {"question": "What is <region1>?"}),
    ("ask_about_regions", {"question": "What is <region2>?"}),
    ("ask_about_regions", {"question": "What is it?"}),
    ("ask_each_region", {"question": "What is <region>?"}),
    ("choose_answer", {"question": "What is <region1>?", "options": ["a cup", "a ball"]}),
]


def toolbox(models: Models) -> Toolbox:
    workspace = Workspace()
    workspace.add_image(FILE)
    workspace.add_regions([BOX, SMALL])
    return Toolbox(workspace, models)


def by_models(table: list[tuple[str, dict[str, Any]]], asking: tuple[str, ...]) -> list[Any]:
    """Each row with nano, and what asks the region model with one of the user's own too."""
    return [(MODELS[kind], *row) for row in table for kind in MODELS if kind == "nano" or row[0] in asking]


ASKING = ("ask_about_regions", "ask_each_region", "choose_answer")


@pytest.mark.parametrize(("models", "name", "arguments"), by_models(CALLS, ASKING))
def test_a_tools_reply_reports_how_its_image_was_read(models: Models, name: str, arguments: dict[str, Any]) -> None:
    reply = toolbox(models).call(name, arguments)
    assert reply.error is None and reply.text.count(NOTE) == 1 and told_once(dict(reply.data))


def test_a_detector_of_the_users_own_need_not_report_its_vocabulary() -> None:
    box = build_toolbox(detector=lambda image: [{"box": BOX, "label": "flag", "score": 0.9}])
    box.workspace.add_image(FILE)
    reply = box.call("find_regions", {"phrases": ["flag"]})
    assert reply.text.count(NOTE) == 1 and told_once(dict(reply.data))


def test_a_crop_keeps_the_notes_of_its_image_once(models: Models, tmp_path: Path) -> None:
    box = toolbox(models)
    assert box.call("zoom_in", {"region": "region1"}).error is None
    for name, arguments in (
        ("ask_about_regions", {"question": "What is it?", "image": "image2"}),
        ("find_regions", {"phrases": ["flag"], "image": "image2"}),
        ("segment_regions", {"points": [[30, 30]], "image": "image2"}),
    ):
        reply = box.call(name, arguments)
        assert reply.text.count(NOTE) == 1 and told_once(dict(reply.data))
    box.workspace.save(tmp_path / "kept")
    kept = Workspace.load(tmp_path / "kept")
    kept.save(tmp_path / "kept")
    assert [image.image.notes for image in kept.images] == [(NOTE,), (NOTE,)]


def test_a_closer_look_that_is_better_keeps_the_notes() -> None:
    workspace = Workspace()
    workspace.add_image(FILE)
    workspace.add_regions([SMALL])
    asked = ask(workspace, "What is <region1>?", model=Own())
    assert asked.crop is not None and asked.notes.count(NOTE) == 1


# ---------------------------------------------------------------- an agent


@pytest.mark.parametrize("question", ["What colour is the flag?", "How many flags are there?", "What is in the picture?"])
def test_how_an_image_was_read_is_no_doubt(question: str) -> None:
    result = build_agent().run(FILE, question)
    assert result.status == "answered" and not any(NOTE in doubt for doubt in result.doubts)
    assert any(NOTE in step.text for step in result.trace.steps)


# ---------------------------------------------------------------- HTTP


QUESTION = {"turns": [{"question": "What is <region1>?"}], "regions": [{"box": BOX}]}
CHAT = {
    "model": "own",
    "messages": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": URL}}, {"type": "text", "text": "What is <region1>?"}],
        }
    ],
    "roi": {"regions": [{"box": BOX}]},
}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/images", {}),
    ("/v1/detect", {"phrases": "flag"}),
    ("/v1/detect", {"phrases": ["gramophone"]}),
    ("/v1/segment", {"regions": [{"box": BOX}]}),
    ("/v1/segment", {"points": [[200, 60]]}),
    ("/v1/detect/candidates", {"phrases": ["flag"]}),
    ("/v1/segment/masks", {"prompts": [{"box": BOX}]}),
    ("/v1/regions/ask", {"questions": [QUESTION, QUESTION | {"options": ["a cup", "a ball"]}]}),
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", CHAT | {"n": 2}),
]


@cache
def app_over(models: Models) -> FastAPI:
    return build_app(models, ServerSettings(), name="own")


@pytest.mark.parametrize(("models", "path", "body"), by_models(REQUESTS, ("/v1/regions/ask", "/v1/chat/completions")))
async def test_a_route_reports_how_its_image_was_read(models: Models, path: str, body: dict[str, Any]) -> None:
    asked = Leaving(app_over(models), "POST", path, body if "messages" in body else {"image": URL, **body})
    assert told_once(await asked.answer()) and asked.status == 200


async def test_a_stream_reports_how_its_image_was_read(models: Models) -> None:
    events = (await Leaving(app_over(models), "POST", "/v1/chat/completions", CHAT | {"stream": True}).content()).split("\n\n")
    told = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert notes_in(told) and told_once(told)


# ---------------------------------------------------------------- MCP


async def test_a_host_hears_how_an_image_was_read_where_it_is_opened_and_used() -> None:
    async with Client(build_server(Workspaces(MODELS["own"], only=Workspace()), version=__version__)) as client:
        for name, arguments in (
            ("open_image", {"image": URL}),
            ("find_regions", {"phrases": ["flag"]}),
            ("segment_regions", {"points": [[200, 60]]}),
            ("ask_about_regions", {"question": "What is it?"}),
        ):
            reply = await client.call_tool(name, arguments)
            assert not reply.is_error and reply.content[0].text.count(NOTE) == 1  # type: ignore[union-attr]


# ---------------------------------------------------------------- commands


COMMANDS: dict[str, tuple[str, ...]] = {
    "detect": ("FILE", "flag"),
    "segment": ("FILE", "--point", "200,60"),
    "ask": ("FILE", "What is <region1>?", "--point", "200,60"),
}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_reports_how_its_image_was_read(run: Runner, tmp_path: Path, name: str, kept: bool) -> None:
    (tmp_path / "own.png").write_bytes(FILE)
    arguments = [str(tmp_path / "own.png") if each == "FILE" else each for each in COMMANDS[name]]
    arguments += ["--workspace", str(tmp_path / "kept")] if kept else []
    plain = run(name, *arguments)
    assert plain.code == 0 and " ".join((plain.out + plain.err).split()).count(NOTE) == 1
    if kept:
        as_json = run(name, *arguments, "--json")
        assert told_once(json.loads(as_json.out)) and NOTE not in as_json.err
