"""Learns digits from sums of numbers written in images: `python -m experiments.addition --digits 2 --seeds 10`."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.training.fit import Plan
from experiments.training.folder import Finished
from experiments.training.record import prepare
from experiments.training.reuse import fit_missing, locate_runs
from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.file_io import write_whole
from mnistsum.objective import digits_of_sum

DESCRIPTION = """\
Train on the sum of two numbers of N digits, all as images, with no digit labeled (Manhaeve et al. 2018,
arXiv:1805.10872). Each training image is used in one example, so there are 60,000 / 2N; 10,000 / 2N test the sums.

Classifier, distortions and optimizer are those of the config; a step sees about training.batch_size images. The loss is
the negative log-likelihood of the sum, exact. A sum is read from the most likely digits. Runs are reused as those of
`compare` are; mnistsum predict reads pictures with them.
"""
SCORES = ("digit_accuracy", "sum_accuracy")
READ = 0.9  # of digits: a seed below has not learned to read
ONCE = Plan(max_evaluations=1)


def score_sums(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return the shares of digits and of sums that are read right; each test image is used in one sum."""
    length, digit = run.config.objective.digits, run.predictions["digit"]
    chosen = np.random.RandomState(run.config.seed).permutation(len(labels))
    examples = chosen[: len(labels) // (2 * length) * 2 * length].reshape(-1, 2, length)
    read, right = (jax.jit(digits_of_sum)(digits[examples].astype(np.int32)) for digits in (digit, labels))
    accuracies = float((digit == labels).mean()), float((read == right).all(-1).mean())
    return {**dict(zip(SCORES, accuracies, strict=True)), "sums": len(examples)}


def table(lines: list[dict[str, Any]]) -> str:
    """Return means over the seeds that learned to read, and how many did, by config and number of digits."""
    rows = []
    for key in sorted({(line["config"], line["digits"]) for line in lines}):
        group = [line for line in lines if (line["config"], line["digits"]) == key]
        read = [[line[name] if line[SCORES[0]] > READ else None for line in group] for name in SCORES]
        rows.append([*key, *(format_spread(spread(accuracies), "%") for accuracies in read)])
    return markdown(["config", "N", "digits, %", "sums, %"], rows) + "\n"


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("addition", DESCRIPTION)
    parser.add_argument("--digits", type=int, default=1, help="of each of the two numbers")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from seed 0 on")
    parser.add_argument("--config", default="base", help="a config, a variant of one, or your own .py file")
    parser.add_argument("--runs", type=Path, default="runs/addition", help="where the runs' folders are")
    parser.add_argument("--output", type=Path, help="a .jsonl file for a line per seed; a table is put beside it")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = cli.split_overrides(arguments)
    options = parser().parse_args(words)
    if options.digits < 1 or options.seeds < 1:
        raise InputError("--digits and --seeds: expected 1 or more")
    task = ["data.validation=0", "devices=1", "model.adder=shift", "objective.name=written_sum"]
    config = cli.load_config(options.config, [*task, f"objective.digits={options.digits}", *overrides])
    set_up_compiler()
    experiment = prepare(config, cli.format_command("addition", arguments))
    labels = np.asarray(experiment.data.test.labels)
    for run, reused in fit_missing(locate_runs(options.runs, experiment, range(options.seeds)), ONCE):
        scores, seed = score_sums(run, labels), run.config.seed
        seconds = f"{run.summary['train_seconds']:.0f} s{' (reused)' if reused else ''}"
        print(
            f"N = {options.digits}, seed {seed}: digits {scores['digit_accuracy']:.2%}, "
            f"sums {scores['sum_accuracy']:.2%} of {scores['sums']:,}, {seconds}",
            flush=True,
        )
        if options.output is not None:
            about = {name: run.run[name] for name in ("command", "commit", "versions", "settings", "cores")}
            line = {"config": config.name, "digits": options.digits, "seed": seed, **scores, **about}
            with options.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
            lines = [json.loads(text) for text in options.output.read_text().splitlines()]
            write_whole(options.output.with_suffix(".md"), table(lines))
    return 0


if __name__ == "__main__":
    cli.main(command)
