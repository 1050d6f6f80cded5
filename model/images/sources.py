"""The bytes of an image file from any source: a path, an open file, a data URL, a web address."""

import base64
import os
import stat
from typing import Any

from roi_agent.model.errors import ImageTooLarge, ImageUnreadable
from roi_agent.model.images.file_urls import path_of


def read_source(source: object, max_bytes: int, *, web: bool) -> tuple[str, str, bytes]:
    """Return the source's short name, its name in messages, and its bytes, at most max_bytes.

    web: whether to fetch web addresses.  Errors: ImageUnreadable, ImageTooLarge.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        name, display_name, data = "bytes", "the image", bytes(source)
    elif isinstance(source, str) and source[:5].lower() == "data:":
        name, display_name, data = "data URL", "the data URL", _data_url(source, max_bytes)
    elif isinstance(source, str) and is_address(source):
        if not web:
            raise ImageUnreadable("the image is given by its web address", do="give the file, or a data: URL")
        from roi_agent.model.images.web import fetch  # imported only here: other sources need no HTTP client

        name, display_name, data = "web address", "the image", fetch(source, max_bytes=max_bytes)
    elif isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        display_name = repr(path if len(path) <= 200 else path[:200] + "...")
        if isinstance(source, str):  # a Path may contain a name from a file, which must not lead elsewhere
            path = _path_of(path, display_name)
        name, data = os.path.basename(path), _read_file(path, display_name, max_bytes)
    elif hasattr(source, "read"):
        name, display_name, data = "file", "the open file", _read_open(source, max_bytes)
    else:
        raise ImageUnreadable(f"an image is given as a {type(source).__name__}", do="give a path, bytes, a PIL image or an array")
    if len(data) > max_bytes:
        raise ImageTooLarge(f"{display_name} has more than {max_bytes} bytes", do="make the image smaller")
    return name, display_name, data


def is_address(source: object) -> bool:
    """Whether an image is given by its web address."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def _path_of(source: str, display_name: str) -> str:
    try:
        return path_of(source)
    except ValueError:
        raise ImageUnreadable(f"{display_name} does not name a file on this machine", do="give a path, or file:///path") from None


def _read_file(path: str, display_name: str, max_bytes: int) -> bytes:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            with open(path, "rb") as file:
                return file.read(max_bytes + 1)
        problem = "is a folder" if stat.S_ISDIR(mode) else "is not a file"  # a pipe or a device may never end
    except (FileNotFoundError, NotADirectoryError):
        raise ImageUnreadable(f"there is no file {display_name}", do="check the path") from None
    except PermissionError:
        problem = "cannot be read: permission denied"
    except (OSError, ValueError):
        problem = "cannot be read"
    raise ImageUnreadable(f"{display_name} {problem}", do="give the path of an image file") from None


def _read_open(source: Any, max_bytes: int) -> bytes:
    try:
        if source.seekable():
            source.seek(0)
        return bytes(memoryview(source.read(max_bytes + 1)))  # raises for text, from a file opened in text mode
    except Exception:  # the object may be of any type
        raise ImageUnreadable("the open file cannot be read", do="open it for reading, in binary mode") from None


def _data_url(url: str, max_bytes: int) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.lower().startswith("data:image/") or not head.lower().endswith(";base64"):
        raise ImageUnreadable("the data URL does not contain a base64 image", do="write data:image/png;base64,...")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except ValueError:
        raise ImageUnreadable("the data URL is not valid base64", do="encode the bytes of the file again") from None
