"""The files of a comparison: its page, its tables, its numbers."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from experiments.comparison import figures, tables
from experiments.report import html
from experiments.report.figures import save
from experiments.report.svg import svg
from mnistsum.files import write_whole, writing
from mnistsum.json_files import finite


def write(summary: dict[str, Any], folder: Path) -> None:
    """Write the files of a comparison into its folder."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    table = io.StringIO(newline="")
    rows = tables.flat(summary)
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "comparison.json", json.dumps(finite(summary), indent=1, allow_nan=False) + "\n")
    write_whole(folder / "comparison.md", tables.in_markdown(summary))
    write_whole(folder / "comparison.csv", table.getvalue())
    write_whole(folder / "comparison.html", page(summary))
    pictures = {
        "comparison": figures.intervals(summary),
        "costs": figures.fronts(summary),
        "losses": figures.losses(summary),
    }
    for name, figure in pictures.items():
        save(figure, folder / f"{name}.png", dpi=150)


def page(summary: dict[str, Any]) -> str:
    """Return one self-contained HTML file."""
    tables_by_title = tables.tables(summary)
    return html.render(
        "comparison.html",
        names=[row["config"] for row in summary["rows"]],
        summary=summary,
        notes=tables.notes(summary),
        tables=tables_by_title,
        titles=list(tables_by_title),
        meanings=tables.MEANINGS,
        colors=[figures.color(i) for i in range(len(summary["rows"]))],
        intervals=svg(figures.intervals(summary), "Accuracies of each config with intervals over seeds"),
        curves=[
            svg(one, f"{axes.get_title()}, {axes.get_ylabel()} by epoch, band over seeds")
            for one in figures.curves(summary)
            for axes in one.axes
        ],
        costs=[svg(one, f"Sum accuracy against {one.axes[0].get_xlabel()}") for one in figures.costs(summary)],
        cells=[
            svg(one, f"Wrong sums by digit and number, {one.axes[0].get_title()}") for one in figures.cells(summary)
        ],
        made_with=summary["trained"] | {"mode": tables.modes(summary)},
    )
