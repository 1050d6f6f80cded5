"""The folder of an evaluation.

run.json                        benchmark, model, data set and options; answers of different ones are not mixed
outputs-00000-of-00001.jsonl    one answer per line, grouped by image; one file per shard
scores.json, report.md          the results, once all answers are complete
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from roi_agent.model.errors import InvalidSetting, RunConflict, RunIncomplete
from roi_agent.model.evaluate.sample import Key, Output, Sample

RUN, SCORES, REPORT = "run.json", "scores.json", "report.md"
_AGAIN = "choose another folder with --out, or remove this one"


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the images: those whose position modulo `count` is `index`."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InvalidSetting(f"the shard is {self.index + 1}/{self.count}", do="give 1/N to N/N")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse "2/4", the second of four.  Error: InvalidSetting."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise InvalidSetting(f"the shard {text!r} is unclear", do="write 1/4 for the first of four")
        return cls(int(index) - 1, int(count))

    @property
    def file(self) -> str:
        """The name of its outputs file."""
        return f"outputs-{self.index:05d}-of-{self.count:05d}.jsonl"


def make_folder(path: Path) -> None:
    """Create a folder and check that it is writable.  Error: InvalidSetting."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InvalidSetting(f"cannot write to {str(path)!r}: {error.strerror}", do="name another folder") from None


class RunFolder:
    """The answers of one evaluation on disk.

    An interrupted write loses the answers about at most one image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, identity: dict[str, Any]) -> None:
        """Prepare the folder for these answers.  Errors: RunConflict if it contains others, InvalidSetting."""
        make_folder(self.path)
        if (self.path / RUN).exists():
            self.check(identity)
            return
        if any(each.suffix != ".part" for each in self.path.iterdir()):  # another shard may be starting as well
            raise RunConflict(f"{str(self.path)!r} contains files already, but no evaluation", do=_AGAIN)
        self.write(RUN, json.dumps(identity, indent=2) + "\n")

    def check(self, identity: dict[str, Any]) -> None:
        """Check that the answers belong to this run; values of None are not compared.  Errors: RunConflict, RunIncomplete."""
        stored = self.identity()
        for name, value in identity.items():
            if value is not None and stored.get(name) != value:
                found, wanted = _described(name, stored.get(name)), _described(name, value)
                problem = f"{str(self.path)!r} contains answers with {found}, not {wanted}"
                raise RunConflict(problem, do=_AGAIN)

    def identity(self) -> dict[str, Any]:
        """Return the contents of run.json.  Errors: RunIncomplete if there is none, RunConflict if it is damaged."""
        try:
            stored = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunIncomplete(f"there is no evaluation in {str(self.path)!r}", do="run it without --from-outputs") from None
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            raise RunConflict(f"{RUN} in {str(self.path)!r} is damaged", do=_AGAIN)
        return stored

    def outputs(self, samples: Sequence[Sample]) -> dict[Key, Output]:
        """Return the existing answers to these samples, the last one of several.  Error: RunConflict for a damaged file."""
        wanted = {sample.key: sample for sample in samples}
        found: dict[Key, Output] = {}
        for path in sorted(self.path.glob("outputs-*.jsonl")):
            for output in _read(path):
                sample = wanted.get(output.key)
                if sample is not None and output.digest != sample.digest():
                    problem = f"{path.name}: turn {output.turn} of {output.record} has a different question"
                    raise RunConflict(problem, do=_AGAIN)
                found[output.key] = output
        return {key: found[key] for key in wanted if key in found}

    @contextmanager
    def writing(self, shard: Shard) -> Iterator["OutputWriter"]:
        """Open a shard's answers for appending.  Error: RunConflict while another process does."""
        with (self.path / shard.file).open("ab+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                problem = f"another process is writing {shard.file}"
                raise RunConflict(problem, do="wait for it, or give each process a different --shard") from None
            file.truncate(_whole_lines(file.name))
            yield OutputWriter(file)

    def write(self, name: str, text: str) -> None:
        """Write a file atomically; several processes may write the same file."""
        temporary = self.path / f"{name}.{os.getpid()}.part"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.path / name)


class OutputWriter:
    """Appends answers to a file; they are on disk when `add` returns."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def add(self, outputs: Iterable[Output]) -> None:
        """Append the answers about one image."""
        lines = "".join(json.dumps(each.to_dict(), ensure_ascii=False) + "\n" for each in outputs)
        self._file.write(lines.encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def count_outputs(folder: Path) -> int:
    """Return the number of answers, by counting lines."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("outputs-*.jsonl"))


def _read(path: Path) -> Iterator[Output]:
    """Yield the complete lines of a file; only the last may be truncated."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield Output.from_dict(json.loads(line))
            except (ValueError, TypeError, AttributeError):
                raise RunConflict(f"{path.name}, line {number}: not a recorded answer", do=_AGAIN) from None


def _whole_lines(name: str) -> int:
    data = Path(name).read_bytes()
    return data.rfind(b"\n") + 1


def _described(name: str, value: object) -> str:
    if isinstance(value, dict):
        return f"{name} " + ", ".join(f"{key} {str(each)[:40]}" for key, each in value.items())
    return f"{name} {value}"
