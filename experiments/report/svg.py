"""Figures as SVG elements of a page: they take its text color, and stand side by side where there is room."""

import html
import io
import re
from typing import Any

from matplotlib.figure import Figure

WIDTH = 5.0  # inches of a panel
PLACEHOLDER = "#010203"  # a color that no plot uses, to be replaced by the page's text color
RC_PARAMS: Any = {"svg.fonttype": "none", "font.family": "sans-serif"} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), PLACEHOLDER
)


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element for a page, in its text color.

    Args:
        figure: drawn with the settings of RC_PARAMS.
        name: what the picture shows, for those who cannot see it.
    """
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    element = file.getvalue().replace(PLACEHOLDER, "currentColor")
    element = re.sub(
        r".*?<svg ", f'<svg role="img" aria-label="{html.escape(name)}" ', element, count=1, flags=re.DOTALL
    )
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element)  # unnecessary in HTML, and a page holds no URL
    return re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)  # the page sets the size
