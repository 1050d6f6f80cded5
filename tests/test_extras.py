"""What an error says to install brings what was missing."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def brings(extra: str) -> set[str]:
    """The distributions of an extra, and of the extras in it."""
    found: set[str] = set()
    for each in map(Requirement, EXTRAS[extra]):
        found |= set().union(*map(brings, each.extras)) if each.name == "roi-agent" else {each.name.lower().replace("_", "-")}
    return found


def calls() -> Iterator[tuple[str, list[str], str]]:
    """Every place in the source that names an extra: where, the packages that it says are missing, and what to do."""
    for path in sorted(each for folder in ("model", "tools", "roi_agent") for each in (ROOT / folder).rglob("*.py")):
        if any((ROOT / "roi_agent" / name) in path.parents for name in ("model", "tools", "prompts")):
            continue  # the same files through a link
        tree = ast.parse(path.read_text())
        names = {
            node.targets[0].id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            options = {each.arg: each.value for each in node.keywords}
            where = f"{path.name}:{node.lineno}"
            if node.func.id == "require" and "extra" in options:
                yield where, [ast.literal_eval(each) for each in node.args], f"roi-agent[{ast.literal_eval(options['extra'])}]"
            elif node.func.id == "MissingExtra" and isinstance(node.args[0], ast.Constant):
                do = options["do"]
                text = str(names[do.id] if isinstance(do, ast.Name) else ast.literal_eval(do))
                yield where, re.findall(r"[a-z_0-9]+", str(node.args[0].value)), text


CALLS = list(calls())
distributions = cache(packages_distributions)  # it reads every file list in site-packages


def test_the_places_are_found() -> None:
    assert len(CALLS) >= 9


@pytest.mark.parametrize(("where", "packages", "do"), CALLS, ids=[each[0] for each in CALLS])
def test_the_extra_brings_what_is_missing(where: str, packages: list[str], do: str) -> None:
    known = distributions()
    wanted = {name.lower().replace("_", "-") for package in packages for name in known.get(package, [])} - {"roi-agent"}
    if match := re.search(r"roi-agent\[(\w+)\]", do):
        assert wanted <= brings(match[1]), f"{where}: {match[1]} does not bring {wanted - brings(match[1])}"
        smaller = [extra for extra in EXTRAS if wanted and wanted <= brings(extra) < brings(match[1])]
        assert not smaller, f"{where}: {smaller} is enough"
    else:
        assert do.removeprefix("pip install ") in wanted


def test_a_planner_of_openai_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from roi_agent import build_agent
    from roi_agent.model.errors import MissingExtra

    def missing(*_: object, **__: object) -> None:
        raise ImportError("no module", name="langchain_openai")

    monkeypatch.setattr("langchain.chat_models.init_chat_model", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'roi-agent\[openai\]'"):
        build_agent("openai:gpt-4o-mini")
