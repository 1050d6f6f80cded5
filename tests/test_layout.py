"""How long files and functions are: what fits a screen or two is read, what does not is skipped."""

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent
FOLDERS = ["model", "tools", "prompts", "roi_agent"]
MAX_LINES, MAX_MEDIAN, MAX_FUNCTION, MAX_TESTS = 300, 120, 60, 350


def length_of(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def modules() -> list[Path]:
    """The files of the product, each once: links lead to three of its folders a second time."""
    found = {path.resolve() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    return sorted(path for path in found if "__pycache__" not in path.parts)


LENGTHS = {str(path.relative_to(ROOT)): length_of(path) for path in modules()}


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Each function with the lines of its statements; those of a command hand on one option each, which do not count."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            yield node.name, lines - len(node.args.args) - len(node.args.kwonlyargs)


def test_no_file_is_long() -> None:
    assert not {name: lines for name, lines in LENGTHS.items() if lines > MAX_LINES}


def test_no_file_of_tests_is_long() -> None:
    assert not [path for path in (ROOT / "tests").rglob("*.py") if length_of(path) > MAX_TESTS]


def test_most_files_are_read_at_a_glance() -> None:
    assert median(LENGTHS.values()) <= MAX_MEDIAN


def test_no_function_is_long() -> None:
    long = {
        f"{path.relative_to(ROOT)}: {name}": lines
        for path in modules()
        for name, lines in functions(ast.parse(path.read_text(encoding="utf-8")))
        if lines > MAX_FUNCTION
    }
    assert not long
