"""Everything a newcomer would run: the demo, the example script, the notebook and the README's code."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_from_top_to_bottom() -> None:
    notebook = nbformat.read(EXAMPLES / "ask_about_regions.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert "a large purple bell" in printed


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    printed = run_script(tmp_path / "readme.py", ROOT)
    assert printed.startswith("region2 ")
    assert len(blocks) == 2
