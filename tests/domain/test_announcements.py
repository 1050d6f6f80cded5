"""Every surface says what nano is before anybody asks it."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from roi_agent.loading import load_models
from roi_agent.mcp import Workspaces, build_server
from roi_agent.model.domain.nano import NANO
from roi_agent.tools.models import Models
from tests.commands import Runner
from tests.serving import Serving

SCENE = str(Path(__file__).parents[2] / "examples" / "scene1.png")
OTHERS: dict[str, Any] = {"region_model": object(), "detector": lambda image: [], "segmenter": object()}


def test_the_sentence() -> None:
    assert NANO == "nano: a demonstration model for rendered scenes"


def test_the_server_says_it_as_it_starts_and_in_its_list_of_models(served_with_page: Serving) -> None:
    assert any(line.startswith(NANO) for line in served_with_page.lines)
    with urllib.request.urlopen(f"{served_with_page.address}/v1/models") as answer:
        (model,) = json.load(answer)["data"]
    assert model["id"] == "nano" and model["description"] == NANO
    with urllib.request.urlopen(f"{served_with_page.address}/v1/models/nano") as answer:
        assert json.load(answer)["description"] == NANO
    with urllib.request.urlopen(f"{served_with_page.address}/ui/config") as answer:
        assert NANO in answer.read().decode(), "the page"


def test_commands_say_it(run: Runner) -> None:
    for command in ("ask", "chat", "run", "detect", "segment", "serve", "mcp"):
        assert NANO.split(": ")[1] in " ".join(run(command, "--help").out.replace("│", " ").split())
    assert NANO in run("chat", SCENE, stdin="/quit\n").out
    done = run("run", SCENE, "Is there an umbrella?")
    assert done.err.startswith(NANO) and done.out.startswith("yes")
    assert run("run", SCENE, "Is there an umbrella?", "--json").err == ""


@pytest.mark.parametrize("role", [None, *OTHERS])
def test_mcp_hosts_are_notified(role: str | None) -> None:
    def told(models: Models) -> str:
        return str(build_server(Workspaces(models), version="1").instructions)

    assert NANO in told(load_models(**{role: OTHERS[role]} if role else {})), "while any of the models is nano"
    assert NANO not in told(load_models(**OTHERS))


def test_a_notebook_shows_it_once_when_nano_is_loaded_there() -> None:
    cells = [
        "from roi_agent.loading import *; from roi_agent import *",
        "load_segmenter(); None",
        "load_models(); build_agent(); None",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    assert [output["text"] for cell in notebook.cells for output in cell.outputs] == [f"{NANO}\n"]
