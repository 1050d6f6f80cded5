"""What README.md and docs/ say is so: every block runs, every link leads somewhere, every error code is explained."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from roi_agent.model.errors import all_errors
from tests.documents import DOCUMENTS, ROOT, Reader, blocks, check_command_line, commands, missing_lines
from tests.serving import serving

SHELL = ("bash",)
RUN = ("python", "bash")
NOT_RUN_AT_MOST = 14  # blocks that need what is not here: a GPU, large weights, a key, somebody at the keyboard
PAGES = ROOT / "docs"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def served() -> Iterator[Callable[[], str]]:
    """The address of one server for all pages, which starts when the first of them needs it."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(serving()).address)


# Blocks


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if any(each.language in RUN for each in blocks(page))], ids=name_of)
def test_what_a_page_tells_to_do_works_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Callable[[], str]
) -> None:
    reader = Reader(tmp_path, served)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.language in RUN and block.reason is None:
            printed = reader.run(block)
            if block.shown is not None:
                assert not missing_lines(block.shown, printed), f"{block} prints\n{printed}"


def test_command_lines_that_cannot_run_here_are_spelt_right(tmp_path: Path) -> None:
    with chdir(ROOT):
        for page in DOCUMENTS:
            for block in blocks(page):
                if block.language in SHELL and block.reason is not None:
                    for line, words in commands(block):
                        if words[0] == "roi-agent":
                            check_command_line(words)
                        elif "roi-agent" in words:
                            check_command_line(words[words.index("--") + 1 :])
                        else:
                            raise AssertionError(f"{block}: {line!r} could be run or left out")


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [block for page in DOCUMENTS for block in blocks(page) if block.reason is not None]
    assert len(left_out) <= NOT_RUN_AT_MOST, [str(block) for block in left_out]
    assert all(len(block.reason or "") > 10 for block in left_out)


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_every_fence_is_a_block_that_is_checked(page: Path) -> None:
    fences = len(re.findall(r"^\s*```", page.read_text(encoding="utf-8"), re.MULTILINE))
    found = blocks(page)
    assert fences == 2 * (len(found) + sum(block.shown is not None for block in found))
    assert {block.language for block in found} <= {"python", "bash", "json", "yaml", "text"}
    for block in found:
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)


def test_set_up_lines_name_targets_and_extras_that_exist() -> None:
    written = "\n".join(page.read_text(encoding="utf-8") for page in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"])
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"])
    assert {"demo", "test", "docs"} <= set(re.findall(r"(?:^|`|    )make ([a-z]+)", written, re.MULTILINE)) <= targets
    assert {extra for each in re.findall(r"(?:roi-agent|'\.)\[([a-z,]+)\]", written) for extra in each.split(",")} <= extras


# What the checks notice


def test_a_command_line_with_a_mistake_is_noticed() -> None:
    check_command_line(["roi-agent", "data", "convert", "coco", "a/", "b/", "--split", "val2017"])
    for wrong in (["roi-agent", "aks"], ["roi-agent", "ask", "a.png", "--bx", "1"], ["roi-agent", "data", "stats", "a", "b"]):
        with pytest.raises(Exception, match=r"(?i)no such|unexpected extra"):
            check_command_line(wrong)


@pytest.mark.parametrize(
    "shown,printed,missing",
    [
        ("", "anything", []),
        ("yes", "no\n yes\n", []),
        ("0.79 of it", "0.81 of it", []),
        ("0.79 of it", "0.99 of it", ["0.79 of it"]),
        ("a ... z\n...", "a b c z", []),
        ("one\ntwo", "two\none", ["two"]),
    ],
)
def test_output_that_differs_from_what_is_shown_is_noticed(shown: str, printed: str, missing: list[str]) -> None:
    assert missing_lines(shown, printed) == missing


# Figures


def rows(page: Path) -> list[list[str]]:
    """The cells of every line of a page's tables."""
    lines = re.findall(r"^\|(.+)\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_the_readmes_figures_are_among_those_that_were_measured() -> None:
    """The tables of docs/measured.md are compared with scores.json elsewhere."""
    measured = {row[0]: row[1:] for row in rows(PAGES / "measured.md")}
    shown = [row for row in rows(ROOT / "README.md") if len(row) == 9 and row[1][:1].isdigit()]
    for name, right, shuffled, chance, _, family, agent, whole, often in shown:
        assert [right, chance, shuffled] == [measured[name][1], *measured[name][3:]], name
        assert [agent, whole, often] == [measured[family][1], *measured[family][5:7]], family
    assert len(shown) == 4


# Links


def anchors(page: Path) -> set[str]:
    """The ids of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in titles}


@pytest.mark.parametrize("page", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "http://")):
            path, _, heading = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            assert file.exists(), f"{name_of(page)} links to {target}"
            assert not heading or heading in anchors(file), f"{name_of(page)} links to {target}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_files_of_the_repository_that_a_page_names_exist(page: Path) -> None:
    for name in re.findall(r"`((?:examples|tests|docs|model|tools|prompts)/[\w/.-]+\.\w+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), f"{name_of(page)} names {name}"


# Error codes


def explained() -> dict[str, str]:
    """Each code of the page on troubleshooting with what is said about it."""
    text = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
    parts = re.split(r"^### `(\w+)`$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_error_code_is_explained_and_no_other() -> None:
    coded = set(all_errors()) - {"error"}  # the base, which is never raised
    assert set(explained()) == coded


@pytest.mark.parametrize("code", sorted(set(all_errors()) - {"error"}))
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
    environment = {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
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
