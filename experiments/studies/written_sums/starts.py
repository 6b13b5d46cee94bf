"""Does a confident start keep a network from learning to read, or its weights?

    python -m experiments.studies.written_sums.starts

`base` learns to read from sums of two digits. It starts with the initial weights of one
seed, whose output layer is multiplied by a scale, and sees the images in the order of
another. Without scaling, two of these twelve initial weights are known to fail.
"""

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import cli
from experiments.comparison.tables import markdown
from experiments.studies.runs import ORIGIN
from experiments.studies.written_sums.__main__ import FAILED, OBJECTIVES
from experiments.training.record import Experiment, describe_run, prepare
from mnistsum.config import ModelConfig, override
from mnistsum.evaluation import evaluate
from mnistsum.file_io import read_json_lines, write_whole
from mnistsum.models import Model, build
from mnistsum.programs import set_up_compiler
from mnistsum.registry import load_file
from mnistsum.train import init_state, split_keys, trained_model

RESULTS = Path(__file__).with_name("starts.jsonl")
KNOWN = (2, 7)  # seeds whose initial weights have failed before
FRESH = tuple(range(30, 40))
SCALES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
ORDERS = range(10, 15)  # seeds of everything but the initial weights
INTRODUCTION = f"""\
`python -m experiments.studies.written_sums.starts`

Failed runs of `base` with N = 1, by the scale of the initial output layer and by the
seed of the initial weights, each with five orders of the data. A run failed if its
training loss in the last epoch is above {FAILED:g} nats. With a scale of 0, all digits
are equally likely at the start; with 1, the output layer is `base`'s. In brackets: how
many of the ten fresh seeds had a run that failed.
"""


class Trial(NamedTuple):
    """What is trained with each order of the data."""

    start: int  # seed of the initial weights
    scale: float


def trials() -> list[Trial]:
    """Return all trials, those of weights that have failed before first."""
    found = []
    for start in KNOWN + FRESH:
        found += [Trial(start, scale) for scale in SCALES]
    return found


def start(config: ModelConfig, trial: Trial) -> Model:
    """Return the initial model of a trial."""
    model = build(config, split_keys(trial.start).init)
    kernel = model.classifier.output.kernel
    kernel[...] = trial.scale * kernel[...]
    return model


def train(
    experiment: Experiment, advance: Any, trial: Trial, order: int
) -> dict[str, float]:
    """Return the training loss and the test accuracy of digits after training."""
    spec, data = experiment.spec, experiment.data
    keys = split_keys(order)
    state = init_state(spec, keys, start(experiment.config.model, trial))
    state = advance(keys, state, data.train, np.int32(spec.steps))
    answers = evaluate(experiment.config.data, trained_model(state), data.test)
    is_right = np.asarray(answers.digit) == np.asarray(data.test.labels)
    return {
        "train_loss": float(state.metrics.loss / state.metrics.examples),
        "digit_accuracy": float(is_right.mean()),
    }


def _trial(line: dict[str, Any]) -> Trial:
    return Trial(line["start"], line["scale"])


def table(lines: list[dict[str, Any]]) -> str:
    """Return failed runs by scale and by initial weights in Markdown."""
    rows = []
    for scale in SCALES:
        of_scale = [line for line in lines if line["scale"] == scale]
        cells = [_failed(of_scale, (seed,)) for seed in KNOWN]
        fresh = {line["start"] for line in of_scale if _has_failed(line)} & set(FRESH)
        cells.append(f"{_failed(of_scale, FRESH)} ({len(fresh)})")
        rows.append([f"{scale:g}", *cells])
    header = [
        "scale",
        *(f"seed {seed}" for seed in KNOWN),
        "ten fresh seeds",
    ]
    return markdown(header, rows, texts=())


def _has_failed(line: dict[str, Any]) -> bool:
    return line["train_loss"] > FAILED


def _failed(lines: list[dict[str, Any]], starts: tuple[int, ...]) -> str:
    """Return how many runs failed, of all that began with these weights."""
    failed = [_has_failed(line) for line in lines if line["start"] in starts]
    return f"{sum(failed)} of {len(failed)}"


def command(words: list[str]) -> int:
    """Train the runs that have no line yet, append their lines, and write the page."""
    parser = cli.parser("studies.written_sums.starts", __doc__)
    parser.add_argument(
        "--orders",
        type=int,
        nargs="+",
        default=ORDERS,
        help="seeds of the data, so that several processes can share the work",
    )
    options = parser.parse_args(words)
    load_file(str(OBJECTIVES))
    set_up_compiler()
    changes = ["data.validation=0", "objective.name=sum_of_1_digits"]
    config = override(cli.load_config("base"), [*changes, "model.adder=shift"])
    written = cli.format_command("studies.written_sums.starts", words)
    experiment = prepare(config, written)
    about = describe_run(experiment)
    advance = experiment.programs["training"].compile()
    lines = read_json_lines(RESULTS) if RESULTS.exists() else []
    known = {(_trial(line), line["seed"]) for line in lines}
    with RESULTS.open("a") as file:
        for order, trial in itertools.product(options.orders, trials()):
            if (trial, order) in known:
                continue
            line = trial._asdict() | {"seed": order}
            line |= train(experiment, advance, trial, order)
            line |= {name: about[name] for name in ORIGIN}
            print(json.dumps(line), file=file, flush=True)
            print(*trial, order, f"{line['train_loss']:.3f} nats", flush=True)
    page = f"{INTRODUCTION}\n{table(read_json_lines(RESULTS))}\n"
    write_whole(RESULTS.with_suffix(".md"), page)
    return 0


if __name__ == "__main__":
    cli.main(command)
