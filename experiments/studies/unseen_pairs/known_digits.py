"""How much algebra must be built in before weight decay completes a table?

    python -m experiments.studies.unseen_pairs.known_digits

The digit is known here, as one of ten, so there are no images. An adder maps a pair of
digit and number to a class. Each split holds out other pairs, and the adder is trained
on all the others at once, with AdamW. Such a network first memorizes its pairs. It may
generalize much later, if weight decay is strong ("grokking": Power et al. 2022,
arXiv:2201.02177; Liu et al. 2022, arXiv:2205.10343). The decay of each adder and target
is chosen on splits of its own, with 50 of the 100 pairs held out.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.unseen_pairs.splits import FIELDS, TARGETS, determined, draw
from mnistsum.models.adders import ADDS_UP, FLOOR

OUTPUT = Path(__file__).with_name("known_digits.jsonl")
SPLITS = 20  # for each trial
CHOICE, REPORT = 100, 300  # the first split of those that choose the decay, and report
LEARNING_RATE, B2, STEPS = 1e-3, 0.98, 20_000
RANK = 64  # width of embeddings and hidden layers
DECAYS = (0.0, 0.1, 0.3, 0.5, 1.0, 3.0)
HELD_OUT = (30, 50, 70)
TABLES = ("digit", "number", "output")  # the parameters of most adders
INTRODUCTION = """\
`python -m experiments.studies.unseen_pairs.known_digits`

Pairs of a known digit and a number, 50 of 100 held out, after 20,000 steps: means ±
standard deviations over twenty splits, in percent. The decay was chosen on twenty
other splits. *Mirrored* are the held-out pairs (d, n) of which (n, d) was trained.
"""


class Trial(NamedTuple):
    """What is trained on each of twenty splits."""

    adder: str
    target: str
    held_out: int  # of the hundred pairs
    weight_decay: float
    first_split: int


def product(params: Any, number: str = "number") -> Any:
    """Return logits from the product of two embeddings, [digit, number, class]."""
    return (params["digit"][:, None] * params[number][None]) @ params["output"]


def matrices(params: Any) -> Any:
    """Return logits from the product of two matrices of eight by eight."""
    digit, number = (params[name].reshape(10, 8, 8) for name in ("digit", "number"))
    # as large as an embedding's product at first
    both = jnp.einsum("dij,njk->dnik", digit, number) / np.sqrt(8)
    return both.reshape(10, 10, 64) @ params["output"]


def embeddings(params: Any, number: str = "number") -> Any:
    """Return logits from a hidden layer on the sum of two embeddings."""
    joined = params["digit"][:, None] + params[number][None]
    return jax.nn.relu(joined @ params["hidden"] + params["bias"]) @ params["output"]


def concat(params: Any) -> Any:
    """Return logits from a hidden layer on digit and number, as `concat` does."""
    hidden = params["digit"][:, None] + params["number"][None] + params["bias"]
    return jax.nn.relu(hidden) @ params["output"]


def learned_shift(params: Any) -> Any:
    """Return log-probabilities of digit + shift, with shifts for each number."""
    shift = jax.nn.log_softmax(params["shifts"])
    return FLOOR + jnp.einsum("nk,kds->dns", shift - FLOOR, ADDS_UP)


class Adder(NamedTuple):
    """A function from parameters to logits [digit, number, class], and its needs."""

    logits: Callable[[Any], Any]
    params: Sequence[str]  # of `initial`


PRODUCTS = {
    "product, two tables": Adder(product, TABLES),
    "product, two tables, swapped copies": Adder(product, TABLES),
    "product, one table": Adder(partial(product, number="digit"), ("digit", "output")),
    "matrices, two tables": Adder(matrices, TABLES),
}
OTHERS = {
    "embeddings, two tables": Adder(embeddings, (*TABLES, "hidden", "bias")),
    "embeddings, one table": Adder(
        partial(embeddings, number="digit"), ("digit", "output", "hidden", "bias")
    ),
    "concat": Adder(concat, (*TABLES, "bias")),
    "learned_shift": Adder(learned_shift, ("shifts",)),
}
ADDERS = PRODUCTS | OTHERS


def initial(adder: str, key: Any, classes: int) -> Any:
    """Return an adder's parameters before training."""
    keys = jax.random.split(key, 5)
    params = {
        "digit": jax.random.normal(keys[0], (10, RANK)),
        "number": jax.random.normal(keys[1], (10, RANK)),
        "output": jax.random.normal(keys[2], (RANK, classes)) / np.sqrt(RANK),
        "hidden": jax.random.normal(keys[3], (RANK, RANK)) / np.sqrt(RANK),
        "bias": jnp.zeros((1, 1, RANK)),
        "shifts": 0.1 * jax.random.normal(keys[4], (10, 10)),
    }
    return {name: params[name] for name in ADDERS[adder].params}


@cache
def compiled(adder: str, classes: int) -> Any:
    """Return a function that trains an adder on splits and returns what is right."""
    logits_of = ADDERS[adder].logits

    def losses(logits, target, is_trained):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        return (each * is_trained).sum() / is_trained.sum()

    def loss(params, target, is_trained):
        logits = logits_of(params)
        total = losses(logits, target, is_trained)
        if adder.endswith("swapped copies"):
            total += losses(logits.swapaxes(0, 1), target, is_trained)
        return total

    def train(seed, target, is_trained, weight_decay, steps):
        rule = optax.adamw(LEARNING_RATE, b2=B2, weight_decay=weight_decay)

        def step(_, state):
            params, opt_state = state
            gradient = jax.grad(loss)(params, target, is_trained)
            updates, opt_state = rule.update(gradient, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        params = initial(adder, jax.random.key(seed), classes)
        params, _ = jax.lax.fori_loop(0, steps, step, (params, rule.init(params)))
        return logits_of(params).argmax(-1) == target

    return jax.jit(jax.vmap(train, (0, 0, 0, None, None)))


def run(trial: Trial) -> dict[str, Any]:
    """Train a trial's adder, and return its accuracies on each split."""
    seeds = range(trial.first_split, trial.first_split + SPLITS)
    splits = [draw(trial.target, trial.held_out, seed) for seed in seeds]
    target = np.stack([split.target for split in splits])
    is_trained = np.stack([split.is_trained for split in splits])
    train = compiled(trial.adder, int(target.max()) + 1)
    inputs = np.array(seeds), target, np.float32(is_trained)
    right = np.asarray(train(*inputs, trial.weight_decay, STEPS))
    is_mirrored = np.stack([split.is_mirrored for split in splits])
    return trial._asdict() | {
        "trained": _shares(right, is_trained),
        "held_out_right": _shares(right, ~is_trained),
        "mirrored": _shares(right, is_mirrored),
        "others": _shares(right, ~is_trained & ~is_mirrored),
    }


def _shares(values: np.ndarray, where: np.ndarray) -> list[float | None]:
    """Return the mean of the chosen pairs for each split, None where none is chosen."""
    found: list[float | None] = []
    for value, chosen in zip(values, where, strict=True):
        found.append(float(value[chosen].mean()) if chosen.any() else None)
    return found


def targets_of(adder: str) -> Sequence[str]:
    """Return the targets that an adder is trained on."""
    return list(TARGETS) if adder in PRODUCTS else ("d + n", "random commutative")


def choices(adder: str, target: str) -> list[Trial]:
    """Return the trials that choose the weight decay of an adder on a target."""
    return [Trial(adder, target, 50, decay, CHOICE) for decay in DECAYS]


def trials(results: dict[Trial, dict[str, Any]]) -> Iterator[Trial]:
    """Yield all trials: of an adder on a target, first those that choose the decay."""
    for adder in ADDERS:
        for target in targets_of(adder):
            yield from choices(adder, target)
            decay = chosen_decay(results, adder, target)
            for held_out in HELD_OUT:
                yield Trial(adder, target, held_out, decay, REPORT)


def chosen_decay(
    results: dict[Trial, dict[str, Any]], adder: str, target: str
) -> float:
    """Return the decay with the most held-out pairs right on the choosing splits."""
    best = max(
        choices(adder, target),
        key=lambda trial: float(np.mean(results[trial]["held_out_right"])),
    )
    return best.weight_decay


def baselines(target: str, held_out: int) -> dict[str, list[float | None]]:
    """Return the share of held-out pairs of each kind in the reporting splits."""
    splits = [draw(target, held_out, seed) for seed in range(REPORT, REPORT + SPLITS)]
    held = [~split.is_trained for split in splits]
    kinds = {
        "mirror image trained": [split.is_mirrored for split in splits],
        "class trained": [split.has_trained_class for split in splits],
    }
    if target in FIELDS:
        for tables, name in ((2, "two tables"), (1, "one table")):
            kinds[f"determined, {name}"] = [
                determined(split, FIELDS[target], tables) for split in splits
            ]
    return {
        name: _shares(np.stack(values), np.stack(held))
        for name, values in kinds.items()
    }


def table(results: dict[Trial, dict[str, Any]]) -> str:
    """Return the accuracies with 50 pairs held out, and the baselines, in Markdown."""
    kinds = ("trained", "held_out_right", "mirrored", "others")
    rows = []
    for target in TARGETS:
        for adder in ADDERS:
            if target in targets_of(adder):
                decay = chosen_decay(results, adder, target)
                result = results[Trial(adder, target, 50, decay, REPORT)]
                cells = [format_spread(spread(result[kind]), "%") for kind in kinds]
                rows.append([target, adder, f"{decay:g}", *cells])
        for name, values in baselines(target, 50).items():
            share = format_spread(spread(values), "%")
            rows.append([target, f"*{name}*", "", "", share, "", ""])
    header = ["target", "adder", "decay", "trained", "held out", "mirrored", "others"]
    return markdown(header, rows, (0, 1))


def ceiling(target: str, held_out: int) -> float:
    """Return the percentage of pairs without a trained mirror that are determined."""
    shares = []
    for seed in range(REPORT, REPORT + SPLITS):
        split = draw(target, held_out, seed)
        others = ~split.is_trained & ~split.is_mirrored
        shares.append(determined(split, FIELDS[target], tables=1)[others].mean())
    return 100 * float(np.mean(shares))


def curves(results: dict[Trial, dict[str, Any]]) -> Figure:
    """Return the shares of right pairs by target and number of held-out pairs."""
    kinds = ("mirrored", "others")
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    grid = figure.subplots(2, len(TARGETS), sharex=True, sharey=True)
    for column, target in zip(grid.T, TARGETS, strict=True):
        column[0].set_title(target.replace("random c", "random\nc"), fontsize=10)
        if target in FIELDS:
            allowed = [ceiling(target, held_out) for held_out in HELD_OUT]
            column[1].plot(HELD_OUT, allowed, "k:", label="determined, one table")
        for axes, kind in zip(column, kinds, strict=True):
            for adder in PRODUCTS:
                decay = chosen_decay(results, adder, target)
                means = []
                for held_out in HELD_OUT:
                    values = results[Trial(adder, target, held_out, decay, REPORT)][
                        kind
                    ]
                    means.append(100 * spread(values)["mean"])
                axes.plot(HELD_OUT, means, marker=".", label=adder)
            axes.grid(alpha=0.3)
    for axes, kind in zip(grid[:, 0], kinds, strict=True):
        axes.set_ylabel(f"{kind}: right, %")
        axes.set_xticks(HELD_OUT)
    figure.supxlabel("held-out pairs of 100", fontsize=10)
    handles = grid[1, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, frameon=False)
    return figure


def command(words: list[str]) -> int:
    """Run the trials without a line in the results, then write table and curves."""
    cli.parser("studies.unseen_pairs.known_digits", __doc__).parse_args(words)
    results = {}
    if OUTPUT.exists():
        for text in OUTPUT.read_text().splitlines():
            line = json.loads(text)
            results[Trial(*(line[name] for name in Trial._fields))] = line
    with OUTPUT.open("a") as file:
        for trial in trials(results):
            if trial not in results:
                results[trial] = run(trial)
                print(json.dumps(results[trial]), file=file, flush=True)
                right = np.mean(results[trial]["held_out_right"])
                print(*trial, f"{right:.1%}", flush=True)
    page = f"{INTRODUCTION}\n{table(results)}\n"
    OUTPUT.with_suffix(".md").write_text(page)
    curves(results).savefig(OUTPUT.with_suffix(".png"), dpi=120)
    return 0


if __name__ == "__main__":
    cli.main(command)
