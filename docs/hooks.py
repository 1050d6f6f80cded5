"""What MkDocs asks us while it builds: the page of commands is written from the command line itself."""

import re
from typing import Any

COMMANDS = "<!-- every command -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(COMMANDS, _commands()) if COMMANDS in markdown else markdown


def _commands() -> str:
    """Each command with its help, arguments and options, as a section of Markdown."""
    import typer
    from typer.cli import get_docs_for_click

    from roi_agent.cli import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="roi-agent")
    sections = [
        get_docs_for_click(obj=each, ctx=context, indent=1, call_prefix="roi-agent")
        for name in command.list_commands(context)  # type: ignore[attr-defined]  # ours is a group
        if (each := command.get_command(context, name))  # type: ignore[attr-defined]
    ]
    return _without_tags("\n".join(sections))


def _without_tags(markdown: str) -> str:
    """`<region1>` and the like as text; Markdown takes it for a tag outside code."""
    code = re.split(r"(```.*?```|`[^`\n]*`)", markdown, flags=re.DOTALL)
    return "".join(part if part.startswith("`") else part.replace("\\<", "<").replace("<", "&lt;") for part in code)
