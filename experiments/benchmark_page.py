"""The tables of `experiments.benchmark`."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from experiments.comparison.tables import markdown

METHOD = """\
Each cell is the median over rounds, with the range in parentheses. In a round, both sides run once in each type. A
ratio is PyTorch's time divided by that of mnistsum in the same round; above 1, mnistsum is faster. PyTorch runs its
fastest variant, with channels_last maps and a fused optimizer; "frozen" is compiled with constant weights, and "cast"
also computes everything in bfloat16. An evaluation covers 10,000 images, each with all ten numbers. That of mnistsum
also returns losses and logits. The product has seventy rounds, and a whole command three, with nothing compiled before.
PyTorch's command is `experiments/twins.py`, which prints accuracies but draws no report. The peak is the rate of the
faster side's matrix product in the same type. The operations are the multiply-adds that `--dry-run` prints, three times
as many in training."""


def significant(value: float) -> str:
    """Return a positive value with three significant digits or more."""
    return f"{value:#.3g}" if value < 99 else f"{value:,.0f}"


def median_and_range(values: Sequence[float]) -> str:
    """Return the median of the values, and their range."""
    return "{} ({}-{})".format(
        *map(significant, (median(values), min(values), max(values)))
    )


def ratios(seconds: dict[str, list[float]], above: str, below: str) -> str:
    """Return the median and range over rounds of one entry's seconds divided by another's."""
    return median_and_range(
        [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    )


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of a line fitted to the logarithms.

    It is 1 if the cost is proportional to the size.
    """
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def tabulate_row(
    name: str, row: dict[str, Any], peak: dict[str, float]
) -> list[list[str]]:
    """Return the lines of a row: one per type, and one with each side's faster type.

    Args:
        name: of the row.
        row: its seconds, operations and variants.
        peak: operations per second of the matrix product, by type.
    """
    seconds = {side: median(taken) for side, taken in row["seconds"].items()}
    pairs = [(f"mnistsum {dtype}", f"PyTorch {dtype}") for dtype in peak]
    faster = tuple(
        min(sides, key=lambda side: seconds[side]) for sides in zip(*pairs, strict=True)
    )
    lines = []
    for label, sides in zip(
        (*peak, "each side's faster"), (*pairs, faster), strict=True
    ):
        taken = [significant(1e3 * seconds[side]) for side in sides]
        shares = [
            f"{row['operations'] / seconds[side] / peak[side.split()[1]]:.0%}"
            for side in sides
        ]
        ours, theirs = sides
        ratio = ratios(row["seconds"], theirs, ours)
        lines.append([name, label, *taken, row["variants"][theirs], ratio, *shares])
    return lines


def peaks(product: dict[str, Any]) -> dict[str, float]:
    """Return the faster side's operations per second in each type, from the row of the matrix product."""
    fastest: dict[str, float] = {}
    for side, taken in product["seconds"].items():
        dtype = side.split()[1]
        fastest[dtype] = max(
            fastest.get(dtype, 0), product["operations"] / median(taken)
        )
    return fastest


def benchmark_markdown(results: dict[str, Any]) -> str:
    """Return the results in Markdown."""
    machine, rows = results["machine"], results["rows"]
    versions = ", ".join(
        f"{name} {number}" for name, number in machine["versions"].items()
    )
    header = [
        "work",
        "type",
        "mnistsum, ms",
        "PyTorch, ms",
        "PyTorch's variant",
        "PyTorch's time / ours",
    ]
    header += ["mnistsum, of peak", "PyTorch, of peak"]
    product, name, *_ = rows
    peak = peaks(rows[product])
    lines = [
        line for label, row in rows.items() for line in tabulate_row(label, row, peak)
    ]
    ours, theirs = (
        ratios(rows[name]["seconds"], f"{side} bfloat16", f"{side} float32")
        for side in ("mnistsum", "PyTorch")
    )
    parts = [
        f"{machine['cores']} cores of {machine['processor']} (family {machine['family']}, model {machine['model']}; "
        f"flags: {', '.join(machine['flags']) or 'no bfloat16'}); {versions}; commit {machine['commit']}; "
        f"{results['rounds']} rounds; load average before {machine['load']:.2f} (other processes slow PyTorch most).",
        METHOD,
        markdown(header, lines, (0, 1)),
        f"Time in bfloat16 over time in float32, of a {name}: {ours}; in PyTorch {theirs}.",
    ]
    if "growth" in results:
        lines = [
            [kind, f"{size:,}", significant(seconds), significant(slope(**series))]
            for kind, series in results["growth"].items()
            for size, seconds in zip(series["sizes"], series["seconds"], strict=True)
        ]
        parts.append(
            markdown(
                ["training of `base`", "images or seeds", "seconds", "log-log slope"],
                lines,
            )
        )
    if "runs_per_hour" in results:
        lines = [
            [workers, median_and_range(counts)]
            for workers, counts in results["runs_per_hour"].items()
        ]
        parts.append(
            markdown(["workers", "runs of `base` in an hour"], lines, texts=())
        )
    return "\n\n".join(parts) + "\n"
