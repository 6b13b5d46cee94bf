"""Why some seeds do not learn digits from sums: `python -m experiments.studies.random_readers`.

Hypothesis: a classifier whose random first answers are confident falls into a local
optimum. In it, each image is read as one of two digits, one too high and one too low,
and half of the sums are right by symmetry.

Three experiments: how many of twenty new seeds fail, by the initialization of the last
layer and by the optimizer; the initial weights of one seed, trained with the data of
another; and expectation-maximization (EM) on a table of ten by ten probabilities, which
has neither images nor a network.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from flax import nnx
from scipy.stats import fisher_exact

from experiments import cli
from experiments.addition import TASK
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.comparison.written_sums import FAILED, SCORES, score_sums
from experiments.studies.training import RESULTS, train_study, write_results
from mnistsum.config import Config, ModelConfig, override
from mnistsum.file_io import write_whole
from mnistsum.models.classifiers.compact import Compact
from mnistsum.models.layers import Dense
from mnistsum.registry import load_file
from mnistsum.train import split_keys

SEEDS = range(10, 30)
# seeds whose weights are trained with the data of CROSSED; 2 and 7 failed before
STARTS = (0, 2, 7)
CROSSED = range(10, 20)
WIDTHS = "model.widths=24,48,64,96"  # base's
LAST_LAYERS = {
    "he": ("model.zero_output=False",),
    "torch": ("model.zero_output=False", "model.classifier=torch_output", WIDTHS),
    "zero": (),
}
UPDATES = {
    "muon": (),
    "adam": (
        "optimizer.name=adamw",
        "optimizer.momentum=0.9",
        "optimizer.learning_rate=0.001",
    ),
}


class TorchOutput(Compact):
    """`compact` whose last layer alone has PyTorch's initialization."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, rngs)
        self.output = Dense(
            dataclasses.replace(config, initialization="torch"), self.features, 10, rngs
        )


class Start(Compact):
    """`compact` with the initial weights of one seed, whatever the run's seed is."""

    seed: int

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        super().__init__(config, nnx.Rngs(split_keys(self.seed).init))


STARTED = {
    f"start_{seed}": type(f"Start{seed}", (Start,), {"seed": seed}) for seed in STARTS
}
CLASSIFIERS: dict[str, Any] = {**STARTED, "torch_output": TorchOutput}


def configs() -> Iterator[tuple[Config, range]]:
    """Yield each config with its seeds."""
    for optimizer, rule in UPDATES.items():
        for last_layer, start in LAST_LAYERS.items():
            yield _config(f"{last_layer}-{optimizer}", *start, *rule), SEEDS
    for seed in STARTS:
        yield (
            _config(
                f"start-{seed}",
                *LAST_LAYERS["he"],
                f"model.classifier=start_{seed}",
                WIDTHS,
            ),
            CROSSED,
        )


def _config(name: str, *changes: str) -> Config:
    config = override(cli.load_config("base"), [*TASK, "objective.digits=1", *changes])
    return dataclasses.replace(config, name=name)


def fit_table(
    random: np.random.Generator, concentration: float, steps: int = 300
) -> float:
    """Return the nats of a sum of two digits after EM on a table p(read | label) of ten by ten probabilities.

    All pairs of labels are equally frequent. The rows of the first table are drawn from
    a symmetric Dirichlet distribution: the lower its concentration, the more confident
    the first answers.
    """
    table = random.dirichlet(np.full(10, concentration), 10)
    sums = np.add.outer(np.arange(10), np.arange(10))
    adds_up = sums[:, :, None, None] == sums  # [label, label, read, read]
    likelihood = np.ones((10, 10))
    for _ in range(steps):
        joint = np.einsum("ai,bj->abij", table, table) * adds_up
        likelihood = joint.sum((2, 3))
        expected = (joint / likelihood[:, :, None, None]).sum((1, 3))
        table = expected / expected.sum(1, keepdims=True)
    return float(-np.log(likelihood).mean())


def tables(lines: Sequence[dict[str, Any]]) -> str:
    """Return the study's tables in Markdown."""
    rows, counts = [], {}
    for config, _ in configs():
        of_config = [line for line in lines if line["config"] == config.name]
        scores = [
            format_spread(spread([line[name] for line in of_config]), "%")
            for name in SCORES
        ]
        failed, nats = _stuck([line["train_loss"] for line in of_config])
        counts[config.name] = failed, len(of_config) - failed
        rows.append([config.name, len(of_config), failed, nats, *scores])
    pairs = [
        (f"he-{rule}", f"{other}-{rule}")
        for rule in UPDATES
        for other in ("torch", "zero")
    ]
    pairs += [(f"start-{seed}", f"start-{STARTS[0]}") for seed in STARTS[1:]]
    tests = [
        [*pair, f"{fisher_exact([counts[name] for name in pair])[1]:.2g}"]
        for pair in pairs
    ]
    random = np.random.default_rng(0)
    em = [
        [c, *_stuck([fit_table(random, c) for _ in range(100)])]
        for c in (100.0, 10.0, 1.0, 0.1)
    ]
    return f"""\
`python -m experiments.studies.random_readers`: `base` with N = 1. The last layer of the classifier has He's or
PyTorch's initialization or is zero, and the optimizer is `base`'s Muon or Adam with a peak rate of 0.001. `start-K` is
`he-muon` with the initial weights of seed K. A seed failed if its last training loss is above {FAILED:g} nats. Scores
are means ± standard deviations over all seeds.

{markdown(["run", "seeds", "failed", "their nats", *SCORES.values()], rows)}

Fisher's exact test of equal rates of failure:

{markdown(["run", "other", "p"], tests, (0, 1))}

Expectation-maximization on a table, 100 draws for each concentration of its first rows:

{markdown(["concentration", "failed", "their nats"], em)}
"""


def _stuck(nats: Sequence[float]) -> tuple[int, str]:
    """Return how many losses are those of failed runs, and their range."""
    stuck = [each for each in nats if each > FAILED]
    return len(stuck), f"{min(stuck):.3f} to {max(stuck):.3f}" if stuck else ""


def command(words: list[str]) -> int:
    """Train what is missing, write a line for each run, and the tables."""
    load_file(__file__)  # the classifiers, here and in the workers
    lines = []
    for _, run, labels, about in train_study(
        words, "random_readers", __doc__, list(configs())
    ):
        lines.append(
            {
                "config": run.config.name,
                "seed": run.config.seed,
                **score_sums(run, labels),
                **about,
            }
        )
        print(
            f"{run.config.name}, seed {run.config.seed}: {lines[-1]['train_loss']:.3f} nats",
            flush=True,
        )
    lines.sort(key=lambda line: (line["config"], line["seed"]))
    write_results("random_readers", lines)
    write_whole(RESULTS / "random_readers.md", tables(lines) + "\n")
    return 0


if __name__ == "__main__":
    cli.main(command)
