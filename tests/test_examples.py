"""Everything a newcomer would run: the demo, the example script, the notebook and the README's code."""

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from roi_agent import Workspace

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run_script(script: Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, str(script)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_answers_right_and_writes_its_picture(tmp_path: Path) -> None:
    printed = " ".join(run_script(EXAMPLES / "demo.py", tmp_path).split())
    for line in (
        "What is <region1>? a large orange umbrella",
        "What colour is <region2>? pink",
        "have the same colour? yes",
        "Is <region1> left of <region4>? yes",
        "the same kind of thing? yes",
        "is the leftmost? region3",
        "are flags? two",
        "Why? region1 is below region2",
    ):
        assert line in printed
    with Image.open(tmp_path / "demo" / "answers.png") as picture:
        assert picture.size[0] == 512


def test_the_example_script_runs(tmp_path: Path) -> None:
    printed = run_script(EXAMPLES / "ask_about_regions.py", tmp_path)
    assert "choice: hourglass" in printed
    assert (tmp_path / "regions.png").exists()


class Planner(BaseHTTPRequestHandler):
    """A chat model of few words behind OpenAI's API: it looks for flags, asks about what it found, and repeats the answer."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        replies = [message["content"] for message in asked["messages"] if message["role"] == "tool"]
        known = {tool["function"]["name"] for tool in asked["tools"]}
        message: dict[str, Any] = {"role": "assistant", "content": None}
        if len(replies) == 2:
            message["content"] = f"It is {replies[1].split(' (')[0]}."
        else:
            found = re.findall(r"region\d+", replies[0]) if replies else []
            arguments: dict[str, Any] = {"phrases": ["flag"]}
            name = "find_regions"
            if found:
                name, arguments = "ask_about_regions", {"question": f"What colour is <{found[0]}>?"}
            assert name in known
            function = {"name": name, "arguments": json.dumps(arguments)}
            message["tool_calls"] = [{"id": f"call{len(replies)}", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "finish_reason": "stop" if message["content"] else "tool_calls"}
        body = json.dumps(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "few-words", "choices": [choice]}
        ).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_agent_loop_works_from_schemas_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Planner)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    try:
        command = [sys.executable, str(EXAMPLES / "agent_loop.py"), str(EXAMPLES / "scene1.png"), "What colour is the flag?"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    assert re.search(r"It is (pink|orange)\.$", done.stdout.strip())
    assert {region.label for region in Workspace.load(tmp_path / "regions").regions()} == {"flag"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    "name,answer", [("ask_about_regions", "a large purple bell"), ("find_and_ask", "a large orange umbrella")]
)
def test_the_notebooks_run_from_top_to_bottom(tmp_path: Path, name: str, answer: str) -> None:
    for scene in EXAMPLES.glob("*.png"):
        shutil.copy(scene, tmp_path)
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert answer in printed


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "scene1.png", tmp_path / "examples")
    printed = run_script(tmp_path / "readme.py", tmp_path)
    assert printed.startswith("region2 ")
    assert "no star (best score 0." in printed and "unknown_region: region9; there is region1..region2" in printed
    assert len(blocks) == 4 and (tmp_path / "found.png").exists() and len(Workspace.load(tmp_path / "found").images) == 1
