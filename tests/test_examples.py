"""What lies in examples/: the demo, the scripts and the notebooks. What the documents show is run by test_documents."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from roi_agent.trace import Trace

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run_script(script: Path, cwd: Path) -> str:
    done = subprocess.run([sys.executable, str(script)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_answers_right_and_writes_its_page_and_picture(tmp_path: Path) -> None:
    printed = " ".join(run_script(EXAMPLES / "demo.py", tmp_path).split())
    order = ["find_regions", "select_regions", "order_regions", "ask_each_region", "yellow (region"]
    places = [printed.rindex(each) for each in order]
    assert places == sorted(places)
    with Image.open(tmp_path / "demo" / "answer.png") as picture:
        assert picture.size[0] == 512
    page = (tmp_path / "demo" / "trace.html").read_text(encoding="utf-8")
    assert "order_regions" in page and "data:image/" in page
    assert Trace.load(tmp_path / "demo").said.startswith("yellow")


def test_the_agents_example_shows_its_steps(tmp_path: Path) -> None:
    printed = run_script(EXAMPLES / "ask_the_agent.py", tmp_path)
    assert printed.startswith("pink (region") and "order_regions took" in printed and "\nno (region" in printed
    assert (tmp_path / "trace" / "trace.html").exists()


def test_images_are_sorted_by_a_visual_rule(tmp_path: Path) -> None:
    assert "yes      scene1.png" in run_script(EXAMPLES / "sort_by_rule.py", tmp_path)
    with (tmp_path / "sorted" / "sorted.csv").open(encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {name: row["verdict"] for name, row in rows.items()} == {"scene1.png": "yes", "scene2.png": "no", "scene3.png": "yes"}
    assert (tmp_path / "sorted" / rows["scene1.png"]["picture"]).exists() and float(rows["scene1.png"]["confidence"]) > 0.9


def test_region_questions_join_an_openai_loop(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(EXAMPLES / "function_calling.py"),
        str(EXAMPLES / "scene1.png"),
        "What colour is the umbrella?",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "orange (region1)" and "  find_regions {" in done.stdout


def test_the_example_script_runs(tmp_path: Path) -> None:
    printed = run_script(EXAMPLES / "ask_about_regions.py", tmp_path)
    assert "choice: hourglass" in printed
    assert (tmp_path / "regions.png").exists()


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_training_notebook_teaches_names_that_nano_did_not_know(tmp_path: Path) -> None:
    notebook = nbformat.read(EXAMPLES / "train_on_your_boxes.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    counts = re.findall(r"right (\d+) of (\d+), boxes shuffled (\d+) of", printed)
    before, after = [[int(number) for number in each] for each in counts]
    assert before == [0, 109, 0]
    assert after[0] > 0.6 * 109 and after[2] < 0.5 * after[0]  # 87 and 20 when it was written
