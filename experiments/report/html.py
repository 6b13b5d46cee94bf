"""A run's report: one HTML file that holds its pictures and style, made to be read."""

import base64
import dataclasses
from html import escape
from typing import Any

from experiments.report import figures
from experiments.run_folder import Finished
from mnistsum.app import STYLE
from mnistsum.files import write_whole, writing
from mnistsum.types import Data


def page(title: str, body: str) -> str:
    """Return a self-contained page in this project's style; `title` is escaped, `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE.read_text()}</style>\n{body}\n</html>\n"
    )


def picture(png: bytes, alternative: str) -> str:
    """Return the bytes of a PNG file as an element that holds it."""
    data = base64.b64encode(png).decode()
    return f'<div class="wide"><img src="data:image/png;base64,{data}" alt="{escape(alternative)}"></div>'


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Return a table; all columns but the first are aligned right, as numbers are. Everything is escaped."""

    def line(cells: list[Any], tag: str) -> str:
        kinds = ["", *[' class="number"'] * (len(cells) - 1)]
        return (
            "<tr>"
            + "".join(f"<{tag}{kind}>{escape(str(cell))}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
            + "</tr>"
        )

    return (
        '<div class="wide"><table>' + line(header, "th") + "".join(line(row, "td") for row in rows) + "</table></div>"
    )


def settings(values: dict[str, Any]) -> str:
    """Names and values as a table of two columns. Everything is escaped."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in values.items())
    return f'<table class="settings">{rows}</table>'


def write(finished: Finished, data: Data) -> None:
    """Draw the pictures of a tested run and write its report into its folder."""
    folder, labels = finished.folder, data.test.labels
    with writing(folder):
        figures.curves(finished.lines).savefig(folder / "curves.png")
        figures.confusion(finished.predictions, labels).savefig(folder / "confusion.png")
        figures.examples(finished.predictions, data.test).savefig(folder / "examples.png")
        write_whole(folder / "report.html", render(finished))


def render(finished: Finished) -> str:
    """Return the report of a finished run, from its files."""
    folder, config, run, _, summary, _ = finished
    test = summary["test"]
    figures = [
        (f"{test['digit_accuracy']:.2%}", "digit, test set"),
        (f"{test['sum_accuracy']:.2%}", "sum, test set"),
        (f"{test['consistency']:.2%}", "sum = digit + number"),
        (f"{summary['parameters']:,}", "parameters"),
        (f"{summary['train_seconds']:.0f} s", "training"),
    ]
    by_label = [
        [label, f"{digit:.2%}", *[f"{cell:.1%}" for cell in cells]]
        for label, (digit, cells) in enumerate(
            zip(test["digit_accuracy_by_label"], test["sum_accuracy_by_cell"], strict=True)
        )
    ]
    commit = (run["commit"] or "unknown") + ("" if run["clean"] else ", with changes")
    made_with = {"commit": commit, **run["versions"], "hardware": run["hardware"], "cores": run["cores"]}
    groups = {name: values for name, values in dataclasses.asdict(config).items() if isinstance(values, dict)}
    fields = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}

    def shown(name: str, alternative: str) -> str:
        return picture((folder / name).read_bytes(), alternative)

    body = f"""
<h1>{escape(config.name)}</h1>
<p class="quiet">{escape(config.data.name)}, seed {config.seed}, {config.training.epochs:g} epochs of batch
{config.training.batch_size} on {escape(summary["device"])}</p>
<div class="figures">{"".join(f"<div><b>{value}</b>{name}</div>" for value, name in figures)}</div>
<p>The network reads the digit on an image and adds a number to it. Every one of the {test["images"]:,} test images was
shown with all ten numbers, {test["pairs"]:,} pairs. Mean losses: {test["digit_loss"]:.4f} nats for the digit,
{test["sum_loss"]:.4f} for the sum.</p>
<h2>Learning</h2>{shown("curves.png", "Loss and accuracy of digit and sum by epoch")}
<h2>Examples and mistakes</h2>{shown("examples.png", "Test images with true and predicted digit and sum")}
<h2>Confusion</h2>{shown("confusion.png", "Confusion matrices of digits and of sums")}
<h2>By digit and number</h2><p>Accuracy of the digit, and of the sum with each number, by the digit on the image.</p>
{table(["digit", "read right", *[f"+{number}" for number in range(10)]], by_label)}
<h2>How it was made</h2>
<pre>{escape(run["command"])}</pre>
{settings(made_with)}
<h2>Config</h2>
{settings(fields)}
"""
    return page(f"{config.name}: digit {figures[0][0]}, sum {figures[1][0]}", body)
