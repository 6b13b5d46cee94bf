"""Which learned adders add pairs that they never saw, with images?

    python -m experiments.studies.unseen_pairs.with_images

`base`'s classifier and recipe, with an adder that has a weight decay of its own. Some
sums of each digit are held out, another choice of pairs for each seed.
"""

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.runs import origin, train_runs
from experiments.studies.unseen_pairs.splits import FIELDS, SUM, Split, determined
from experiments.training.folder import Finished
from mnistsum.config import Config, override
from mnistsum.file_io import read_json_lines, write_whole
from mnistsum.objective import held_out_cells
from mnistsum.registry import load_file

ADDERS = str(Path(__file__).with_name("adders.py"))  # has `product`
RESULTS = Path(__file__).with_name("with_images.jsonl")
KINDS = {
    "digit_accuracy": "digits",
    "trained_accuracy": "trained pairs",
    "held_out_accuracy": "held-out pairs",
    "mirrored_accuracy": "mirrored",
    "others_accuracy": "others",
}
CURVES = ("mirrored_accuracy", "held_out_accuracy", "others_accuracy")
INTRODUCTION = """\
`python -m experiments.studies.unseen_pairs.with_images`

Accuracies on test images, each with all ten numbers, in percent: means ± standard
deviations over all seeds, each with other pairs held out. *Mirrored* are the held-out
pairs (d, n) of which (n, d) was trained. All images are trained on, so there is no
validation split. An adder that was only commutative would reach the mirrored share.
*Determined* are the held-out pairs that follow from the trained ones, if digit and
number have one table of unknown representations.

![Right pairs of tied_product by decay and by epochs](with_images.png)

50 pairs are held out. Each dot is a seed, and lines join means. Gray: the mirrored
share, and the determined share.
"""


class Trial(NamedTuple):
    """What is trained for each seed."""

    adder: str
    held_out: int  # sums of each digit
    adder_decay: float
    epochs: float


MAIN = Trial("tied_product", held_out=5, adder_decay=0.5, epochs=8.0)


def trials() -> dict[Trial, int]:
    """Return all trials, each with its number of seeds."""
    controls = [MAIN._replace(adder_decay=decay) for decay in (0.0, 0.1, 0.3, 1.0)]
    controls += [MAIN._replace(epochs=epochs) for epochs in (4.0, 16.0)]
    adders = ("product", "bilinear", "concat", "direct", "learned_shift")
    controls += [MAIN._replace(adder=adder) for adder in adders]
    seeds = {MAIN: 10, MAIN._replace(held_out=3): 10}
    return seeds | dict.fromkeys(controls, 5)


def config(trial: Trial, seed: int) -> Config:
    """Return the config of a trial's run."""
    changes = [
        "data.validation=0",
        f"model.adder={trial.adder}",
        f"objective.held_out={trial.held_out}",
        f"objective.design={seed + 1}",
        f"optimizer.adder_decay={trial.adder_decay}",
        f"training.epochs={trial.epochs}",
    ]
    base = override(cli.load_config("base"), changes)
    return dataclasses.replace(base, name=trial.adder, seed=seed)


def score(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return accuracies on the test images: of digits, and of each kind of pairs."""
    held_out = held_out_cells(run.config.objective)
    mirrored = held_out & ~held_out.T
    kinds = {
        "trained_accuracy": ~held_out,
        "held_out_accuracy": held_out,
        "mirrored_accuracy": mirrored,
        "others_accuracy": held_out & ~mirrored,
    }
    right = run.predictions["sum"] == labels[:, None] + np.arange(10)
    scores = {
        "mirrored_share": float(mirrored.sum() / held_out.sum()),
        "digit_accuracy": float((run.predictions["digit"] == labels).mean()),
    }
    for name, cells in kinds.items():
        scores[name] = float(right[cells[labels]].mean())
    return scores


def _trial(line: dict[str, Any]) -> Trial:
    return Trial(*(line[name] for name in Trial._fields))


def missing(known: set[tuple[Trial, int]]) -> list[tuple[Trial, int]]:
    """Return what is not known yet: the first seed of all trials, then the second."""
    planned = []
    for seed in range(max(trials().values())):
        for trial, seeds in trials().items():
            if seed < seeds and (trial, seed) not in known:
                planned.append((trial, seed))
    return planned


@cache
def determined_share(trial: Trial, seed: int) -> float:
    """Return the share of a run's held-out pairs that its trained pairs determine."""
    held_out = held_out_cells(config(trial, seed).objective)
    split = Split(SUM, ~held_out)
    return float(determined(split, FIELDS["d + n"], tables=1).sum() / held_out.sum())


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return means and standard deviations over all seeds in Markdown."""
    rows = []
    for trial in trials():
        of_trial = [line for line in lines if _trial(line) == trial]
        if not of_trial:
            continue
        shares = [[determined_share(trial, line["seed"]) for line in of_trial]]
        for name in ("mirrored_share", *KINDS):
            shares.append([line[name] for line in of_trial])
        about = (trial.adder, 10 * trial.held_out, trial.adder_decay, trial.epochs)
        cells = [format_spread(spread(values), "%") for values in shares]
        rows.append([*about, len(of_trial), *cells])
    header = ["adder", "pairs held out", "adder decay", "epochs", "seeds"]
    return markdown([*header, "determined", "mirrored share", *KINDS.values()], rows)


def curves(lines: Sequence[dict[str, Any]]) -> Figure:
    """Return the shares of right pairs of the main trial, by decay and by epochs."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    panels[0].set(xlabel="weight decay of the adder (eight epochs)", ylabel="right, %")
    panels[1].set(xlabel="epochs (weight decay 0.5)")
    for axes, field in zip(panels, ("adder_decay", "epochs"), strict=True):
        shown = [line for line in lines if _varies(_trial(line), field)]
        for kind in CURVES:
            _draw_seeds(axes, [(line[field], 100 * line[kind]) for line in shown], kind)
        mirrored = [line["mirrored_share"] for line in shown]
        known = [determined_share(_trial(line), line["seed"]) for line in shown]
        for share, style in ((mirrored, "--"), (known, ":")):
            axes.axhline(100 * float(np.mean(share)), color="#888888", ls=style)
        axes.grid(alpha=0.3)
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _varies(trial: Trial, field: str) -> bool:
    """Return whether a trial is the main one, except perhaps in a field."""
    value = getattr(MAIN, field)
    return trial._replace(**{field: value}) == MAIN


def _draw_seeds(axes: Axes, points: list[tuple[float, float]], kind: str) -> None:
    """Draw a dot for each point, and a line that joins the means."""
    places = sorted({place for place, _ in points})
    means = []
    for place in places:
        means.append(np.mean([value for where, value in points if where == place]))
    (line,) = axes.plot(places, means, label=KINDS[kind])
    axes.plot(*zip(*points, strict=True), ".", color=line.get_color())


def command(words: list[str]) -> int:
    """Train the runs that have no line yet, append their lines, and write the page."""
    parser = cli.parser("studies.unseen_pairs.with_images", __doc__)
    parser.add_argument("--runs", type=Path, default="runs/with_images")
    cli.add_workers(parser)
    options = parser.parse_args(words)
    lines = read_json_lines(RESULTS) if RESULTS.exists() else []
    planned = missing({(_trial(line), line["seed"]) for line in lines})
    if planned:
        load_file(ADDERS)
        runs = train_runs(
            [(config(trial, seed), [seed]) for trial, seed in planned],
            options.runs,
            options.workers,
            cli.format_command("studies.unseen_pairs.with_images", words),
        )
        with RESULTS.open("a") as file:
            for i, run, labels in runs:
                trial, seed = planned[i]
                line = trial._asdict() | {"seed": seed} | score(run, labels)
                lines.append(line | origin(run))
                print(json.dumps(lines[-1]), file=file, flush=True)
                print(*trial, seed, f"{line['held_out_accuracy']:.1%}", flush=True)
    page = f"{INTRODUCTION}\n{table(lines)}\n"
    write_whole(RESULTS.with_suffix(".md"), page)
    curves(lines).savefig(RESULTS.with_suffix(".png"), dpi=120)
    return 0


if __name__ == "__main__":
    cli.main(command)
