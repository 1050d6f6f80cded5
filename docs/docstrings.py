"""Our docstrings as Markdown: each argument or field that one explains becomes an item of a list.

A docstring reads `name: what it is.  other: what that is.`, and errors stand in a sentence of their own at the end.
"""

import re
from typing import Any

import griffe

_ERRORS = re.compile(r"(?:(?<=^)|(?<=\. )|(?<=\.  ))(Errors?: |Raises )", re.MULTILINE)


class Explained(griffe.Extension):
    """Rewrites docstrings before they are rendered."""

    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        fields = {name for name, member in cls.members.items() if not member.is_alias and member.is_attribute}
        made = cls.members.get("__init__")
        given = {each.name for each in made.parameters} if isinstance(made, griffe.Function) else set()
        self._explain(cls, fields | given)

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        self._explain(func, {each.name.lstrip("*") for each in func.parameters})

    def _explain(self, thing: griffe.Class | griffe.Function, names: set[str]) -> None:
        if thing.docstring is not None:
            thing.docstring.value = as_markdown(thing.docstring.value, names)


def as_markdown(text: str, names: set[str]) -> str:
    """A docstring with its explanations of `names` as a list, and without anything that would be a tag."""
    text = re.sub(r"(?<!`)<(/?\w+)>(?!`)", r"`<\1>`", text)
    text = _ERRORS.sub(r"\n\n\1", text)
    if not names:
        return text
    one = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    entry = re.compile(rf"(?:^|(?<=\.)  ?|(?<=\. ))((?:{one})(?:, (?:{one}))*): ", re.MULTILINE)
    text = entry.sub(lambda match: f"\n\n- **{match[1]}**: ", text)
    # What goes on below an item in the source belongs to it, however far it is indented.
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.strip() if line[:2] != "- " else line for line in text.splitlines()))
