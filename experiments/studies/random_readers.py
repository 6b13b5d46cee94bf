"""Why some seeds do not learn digits from sums: `python -m experiments.studies.random_readers`.

Hypothesis: a classifier whose random first answers are confident falls into a local optimum. In it, each image is read
as one of two digits, one too high and one too low, and half of the sums are right by symmetry. The starts differ in how
confident the first answers are: He's initialization most, PyTorch's less, an output layer of zeros not at all.

Three experiments: six ways to train, twenty new seeds each; weights of one seed trained on the data order of another;
and expectation-maximization (EM) on a table of ten by ten probabilities, which has neither images nor a network.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from flax import nnx

from experiments import cli
from experiments.addition import ONCE, TASK, score_sums
from experiments.training.pool import fit_missing
from experiments.training.record import prepare_all
from experiments.training.reuse import locate_runs
from mnistsum.app.compiler import set_up_compiler
from mnistsum.config import Config, ModelConfig, override
from mnistsum.file_io import make_folder, write_whole
from mnistsum.models.classifiers.compact import Compact
from mnistsum.registry import load_file
from mnistsum.train import split_keys

OUTPUT = Path(__file__).parents[1] / "results/random_readers.jsonl"
SEEDS = range(10, 30)
STARTS = (0, 2, 7)  # seeds whose weights are crossed with the data of CROSSED; of He's starts, 2 failed before
CROSSED = range(10, 20)
INITIALIZATIONS = {
    "he": ("model.zero_output=False",),
    "torch": ("model.zero_output=False", "model.initialization=torch"),
    "zero": (),
}
UPDATES = {"muon": (), "adam": ("optimizer.name=adamw", "optimizer.momentum=0.9", "optimizer.learning_rate=0.001")}


class Start(Compact):
    """`compact` with the initial weights of one seed, whatever the run's seed is."""

    seed: int

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, nnx.Rngs(split_keys(self.seed).init))


CLASSIFIERS = {f"start_{seed}": type(f"Start{seed}", (Start,), {"seed": seed}) for seed in STARTS}


def configs() -> Iterator[tuple[Config, range]]:
    """Yield each config with its seeds."""
    for initialization, changes in INITIALIZATIONS.items():
        for optimizer, others in UPDATES.items():
            yield _config(f"{initialization}-{optimizer}", *changes, *others), SEEDS
    for seed in STARTS:
        widths = "model.widths=24,48,64,96"
        yield _config(f"start-{seed}", *INITIALIZATIONS["he"], f"model.classifier=start_{seed}", widths), CROSSED


def _config(name: str, *changes: str) -> Config:
    config = override(cli.load_config("base"), [*TASK, "objective.digits=1", *changes])
    return dataclasses.replace(config, name=name)


def main() -> None:
    """Train what is missing, and write a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default="runs/random_readers")
    cli.add_workers(parser)
    options = parser.parse_args()
    set_up_compiler()
    load_file(__file__)  # the classifiers, here and in the workers
    planned = list(configs())
    experiments = prepare_all([config for config, _ in planned], "python -m experiments.studies.random_readers")
    labels = np.asarray(experiments[0].data.test.labels)
    run_sets = [
        locate_runs(options.runs, experiment, seeds)
        for experiment, (_, seeds) in zip(experiments, planned, strict=True)
    ]
    lines = []
    for _, run, _ in fit_missing(run_sets, ONCE, options.workers):
        about = {name: run.run[name] for name in ("commit", "versions", "settings", "cores")}
        lines.append({"config": run.config.name, "seed": run.config.seed, **score_sums(run, labels), **about})
        print(f"{run.config.name}, seed {run.config.seed}: {lines[-1]['train_loss']:.3f} nats", flush=True)
    make_folder(OUTPUT.parent)
    lines.sort(key=lambda line: (line["config"], line["seed"]))
    write_whole(OUTPUT, "".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
