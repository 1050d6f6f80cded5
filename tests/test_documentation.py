"""The pages of docs/ as readers get them: built without a warning, whole, and with every error code explained."""

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from roi_agent.model.errors import all_errors
from tests.documents import ROOT

PAGES = ROOT / "docs"
CODES = sorted(set(all_errors()) - {"error"})  # the base, which is never raised


# Error codes


def explained() -> dict[str, str]:
    """Each code of the page on troubleshooting with what is said about it."""
    text = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
    parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_error_code_is_explained_and_no_other() -> None:
    assert sorted(explained()) == CODES


@pytest.mark.parametrize("code", CODES)
def test_an_error_has_a_cause_and_something_to_do(code: str) -> None:
    text = explained()[code]
    cause, _, do = text.partition("**What to do.**")
    assert len(cause.split()) >= 5 and len(do.split()) >= 5, text


# The built pages


def script(name: str) -> Any:
    """A module that lies in docs/, which is no package."""
    place = spec_from_file_location(name, PAGES / f"{name}.py")
    assert place is not None and place.loader is not None
    module = module_from_spec(place)
    place.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "text,names,written",
    [
        ("", set(), ""),
        ("One line about <region1>.", set(), "One line about `<region1>`."),
        (
            "What.\n\nsize_wh: pixels.  format: of four\n    numbers.",
            {"size_wh", "format"},
            "What.\n\n- **size_wh**: pixels.\n\n- **format**: of four\nnumbers.",
        ),
        ("It says: no.  Raises BoxEmpty.", {"box"}, "It says: no.\n\nRaises BoxEmpty."),
    ],
)
def test_docstrings_become_markdown(text: str, names: set[str], written: str) -> None:
    assert script("docstrings").as_markdown(text, names) == written


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make docs` builds them; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "error", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_the_pages_build_without_a_warning_and_the_reference_holds_what_is_public(site: Path) -> None:
    reference = "".join(page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html"))
    public = ["load_region_model", "build_agent", "build_toolbox", "Workspace", "Region", "Box", "GPT4RoIConfig"]
    public += [
        "GPT4RoIForConditionalGeneration",
        "GPT4RoIProcessor",
        "load_published",
        "RecordSettings",
        "RegionEncoder",
        "Answer",
        "Chat",
        "Trace",
    ]
    missing = [name for name in public if not re.search(rf'id="roi_agent\.[\w.]*\b{name}"', reference)]
    assert not missing and "roi-agent evaluate agent" in reference


def test_the_pages_fetch_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assets = re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=\"?((?:https?:)?//[^\"\s>]+)", text)
        assert not [each for each in assets if "rel=canonical" not in each], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_no_region_is_lost_as_a_tag(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.search(r"<region\d*>", page.read_text(encoding="utf-8")), page


def test_the_figures_are_those_that_the_script_draws() -> None:
    drawn = script("figures").figures()
    assert {name: (PAGES / "figures" / name).read_text(encoding="utf-8") for name in drawn} == drawn
