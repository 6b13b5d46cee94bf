"""Self-contained HTML pages: the templates and the report of a run."""

import io
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from experiments.cli import as_typed, short_name
from experiments.report import figures
from experiments.report.terminal import layer_rows
from experiments.training.folder import REPORT, Finished
from experiments.training.record import machine, unequal_fields
from mnistsum.app import STYLE
from mnistsum.app.console import as_text
from mnistsum.config import Config, as_dict
from mnistsum.evaluation import SCORES
from mnistsum.file_io import write_whole
from mnistsum.models import abstract_model
from mnistsum.models.summary import parameters_by_layer
from mnistsum.types import Data

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Return the page of a template in this project's style. All values are escaped."""
    style = Markup(STYLE.read_text(encoding="utf-8"))
    return TEMPLATES.get_template(template).render(style=style, **values) + "\n"


def svg(figure: Figure) -> Markup:
    """Return a figure as an SVG element with its title for screen readers.

    Black becomes the page's text color.
    """
    file = io.StringIO()
    figure.savefig(
        file,
        format="svg",
        transparent=True,
        metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
    )
    _, _, element = (
        file.getvalue().replace("#000000", "currentColor").partition("<svg ")
    )
    # The page sets the size. HTML needs no name space, and a self-contained page has no
    # URL.
    element = re.sub(
        r' (xmlns(:\w+)?="[^"]*"|(width|height)="[\d.]+pt")', "", " " + element, count=4
    )
    svg = Markup('<svg role="img" aria-label="{}" fill="currentColor"{}')
    return svg.format(figure.axes[0].get_title(), Markup(element))


TEMPLATES.filters |= {"svg": svg, "grouped": "{:,}".format, "as_text": as_text}


def made_with(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return commit, versions and machine by name, from the `run.json` of each run.

    Different values are joined.
    """
    values_by_name: dict[str, dict[str, None]] = {}
    for run in runs:
        values = {
            "commit": run["commit"],
            "python": run["python"],
            **run["versions"],
            "machine": machine(run),
        }
        values["initial weights"] = run["settings"].get("init", "drawn from the seed")
        for name, value in values.items():
            values_by_name.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in values_by_name.items()}


def describe_configs(configs: dict[str, Config]) -> dict[str, dict[str, Any]]:
    """Return how each config differs from the first, and its layers."""
    first = next(iter(configs.values()))
    described = {}
    for name, config in configs.items():
        ours, theirs = as_dict(config), as_dict(first)
        keys = [key for key in unequal_fields(first, config) if key != "name"]
        described[name] = {
            "fields": [
                f"{short_name(key)}={as_typed(ours[key])} ({as_typed(theirs[key])})"
                for key in keys
            ],
            "layers": layer_rows(parameters_by_layer(abstract_model(config.model))),
        }
    return described


def write_report(finished: Finished, data: Data) -> None:
    """Write the pictures of a tested run and its report into its folder."""
    folder, config, predictions = finished.folder, finished.config, finished.predictions
    pictures = {
        "curves": figures.curves(finished.lines),
        "confusion": figures.confusion(predictions, data.test.labels),
        "examples": figures.examples(predictions, data.test),
    }
    for name, panels in pictures.items():
        figures.write_png(panels, folder / f"{name}.png")
    page = render(
        "run.html",
        **finished._asdict(),
        test=finished.summary["test"],
        scores=SCORES,
        pictures=pictures,
        layers=layer_rows(parameters_by_layer(abstract_model(config.model))),
        made_with=made_with([finished.about]),
        fields={name: value for name, value in as_dict(config).items() if "." in name},
    )
    write_whole(folder / REPORT, page)
