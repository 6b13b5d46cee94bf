"""Learns digits from sums of numbers written in images: `python -m experiments.addition --digits 2 --seeds 10`."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.training.folder import Finished
from experiments.training.plan import Plan
from experiments.training.pool import fit_missing
from experiments.training.record import prepare
from experiments.training.reuse import locate_runs
from mnistsum.app.program import Parser
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, read_json_lines, write_whole
from mnistsum.objective import digits_of_sum
from mnistsum.programs import set_up_compiler

DESCRIPTION = """\
Train on the sum of two numbers of N digits, all as images, with no digit labeled (Manhaeve et al. 2018,
arXiv:1805.10872). Each training image is used in one example, so there are 60,000 / 2N; 10,000 / 2N test the sums.

Classifier, distortions and optimizer are those of the config; a step sees about training.batch_size images. The loss is
the negative log-likelihood of the sum, exact. The classifier's output layer starts at zero, because a confident random
reader can fall into a local optimum; model.zero_output=False turns that off. A sum is predicted from the most likely
digits. Runs are reused as those of `compare` are.
"""
TASK = ("data.validation=0", "devices=1", "model.adder=shift", "model.zero_output=True", "objective.name=written_sum")
SCORES = {"digit_accuracy": "digits, %", "sum_accuracy": "sums, one pairing, %", "mean_sum_accuracy": "sums, %"}
PAIRINGS = 20  # of the test images, over which `mean_sum_accuracy` is the mean
FAILED = 0.5  # nats per place: a seed whose training loss stays above this has not learned to read
ONCE = Plan(max_evaluations=1)


def score_sums(run: Finished, labels: np.ndarray) -> dict[str, Any]:
    """Return the shares of digits and of sums that are predicted right, and the training loss of the last epoch.

    In a pairing, each test image is used in one sum. The published protocol has one pairing.
    """
    length, digit = run.config.objective.digits, run.predictions["digit"]
    random, right = np.random.RandomState(run.config.seed), []
    count = len(labels) // (2 * length)
    for _ in range(PAIRINGS):
        examples = random.permutation(len(labels))[: count * 2 * length].reshape(-1, 2, length)
        predicted, true = (jax.jit(digits_of_sum)(digits[examples].astype(np.int32)) for digits in (digit, labels))
        right.append(float((predicted == true).all(-1).mean()))
    accuracies = float((digit == labels).mean()), right[0], float(np.mean(right))
    return dict(zip(SCORES, accuracies, strict=True)) | {"sums": count, "train_loss": run.lines[-1]["train"]["loss"]}


def sums_table(lines: list[dict[str, Any]]) -> str:
    """Return means over all seeds, by config and number of digits, and how many seeds failed."""
    rows = []
    for key in sorted({(line["config"], line["digits"]) for line in lines}):
        group = [line for line in lines if (line["config"], line["digits"]) == key]
        failed = sum(not line["train_loss"] <= FAILED * line["digits"] for line in group)
        scores = [format_spread(spread([line[name] for line in group]), "%") for name in SCORES]
        rows.append([*key, len(group), failed, *scores])
    meaning = (
        f"Means ± standard deviations over all seeds. The last column is the mean over {PAIRINGS} pairings of the test "
        f"images. A seed failed if its training loss in the last epoch is above {FAILED:g} nats for each place."
    )
    return f"{markdown(['config', 'N', 'seeds', 'failed', *SCORES.values()], rows)}\n\n{meaning}\n"


def save_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a line for each run, in place of older lines of the same run, and the table beside them."""
    older = read_json_lines(path) if path.exists() else []
    by_run = {(line["config"], line["digits"], line["seed"]): line for line in older + lines}
    make_folder(path.parent)
    write_whole(path, "".join(json.dumps(by_run[key]) + "\n" for key in sorted(by_run)))
    write_whole(path.with_suffix(".md"), sums_table(list(by_run.values())))


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("addition", DESCRIPTION)
    parser.add_argument("--digits", type=int, default=1, help="of each of the two numbers")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from seed 0 on")
    parser.add_argument("--config", default="base", help="a config, a variant of one, or your own .py file")
    parser.add_argument("--runs", type=Path, default="runs/addition", help="where the runs' folders are")
    cli.add_workers(parser)
    parser.add_argument(
        "--output", type=Path, help="a .jsonl file of all runs, beside which a table is put; default: in RUNS"
    )
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = cli.split_overrides(arguments)
    options = parser().parse_args(words)
    if options.digits < 1 or options.seeds < 1:
        raise InputError("--digits and --seeds: expected 1 or more")
    config = cli.load_config(options.config, [*TASK, f"objective.digits={options.digits}", *overrides])
    set_up_compiler()
    experiment = prepare(config, cli.format_command("addition", arguments))
    labels, lines = np.asarray(experiment.data.test.labels), []
    run_set = locate_runs(options.runs, experiment, range(options.seeds))
    for _, run, reused in fit_missing([run_set], ONCE, options.workers):
        scores, seed = score_sums(run, labels), run.config.seed
        seconds = f"{run.summary['train_seconds']:.0f} s{' (reused)' if reused else ''}"
        print(
            f"N = {options.digits}, seed {seed}: digits {scores['digit_accuracy']:.2%}, "
            f"sums {scores['mean_sum_accuracy']:.2%}, {seconds}",
            flush=True,
        )
        about = {name: run.run[name] for name in ("command", "commit", "versions", "settings", "cores")}
        lines.append({"config": config.name, "digits": options.digits, "seed": seed, **scores, **about})
        save_lines(options.output or options.runs / "addition.jsonl", lines)
    return 0


if __name__ == "__main__":
    cli.main(command)
