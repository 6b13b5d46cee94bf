"""Learns to read from sums: `python -m experiments.studies.written_sums`."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.runs import origin, train_runs
from experiments.studies.written_sums.objectives import LENGTHS, digits_of_sum
from experiments.training.folder import Finished
from mnistsum.app.program import Parser
from mnistsum.config import split_overrides
from mnistsum.errors import InputError
from mnistsum.file_io import make_folder, read_json_lines, write_whole
from mnistsum.registry import load_file

DESCRIPTION = """\
Train on the sum of two numbers of N digits, all as images, with no digit labeled
(Manhaeve et al. 2018, arXiv:1805.10872). Each training image is used in one example, so
there are 60,000 / 2N of them. A step sees about training.batch_size images.

The classifier's output layer starts at zero, because a confident random reader can fall
into a local optimum; model.zero_output=False turns that off. A sum is predicted from
the most likely digits. Runs are reused as those of `compare` are.
"""
OBJECTIVES = Path(__file__).with_name("objectives.py")
TASK = ("data.validation=0", "model.adder=shift", "model.zero_output=True")
PAIRINGS = 20  # of the test images, over which the accuracy of sums is the mean
# nats per place: a seed whose training loss stays above this has not learned to read
FAILED = 0.5


def parser() -> Parser:
    """Return the parser of the program's options."""
    parser = cli.parser("studies.written_sums", DESCRIPTION)
    cli.add_config(parser)
    parser.add_argument(
        "--digits",
        type=int,
        default=1,
        choices=LENGTHS,
        help="N, of each of the two numbers",
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many, from seed 0 on")
    parser.add_argument("--output", type=Path, default="runs/written_sums")
    cli.add_workers(parser)
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = split_overrides(arguments)
    options = parser().parse_args(words)
    if options.seeds < 1:
        raise InputError(f"--seeds: expected 1 or more, found {options.seeds}")
    load_file(OBJECTIVES)
    config = cli.load_config(
        cli.named_config(options) or cli.DEFAULT,
        [*TASK, f"objective.name=sum_of_{options.digits}_digits", *overrides],
    )
    runs = train_runs(
        [(config, range(options.seeds))],
        options.output / "runs",
        options.workers,
        cli.format_command("studies.written_sums", arguments),
    )
    lines = []
    for _, run, labels in runs:
        scores = score_sums(run, labels, options.digits)
        print(
            f"N = {options.digits}, seed {run.config.seed}: "
            f"digits {scores['digit_accuracy']:.2%}, "
            f"sums {scores['sum_accuracy']:.2%}",
            flush=True,
        )
        about = {"config": config.name, "digits": options.digits}
        lines.append(about | {"seed": run.config.seed} | scores | origin(run))
        save_lines(options.output / "results.jsonl", lines)
    return 0


def score_sums(run: Finished, labels: np.ndarray, length: int) -> dict[str, Any]:
    """Return the shares of digits and of sums that are right, and the training loss.

    Each test image is used in one sum of each pairing.
    """
    digit = run.predictions["digit"]
    random = np.random.RandomState(run.config.seed)
    count = len(labels) // (2 * length)
    right = []
    for _ in range(PAIRINGS):
        chosen = random.permutation(len(labels))[: count * 2 * length]
        examples = chosen.reshape(-1, 2, length)
        predicted = _sums(digit[examples])
        right.append((predicted == _sums(labels[examples])).all(-1).mean())
    return {
        "digit_accuracy": float((digit == labels).mean()),
        "sum_accuracy": float(np.mean(right)),
        "train_loss": run.lines[-1]["train"]["loss"],
    }


def _sums(digits: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(digits_of_sum)(digits.astype(np.int32)))


def sums_table(lines: list[dict[str, Any]]) -> str:
    """Return means over all seeds, by config and N, and how many seeds failed."""
    rows = []
    for key in sorted({(line["config"], line["digits"]) for line in lines}):
        group = [line for line in lines if (line["config"], line["digits"]) == key]
        learned = [line["train_loss"] <= FAILED * line["digits"] for line in group]
        scores = []
        for name in ("digit_accuracy", "sum_accuracy"):
            scores.append(format_spread(spread([line[name] for line in group]), "%"))
        rows.append([*key, len(group), len(group) - sum(learned), *scores])
    header = ["config", "N", "seeds", "failed", "digits, %", "sums, %"]
    meaning = (
        "Means ± standard deviations over all seeds; of sums, over "
        f"{PAIRINGS} pairings of the test images. A seed failed if its training loss "
        f"in the last epoch is above {FAILED:g} nats for each place."
    )
    return f"{markdown(header, rows)}\n\n{meaning}\n"


def save_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a line for each run, in place of its older line, and the table."""
    by_run = {}
    for line in (read_json_lines(path) if path.exists() else []) + lines:
        by_run[line["config"], line["digits"], line["seed"]] = line
    make_folder(path.parent)
    write_whole(path, "".join(json.dumps(by_run[key]) + "\n" for key in sorted(by_run)))
    write_whole(path.with_suffix(".md"), sums_table(list(by_run.values())))


if __name__ == "__main__":
    cli.main(command)
