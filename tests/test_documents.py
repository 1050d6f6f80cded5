"""What README.md and docs/ say is so: every block runs, every figure was measured, every link leads somewhere."""

import json
import re
import tomllib
from pathlib import Path
from shutil import which

import pytest
import yaml

from tests.documents import DOCUMENTS, ROOT, Block, Reader, blocks, check_command_line, commands, missing_lines

RUN = ("python", "bash")
NOT_RUN_AT_MOST = 11  # blocks that need what is not here: a GPU, large weights, a key, somebody at the keyboard
PAGES = ROOT / "docs"
LEFT_OUT = [block for page in DOCUMENTS for block in blocks(page) if block.reason is not None]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# Blocks


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if any(each.language in RUN for each in blocks(page))], ids=name_of)
def test_the_commands_and_code_of_a_page_work_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    reader = Reader(tmp_path, lambda: str(request.getfixturevalue("served").address))  # it starts when a page needs it
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if "curl " in block.text and not which("curl"):
            continue  # a program that not every machine has
        if block.language in RUN and block.reason is None:
            printed = reader.run(block)
            if block.shown is not None:
                assert not missing_lines(block.shown, printed), f"{block} prints\n{printed}"


@pytest.mark.parametrize("block", LEFT_OUT, ids=str)
def test_command_lines_that_cannot_run_here_are_spelt_right(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert block.language == "bash"
    for line, words in commands(block):
        assert "roi-agent" in words, f"{line!r} could be run, or left out of the page"
        ours = len(words) - words[::-1].index("roi-agent") - 1  # other programs may start it
        check_command_line(words[ours:])


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    assert len(LEFT_OUT) <= NOT_RUN_AT_MOST
    assert all(len(block.reason or "") > 10 for block in LEFT_OUT)


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
    assert all(f"`{extra}`" in (PAGES / "start.md").read_text(encoding="utf-8") for extra in extras - {"all"})
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
        family = re.sub(r" (twelve families|\(.*\))$", "", family)
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
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:examples|tests|docs|model|tools|prompts)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / name).exists(), f"{name_of(page)} names {name}"
    for name in re.findall(r"`(\w+\.ipynb)`", text):
        assert (ROOT / "examples" / name).exists(), f"{name_of(page)} names {name}"
