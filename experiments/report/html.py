"""Self-contained HTML pages with pictures and style inline: the templates, and a run's report."""

import base64
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from experiments import run_folder
from experiments.environment import trained_with
from experiments.report import figures
from experiments.report.svg import svg
from experiments.run_folder import PICTURES, REPORT, Finished
from mnistsum.app import STYLE
from mnistsum.calibration import BINS
from mnistsum.config import as_dict
from mnistsum.files import write_whole
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
    """Return a template's page in this project's style. All values are escaped."""
    style = Markup(STYLE.read_text(encoding="utf-8"))
    return TEMPLATES.get_template(template).render(style=style, **values) + "\n"


def write(finished: Finished, data: Data) -> None:
    """Draw the pictures of a tested run and write its report into its folder."""
    folder, labels = finished.folder, data.test.labels
    drawn = (
        figures.curves(finished.lines),
        figures.confusion(finished.predictions, labels),
        figures.examples(finished.predictions, data.test),
    )
    for name, figure in zip(PICTURES, drawn, strict=True):
        figures.save(figure, folder / f"{name}.png")
    write_whole(folder / REPORT, report(finished, labels))


def report(finished: Finished, labels: Any) -> str:
    """Return the report of a finished run, from its files and the labels of its test images."""
    folder, config, run, _, summary, _ = finished
    test, calibration = summary["test"], summary.get("calibration")  # absent in runs of earlier versions
    by_label = zip(test["digit_accuracy_by_label"], test["sum_accuracy_by_cell"], strict=True)
    return render(
        "run.html",
        config=config,
        summary=summary,
        test=test,
        curves=[
            svg(figure, f"{what} by epoch")
            for figure, what in zip(figures.curve_panels(finished.lines), ("Loss", "Accuracy"), strict=True)
        ],
        examples=(folder / "examples.png").read_bytes(),
        confusion=[
            svg(figure, f"Confusion matrix of the {output}")
            for figure, output in zip(
                figures.confusion_panels(finished.predictions, labels), run_folder.OUTPUTS, strict=True
            )
        ],
        reliability=[
            svg(figures.reliability(curves, output), f"Accuracy of the {output} by confidence, before and after")
            for output, curves in (calibration or {}).items()
        ],
        calibration=calibration,
        bins=BINS,
        by_label={
            "header": ["digit", "read right", *(f"+{number}" for number in range(10))],
            "rows": [
                [label, f"{digit:.2%}", *(f"{cell:.1%}" for cell in cells)]
                for label, (digit, cells) in enumerate(by_label)
            ],
        },
        command=run["command"],
        made_with=trained_with([run])
        | ({"began from weights": init} if (init := run.get("settings", {}).get("init")) else {}),
        fields={name: value for name, value in as_dict(config).items() if "." in name},
    )
