"""What `addition` trains and reports: sums of numbers that are written in images."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.report.console import RunsProgress
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.pool import fit_missing
from experiments.training.record import check_own, prepare
from experiments.training.reuse import locate_runs
from mnistsum.app.console import say
from mnistsum.config import Config
from mnistsum.file_io import make_folder, read_json_lines, write_whole
from mnistsum.objective import digits_of_sum
from mnistsum.programs import set_up_compiler

SCORES = {
    "digit_accuracy": "digits, %",
    "sum_accuracy": "sums, one pairing, %",
    "mean_sum_accuracy": "sums, %",
}
PAIRINGS = 20  # of the test images, over which `mean_sum_accuracy` is the mean
# nats per place: a seed whose training loss stays above this has not learned to read
FAILED = 0.5
ONCE = Plan(max_evaluations=1)


def learn_sums(
    config: Config, seeds: int, runs: Path, output: Path, workers: int, command: str
) -> None:
    """Train the missing runs of a config, print a line for each run, and write lines and table.

    Args:
        config: what to train, with the fields of TASK.
        seeds: how many, from seed 0 on.
        runs: where the runs' folders are.
        output: the file of lines, beside which the table is put.
        workers: of `fit_missing`.
        command: the command line, for `run.json`.
    """
    set_up_compiler()
    experiment = prepare(config, command)
    for line in check_own(config):
        say(line)
    labels, lines = np.asarray(experiment.data.test.labels), []
    run_sets = [locate_runs(runs, experiment, range(seeds))]
    for _, run, reused in fit_missing(run_sets, ONCE, workers, RunsProgress):
        scores, seed, digits = (
            score_sums(run, labels),
            run.config.seed,
            config.objective.digits,
        )
        seconds = f"{run.summary['train_seconds']:.0f} s{' (reused)' if reused else ''}"
        print(
            f"N = {digits}, seed {seed}: digits {scores['digit_accuracy']:.2%}, "
            f"sums {scores['mean_sum_accuracy']:.2%}, {seconds}",
            flush=True,
        )
        about = {
            name: run.run[name]
            for name in ("command", "commit", "versions", "settings", "cores")
        }
        lines.append(
            {"config": config.name, "digits": digits, "seed": seed, **scores, **about}
        )
        save_lines(output, lines)
    say(f"results in {output} and {output.with_suffix('.md')}, runs in {runs}")


def score_sums(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return the shares of digits and of sums that are predicted right, and the training loss of the last epoch.

    In a pairing, each test image is used in one sum. The published protocol has one
    pairing.
    """
    length, digit = run.config.objective.digits, run.predictions["digit"]
    random, right = np.random.RandomState(run.config.seed), []
    count = len(labels) // (2 * length)
    for _ in range(PAIRINGS):
        examples = random.permutation(len(labels))[: count * 2 * length].reshape(
            -1, 2, length
        )
        predicted, true = (
            jax.jit(digits_of_sum)(digits[examples].astype(np.int32))
            for digits in (digit, labels)
        )
        right.append(float((predicted == true).all(-1).mean()))
    accuracies = float((digit == labels).mean()), right[0], float(np.mean(right))
    return dict(zip(SCORES, accuracies, strict=True)) | {
        "sums": count,
        "train_loss": run.lines[-1]["train"]["loss"],
    }


def sums_table(lines: list[dict[str, Any]]) -> str:
    """Return means over all seeds, by config and number of digits, and how many seeds failed."""
    rows = []
    for key in sorted({(line["config"], line["digits"]) for line in lines}):
        group = [line for line in lines if (line["config"], line["digits"]) == key]
        failed = sum(
            not line["train_loss"] <= FAILED * line["digits"] for line in group
        )
        scores = [
            format_spread(spread([line[name] for line in group]), "%")
            for name in SCORES
        ]
        rows.append([*key, len(group), failed, *scores])
    meaning = (
        f"Means ± standard deviations over all seeds. The last column is the mean over {PAIRINGS} pairings of the test "
        f"images. A seed failed if its training loss in the last epoch is above {FAILED:g} nats for each place."
    )
    return f"{markdown(['config', 'N', 'seeds', 'failed', *SCORES.values()], rows)}\n\n{meaning}\n"


def save_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a line for each run, in place of older lines of the same run, and the table beside them."""
    older = read_json_lines(path) if path.exists() else []
    by_run = {
        (line["config"], line["digits"], line["seed"]): line for line in older + lines
    }
    make_folder(path.parent)
    write_whole(path, "".join(json.dumps(by_run[key]) + "\n" for key in sorted(by_run)))
    write_whole(path.with_suffix(".md"), sums_table(list(by_run.values())))
