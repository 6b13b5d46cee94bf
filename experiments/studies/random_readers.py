"""Why some seeds do not learn digits from sums: `python -m experiments.studies.random_readers`.

Hypothesis: a classifier whose random first answers are confident falls into a local optimum. In it, each image is read
as one of two digits, one too high and one too low, and half of the sums are right by symmetry. The starts differ in how
confident the first answers are: He's initialization most, PyTorch's less, an output layer of zeros not at all.

Three experiments: six ways to train, twenty new seeds each; weights of one seed trained on the data order of another;
and expectation-maximization (EM) on a table of ten by ten probabilities, which has neither images nor a network.
"""

import dataclasses
from collections.abc import Iterator

from flax import nnx

from experiments import cli
from experiments.addition import TASK, score_sums
from experiments.studies.training import train_study, write_results
from mnistsum.config import Config, ModelConfig, override
from mnistsum.models.classifiers.compact import Compact
from mnistsum.registry import load_file
from mnistsum.train import split_keys

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
    load_file(__file__)  # the classifiers, here and in the workers
    lines = []
    for _, run, labels, about in train_study("random_readers", __doc__, list(configs())):
        lines.append({"config": run.config.name, "seed": run.config.seed, **score_sums(run, labels), **about})
        print(f"{run.config.name}, seed {run.config.seed}: {lines[-1]['train_loss']:.3f} nats", flush=True)
    write_results("random_readers", sorted(lines, key=lambda line: (line["config"], line["seed"])))


if __name__ == "__main__":
    main()
