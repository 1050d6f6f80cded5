"""Tables of scores, for a terminal and as Markdown."""

from rich.table import Table


def table(title: str, headings: tuple[str, ...], rows: list[list[str]], reached: list[bool]) -> Table:
    """Return a table for a terminal; rows that miss their goal are red."""
    made = Table(title=f"{title}, held-out scenes of the toy world (%)", title_justify="left")
    for number, heading in enumerate(headings):
        made.add_column(heading, justify="right" if number else "left")
    for row, good in zip(rows, reached, strict=True):
        made.add_row(*row, style=None if good else "red")
    return made


def markdown(headings: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table as Markdown, for documents and model cards."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (headings, *rows))
    return "\n".join([head, f"|---{'|--:' * (len(headings) - 1)}|", *lines])
