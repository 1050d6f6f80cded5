"""Text that models read, as Markdown: one `# title`, who reads it, then blocks of text under `## names`."""

import re
from functools import cache
from pathlib import Path

_BLOCK = re.compile(r"^## (?P<name>\w+)\n+```\w*\n(?P<text>.*?)\n?```$", re.MULTILINE | re.DOTALL)


@cache
def load_blocks(name: str) -> dict[str, str]:
    """The blocks of `prompts/NAME.md` by their names, each text without its last line break.

    Raises FileNotFoundError for a name that is not there.
    """
    text = (Path(__file__).parent / f"{name}.md").read_text(encoding="utf-8")
    return {match["name"]: match["text"] for match in _BLOCK.finditer(text)}


def names(folder: str) -> list[str]:
    """The names of the prompt files in a folder of `prompts/`, sorted."""
    return sorted(path.stem for path in (Path(__file__).parent / folder).glob("*.md"))
