"""Tables in Markdown, as every program writes them."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> str:
    """Return a table whose first `texts` columns hold text, and the others right-aligned numbers."""
    marks = ["---"] * texts + ["--:"] * (len(header) - texts)
    return "\n".join([_line(header), f"|{'|'.join(marks)}|", *map(_line, rows)])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
