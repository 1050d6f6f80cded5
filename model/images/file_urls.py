"""Local files as users write them: paths, `~/...`, and `file:` URLs."""

import os
from urllib.parse import unquote_to_bytes


def path_of(source: str) -> str:
    """Return the path for a user's text: `~` is expanded and a `file:` URL decoded; anything else is already a path.

    Only for text that the user typed: a name from a file must not lead to the home folder.  Error: ValueError.
    """
    if source[:5].lower() != "file:":
        return os.path.expanduser(source)
    location = source[5:]
    if location.startswith("//"):
        host, slash, path = location[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ValueError
        location = slash + path
    path = os.fsdecode(unquote_to_bytes(location))
    if not path or "\0" in path:
        raise ValueError
    return path
