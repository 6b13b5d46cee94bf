"""The tables and the figure of `experiments.benchmark`."""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter

from experiments.comparison.tables import markdown

METHOD = """\
Each cell is the median over rounds, with the range in parentheses. In a round, both sides run once in each type. A
ratio is PyTorch's time divided by that of mnistsum in the same round; above 1, mnistsum is faster. PyTorch runs its
fastest variant, with channels_last maps and a fused optimizer; "frozen" is compiled with constant weights. An
evaluation covers 10,000 images, each with all ten numbers. That of mnistsum also returns losses and logits. The peak is
the rate of the faster side's matrix product in the same type. The operations are the multiply-adds that `--dry-run`
prints, three times as many in training."""


def significant(value: float) -> str:
    """Return a positive value with three significant digits."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(rounded)))}f}"


def median_and_range(values: Sequence[float]) -> str:
    """Return the median of the values, and their range."""
    return f"{significant(median(values))} ({significant(min(values))}-{significant(max(values))})"


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Return the ratio of each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of a line fitted to the logarithms. It is 1 if the cost is proportional to the size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def tabulate_row(name: str, row: dict[str, Any], peak: dict[str, float]) -> list[list[str]]:
    """Return the lines of a row: one per type, and one with each side's faster type.

    Args:
        name: of the row.
        row: its seconds, operations and variants.
        peak: operations per second of the matrix product, by type.
    """
    seconds = {side: median(taken) for side, taken in row["seconds"].items()}
    rate = {side: row["operations"] / taken for side, taken in seconds.items()}
    pairs = [(f"mnistsum {dtype}", f"PyTorch {dtype}") for dtype in peak]
    faster = tuple(min(sides, key=lambda side: seconds[side]) for sides in zip(*pairs, strict=True))
    lines = []
    for label, (ours, theirs) in zip((*peak, "each side's faster"), (*pairs, faster), strict=True):
        taken = [significant(1e3 * seconds[side]) for side in (ours, theirs)]
        shares = [f"{rate[side] / peak[side.split()[1]]:.0%}" for side in (ours, theirs)]
        ratios = quotients(row["seconds"][theirs], row["seconds"][ours])
        lines.append([name, label, *taken, row["variants"][theirs], median_and_range(ratios), *shares])
    return lines


def peaks(product: dict[str, Any]) -> dict[str, float]:
    """Return the faster side's operations per second in each type, from the row of the matrix product."""
    seconds = product["seconds"]
    return {
        dtype: product["operations"] / min(median(seconds[f"{side} {dtype}"]) for side in ("mnistsum", "PyTorch"))
        for dtype in dict.fromkeys(side.split()[1] for side in seconds)
    }


def benchmark_markdown(results: dict[str, Any]) -> str:
    """Return the results in Markdown."""
    machine, rows = results["machine"], results["rows"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    header = ["work", "type", "mnistsum, ms", "PyTorch, ms", "PyTorch's variant", "PyTorch's time / ours"]
    header += ["mnistsum, of peak", "PyTorch, of peak"]
    product, name, *_ = rows
    peak = peaks(rows[product])
    share = {
        side: quotients(rows[name]["seconds"][f"{side} bfloat16"], rows[name]["seconds"][f"{side} float32"])
        for side in ("mnistsum", "PyTorch")
    }
    faster = "bfloat16" if median(share["mnistsum"]) < 1 else "float32"
    lines = [line for label, row in rows.items() for line in tabulate_row(label, row, peak)]
    parts = [
        f"{machine['cores']} cores of {machine['processor']} (family {machine['family']}, model {machine['model']}; "
        f"flags: {', '.join(machine['flags']) or 'no bfloat16'}); {versions}; commit {machine['commit']}; "
        f"{results['rounds']} rounds; load average before {machine['load']:.2f} (other processes slow PyTorch most).",
        METHOD,
        markdown(header, lines, (0, 1)),
        f"The faster type on this processor is {faster}. Time in bfloat16 over time in float32, of a {name}: "
        f"{median_and_range(share['mnistsum'])}; in PyTorch {median_and_range(share['PyTorch'])}.",
    ]
    if "growth" in results:
        lines = [
            [kind, f"{size:,}", significant(seconds), significant(slope(**series))]
            for kind, series in results["growth"].items()
            for size, seconds in zip(series["sizes"], series["seconds"], strict=True)
        ]
        parts.append(markdown(["training of `base`", "images or seeds", "seconds", "log-log slope"], lines))
    return "\n\n".join(parts) + "\n"


def plot_growth(growth: dict[str, Any], path: Path) -> None:
    """Draw seconds of training by number of images and by number of seeds, on logarithmic axes."""
    figure = Figure((8, 3.4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    for name, series in growth.items():
        panel = panels[int("seeds" in name)]
        sizes, seconds = series["sizes"], series["seconds"]
        panel.loglog(sizes, seconds, "o-", label=f"{name}, slope {slope(**series):.2f}")
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
        panel.minorticks_off()
    for panel, label in zip(panels, ("images", "seeds"), strict=True):
        panel.set(xlabel=label, ylabel="training, s")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path)
