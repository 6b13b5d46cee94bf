"""Self-contained HTML pages, with pictures and style inline: the templates and the report of a run."""

import base64
import html
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from experiments.report import figures
from experiments.training.folder import OUTPUTS, PICTURES, REPORT, Finished
from experiments.training.record import machine
from mnistsum.app import STYLE
from mnistsum.app.console import as_text
from mnistsum.config import as_dict
from mnistsum.evaluation import SCORES
from mnistsum.file_io import write_whole
from mnistsum.types import Data

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
TEMPLATES.filters |= {
    "base64": lambda content: base64.b64encode(content).decode(),
    "percent": "{:.2%}".format,
    "grouped": "{:,}".format,
}


def render(template: str, **values: Any) -> str:
    """Return the page of a template in this project's style. All values are escaped."""
    style = Markup(STYLE.read_text(encoding="utf-8"))
    return TEMPLATES.get_template(template).render(style=style, **values) + "\n"


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element in the text color of its page.

    Args:
        figure: drawn with the settings of `figures.PAGE`.
        name: what the figure shows, for screen readers.
    """
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    _, _, element = file.getvalue().replace(figures.PLACEHOLDER, "currentColor").partition("<svg ")
    # The page sets the size. HTML needs no name space, and a self-contained page has no URL.
    element = re.sub(r' (xmlns(:\w+)?="[^"]*"|(width|height)="[\d.]+pt")', "", " " + element)
    return f'<svg role="img" aria-label="{html.escape(name)}"{element}'


def made_with(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return commit, versions and machine by name, from the `run.json` of each run. Different values are joined."""
    values_by_name: dict[str, dict[str, None]] = {}
    for run in runs:
        values = {"commit": run["commit"], "python": run["python"], **run["versions"], "machine": machine(run)}
        if "init" in run["settings"]:
            values["initial weights"] = run["settings"]["init"]
        for name, value in values.items():
            values_by_name.setdefault(name, {})[str(value)] = None
    return {name: ", ".join(values) for name, values in values_by_name.items()}


def write_report(finished: Finished, data: Data) -> None:
    """Draw the pictures of a tested run and write them and its report into its folder."""
    folder, labels = finished.folder, data.test.labels
    drawn = (
        figures.curves(finished.lines),
        figures.confusion(finished.predictions, labels),
        figures.examples(finished.predictions, data.test),
    )
    for name, panels in zip(PICTURES, drawn, strict=True):
        figures.save(panels, folder / f"{name}.png")
    write_whole(folder / REPORT, run_page(finished, labels))


def run_page(finished: Finished, labels: Any) -> str:
    """Return the report of a finished run as an HTML page, given the labels of the test images."""
    lines, test = finished.lines, finished.summary["test"]
    by_label = enumerate(zip(test["digit_accuracy_by_label"], test["sum_accuracy_by_cell"], strict=True))
    return render(
        "run.html",
        **finished._asdict(),
        test=test,
        scores=[(each.title, as_text(test[name], each.unit), each.explanation) for name, each in SCORES.items()],
        curves=_panels(figures.curves(lines), "{} by epoch", ("Loss", "Accuracy")) if len(lines) > 1 else (),
        examples=(finished.folder / "examples.png").read_bytes(),
        confusion=_panels(figures.confusion(finished.predictions, labels), "Confusion matrix of the {}", OUTPUTS),
        by_label=[[label, f"{digit:.2%}", *map("{:.1%}".format, cells)] for label, (digit, cells) in by_label],
        made_with=made_with([finished.run]),
        fields={name: value for name, value in as_dict(finished.config).items() if "." in name},
    )


def _panels(drawn: Iterable[Figure], name: str, subjects: Iterable[str]) -> list[str]:
    return [svg(figure, name.format(subject)) for figure, subject in zip(drawn, subjects, strict=True)]
