"""Lists blocks of more than eight lines that occur in two files of the product, and exits with 1 if there are any.

The comparison is pylint's. Its command `symilar` is not used: it exits with 0 either way, and to skip imports it lets
astroid infer types, which reads all of torch and takes minutes.
"""

import ast
import io
import sys
from pathlib import Path

from pylint.checkers.symilar import Symilar

ROOT = Path(__file__).parent.parent
FOLDERS = ("model", "tools", "roi_agent")


def product_files() -> list[Path]:
    """Each file once: links in roi_agent/ lead to the other folders."""
    return sorted({path.resolve() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")})


def without_imports(text: str) -> str:
    """The same text with blank lines in the place of imports, which are alike in many files."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = ["\n"] * (last - first)
    return "".join(lines)


checker = Symilar(min_lines=8)
for path in product_files():
    checker.append_stream(str(path.relative_to(ROOT)), io.StringIO(without_imports(path.read_text(encoding="utf-8"))))
found = checker._compute_sims()
if found:
    print(checker._get_similarity_report(found), end="")
sys.exit(bool(found))
