"""Files of this machine as users write them: paths, `~/...`, and `file:` addresses."""

import os
from urllib.parse import unquote_to_bytes


def path_of(source: str) -> str:
    """The path that a user's text means; anything that is neither below a home folder nor an address is one already.

    For what a user has typed only: a name from a file may not lead to the home folder.  Error: ValueError.
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
