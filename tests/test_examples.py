"""What lies in examples/: the demo, the scripts and the notebooks. What the documents show is run by test_documents."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from roi_agent.trace import Trace
from tests.documents import run_python

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run_script(name: str, *arguments: str) -> str:
    """What a script prints that is run in this folder."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        run_python([str(EXAMPLES / name), *arguments])
    return printed.getvalue()


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_demo_answers_right_and_writes_its_page_and_picture(tmp_path: Path) -> None:
    printed = " ".join(run_script("demo.py").split())
    order = ["find_regions", "select_regions", "order_regions", "ask_each_region", "yellow (region"]
    places = [printed.rindex(each) for each in order]
    assert places == sorted(places)
    with Image.open(tmp_path / "demo" / "answer.png") as picture:
        assert picture.size[0] == 512
    page = (tmp_path / "demo" / "trace.html").read_text(encoding="utf-8")
    assert "order_regions" in page and "data:image/" in page
    assert Trace.load(tmp_path / "demo").said.startswith("yellow")


def test_the_agents_example_shows_its_steps(tmp_path: Path) -> None:
    printed = run_script("ask_the_agent.py")
    assert printed.startswith("pink (region") and "order_regions took" in printed and "\nno (region" in printed
    assert (tmp_path / "trace" / "trace.html").exists()


def test_images_are_sorted_by_a_visual_rule(tmp_path: Path) -> None:
    assert "yes      scene1.png" in run_script("sort_by_rule.py")
    with (tmp_path / "sorted" / "sorted.csv").open(encoding="utf-8") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {name: row["verdict"] for name, row in rows.items()} == {"scene1.png": "yes", "scene2.png": "no", "scene3.png": "yes"}
    assert (tmp_path / "sorted" / rows["scene1.png"]["picture"]).exists() and float(rows["scene1.png"]["confidence"]) > 0.9


def test_region_questions_join_an_openai_loop() -> None:
    printed = run_script("function_calling.py", str(EXAMPLES / "scene1.png"), "What colour is the umbrella?")
    assert printed.splitlines()[-1] == "orange (region1)" and "  find_regions {" in printed


def test_the_example_script_runs(tmp_path: Path) -> None:
    printed = run_script("ask_about_regions.py")
    assert "choice: hourglass" in printed
    assert (tmp_path / "regions.png").exists()


NOTEBOOKS = {
    "first_steps": (
        "a large purple bell",
        "yes    Why?  region1 is below region2",
        "a medium pink chair",
        "bell    confidence 0.",
    ),
    "many_regions": (
        "no star (best score 0.",
        "a medium pink flag  1.00",
        "region3 is left of and below region4",
        "a large purple bell",
    ),
    "agent_and_trace": ("pink (region2)", "no umbrella was found", "scene2.png holds=False", "answer: red arrow (region2)"),
    "detector_to_dataset": ("2 images, 5 annotations of flag car boat bell", "2 records, troubles: none", "corrected by hand"),
    "build_your_own_tool": ("a large orange umbrella", "yellow (region8)", "brightness 54", "unknown_region: region99"),
}


def shown_by(notebook: Any) -> str:
    """The text that a reader sees below the cells."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pages = [output["data"].get("text/html", output["data"].get("text/plain", "")) for output in outputs if "data" in output]
    printed = [output["text"] for output in outputs if "text" in output]
    return unescape(re.sub(r"<[^>]*>", " ", "\n".join(printed + pages)))


def test_notebooks_are_kept_without_outputs_and_link_to_what_is_there() -> None:
    names = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))
    assert names == sorted([*NOTEBOOKS, "train_on_your_boxes"])
    for name in names:
        for cell in nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4).cells:
            assert not cell.get("outputs") and cell.get("execution_count") is None
            for link in re.findall(r"\]\((\w+\.ipynb)\)", cell.source):
                assert (EXAMPLES / link).is_file(), link


# What runs in the kernel comes last: it ends with the last of these tests, and so do the warnings of its client.


@pytest.fixture(scope="module")
def kernel() -> Iterator[NotebookClient]:
    """One kernel for all notebooks: each would spend seconds on loading the libraries again."""
    # It is killed in the end: some seconds that it needs to end by itself are nobody's.
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=300, shutdown_kernel="immediate")
    with client.setup_kernel():
        yield client


def run_notebook(kernel: NotebookClient, name: str, folder: Path, times: int = 1) -> Any:
    """The notebook with its outputs, after it has run in a folder from top to bottom so many times; no earlier names are left."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    fresh = nbformat.v4.new_code_cell(f"%reset -f\nimport os\nos.chdir({str(folder)!r})")
    notebook.cells = [fresh, *notebook.cells * times]
    kernel.nb = notebook
    for number, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, number)
    return notebook


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebooks_run_from_top_to_bottom(kernel: NotebookClient, tmp_path: Path, name: str) -> None:
    for scene in EXAMPLES.glob("*.png"):
        shutil.copy(scene, tmp_path)
    notebook = run_notebook(
        kernel, name, tmp_path, times=2 if name == "detector_to_dataset" else 1
    )  # corrected further, run again
    shown = shown_by(notebook)
    for text in NOTEBOOKS[name]:
        assert text in shown, text
    assert not any("stderr" in output.get("name", "") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_training_notebook_teaches_names_that_nano_did_not_know(kernel: NotebookClient, tmp_path: Path) -> None:
    printed = shown_by(run_notebook(kernel, "train_on_your_boxes", tmp_path))
    counts = re.findall(r"right (\d+) of (\d+), boxes shuffled (\d+) of", printed)
    before, after = [[int(number) for number in each] for each in counts]
    assert before == [0, 109, 0]
    assert after[0] > 0.6 * 109 and after[2] < 0.5 * after[0]  # 87 and 20 when it was written
