"""Images in a folder, found by their names in annotation files, whichever system wrote these."""

import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote


class ImageFolder:
    """The images below a folder.  Links in the folder are followed; names that lead out of it are not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_name: dict[str, list[str]] | None = None  # paths below the folder by their last part

    def find(self, name: str) -> list[str]:
        """Return the files that a name may mean, as paths below the folder with "/": one, none, or several if it is ambiguous.

        A name with backslashes or %20 is also looked up as the path that it encodes, and by its last part.
        """
        slashed = name.replace("\\", "/")
        for each in dict.fromkeys((name, slashed, unquote(name), unquote(slashed))):
            if not leads_out(each) and os.path.isfile(self.path / each):  # False for names that no file can have
                return [each]
        if name == unquote(slashed):
            return []
        file_names = dict.fromkeys((PurePosixPath(slashed).name, last_part(name)))
        return [found for last in file_names for found in self._all().get(last, [])]

    def _all(self) -> dict[str, list[str]]:
        if self._by_name is None:
            self._by_name = {}
            for folder, _, files in os.walk(self.path):
                below = os.path.relpath(folder, self.path)
                for file in files:
                    self._by_name.setdefault(file, []).append(file if below == "." else PurePosixPath(below, file).as_posix())
        return self._by_name


def leads_out(name: str) -> bool:
    """Whether a relative path leads out of its folder."""
    return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def last_part(name: str) -> str:
    """Return the file name of a path of any system, possibly with %20 for a space."""
    return PurePosixPath(unquote(name.replace("\\", "/"))).name
