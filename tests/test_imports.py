"""No two files import each other, not even inside a function or for types alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def imported(file: Path, modules: dict[str, Path]) -> Iterator[str]:
    """The modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{each.name}" for each in node.names]
            names = [each if each in modules else node.module for each in inside]
        else:
            continue
        yield from (name for name in names if name in modules)


def test_no_two_files_import_each_other() -> None:
    top = {"model": "roi_agent.model", "tools": "roi_agent.tools", "prompts": "roi_agent.prompts", "roi_agent": "roi_agent"}
    modules = {}
    for folder, package in top.items():
        for file in (ROOT / folder).rglob("*.py"):
            inside = file.relative_to(ROOT / folder).with_suffix("").parts
            modules[".".join((package, *inside)).removesuffix(".__init__")] = file
    assert len(modules) > 300
    edges = {(name, other) for name, file in modules.items() for other in imported(file, modules) if other != name}
    assert sorted({tuple(sorted(pair)) for pair in edges if pair[::-1] in edges}) == []
