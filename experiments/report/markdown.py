"""Tables in Markdown, as every program writes them."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column holds text, and the others right-aligned numbers."""
    marks = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join([_line(header), f"|{'|'.join(marks)}|", *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
