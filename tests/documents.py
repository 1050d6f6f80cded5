"""The code blocks of README.md and docs/, and how they are run as a reader would: in order, in one folder for each page."""

import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from roi_agent import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SERVER = "http://localhost:8000"

_REASON = r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?"
_CODE, _OUTPUT = r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", r"(?:\n\n?^```text\n(?P<shown>.*?)^```$)?"
_BLOCK = re.compile(_REASON + _CODE + _OUTPUT, re.MULTILINE | re.DOTALL)
_STAYS = ("serve", "mcp")  # commands that run until they are stopped; the tests have a server of their own
_SET_UP = ("git", "make", "pip", "source")  # what is done once, before anything of ours is there
_TOLERANCE = 0.05  # of a printed number, which another processor rounds otherwise


@dataclass(frozen=True)
class Block:
    """A block of code: its page, the line before it, and the output that the page shows below it, if it does.

    reason: why it is not run, from a comment `<!-- not run: ... -->` above it.
    """

    page: Path
    line: int
    language: str
    text: str
    shown: str | None
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start("text")),
            match["language"],
            match["text"],
            match["shown"],
            match["reason"],
        )
        for match in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Each command line of a shell block with its words, without variables in front and comments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield line, words


def check_command_line(words: list[str]) -> None:
    """Every command and option of a `roi-agent` line is there, and every value is of its kind."""
    command: Any = typer.main.get_command(cli.app)
    context, rest = None, words[1:]
    while True:
        context = command.make_context(command.name, list(rest), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


class Reader:
    """Somebody who types what a page says, in a folder of their own that holds examples/.

    served: gives the address of a running server; it is asked for only where a page needs one.
    """

    def __init__(self, folder: Path, served: Callable[[], str]) -> None:
        shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*"))
        self._folder, self._served = folder, served
        self._names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> str:
        """What the block prints."""
        text = block.text
        if SERVER.removeprefix("http://") in text:
            text = text.replace(SERVER.removeprefix("http://"), self._served().removeprefix("http://"))
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            if block.language == "python":
                exec(compile("\n" * block.line + text, str(block), "exec"), self._names)
            elif re.search(r"^\s*(curl|\w+=\$\()", text, re.MULTILINE):
                printed.write(self._bash(text))
            else:
                self._type(block)
        return printed.getvalue()

    def _type(self, block: Block) -> None:
        for line, words in commands(block):
            if words[0] == "roi-agent" and words[1] in _STAYS:
                check_command_line(words)
            elif words[0] == "roi-agent":
                wanted = int(match[1]) if (match := re.search(r"# exit code (\d)", line)) else 0
                code = run_command(words)
                assert code == wanted, f"{block}: {line} ends with {code}"
            elif words[0] == "python":
                run_python(words[1:])
            else:
                assert words[0] in _SET_UP, f"{block}: nobody knows how to run {line!r}"

    def _bash(self, text: str) -> str:
        ran = subprocess.run(["bash", "-euc", text], cwd=self._folder, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout + ran.stderr


def run_python(words: list[str]) -> None:
    """Run a script as `python` does, without loading everything once more."""
    arguments, sys.argv = sys.argv, words
    sys.path.insert(0, str(Path(words[0]).parent.absolute()))
    try:
        runpy.run_path(words[0], run_name="__main__")
    finally:
        sys.path.pop(0)
        sys.argv = arguments


def run_command(words: list[str]) -> int:
    """The exit code of a command; somebody answers its questions with yes."""
    arguments, sys.argv = sys.argv, words
    keyboard, sys.stdin = sys.stdin, io.StringIO("y\n" * 100)
    try:
        cli.main()
    except SystemExit as stopped:
        return int(stopped.code or 0)
    finally:
        sys.argv, sys.stdin = arguments, keyboard
    raise AssertionError("the command line ends with an exit code")


def missing_lines(shown: str, printed: str) -> list[str]:
    """The lines that a page shows and that were not printed in that order; `...` in a line stands for anything."""
    waiting, missing = [_plain(line) for line in printed.splitlines()], []
    for line in shown.splitlines():
        wanted = _plain(line)
        if wanted.strip(". "):
            at = next((at for at, each in enumerate(waiting) if _same(wanted, each)), None)
            if at is None:
                missing.append(line)
            else:
                del waiting[: at + 1]
    return missing


def _plain(line: str) -> str:
    return " ".join(line.split())


def _same(wanted: str, line: str) -> bool:
    """Whether a line is the one wanted, its fractions about as large."""
    pattern, numbers = "", []
    for part in re.split(r"(\d+\.\d+(?!\d|\.\.\.)|\.\.\.)", wanted):
        if re.fullmatch(r"\d+\.\d+", part):
            numbers.append(float(part))
            pattern += r"(\d+\.\d+)"
        else:
            pattern += ".*" if part == "..." else re.escape(part)
    match = re.fullmatch(pattern, line)
    printed = [float(each) for each in match.groups()] if match else []
    return match is not None and all(abs(one - other) <= _TOLERANCE for one, other in zip(printed, numbers, strict=True))
