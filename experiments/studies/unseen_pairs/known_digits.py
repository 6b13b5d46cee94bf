"""Which adders generalize to pairs that they never saw? `python -m experiments.studies.unseen_pairs.known_digits`.

The digit is known here, as one of ten, so there are no images: an adder maps a pair of
digit and number to one of nineteen classes. Some of the hundred pairs, drawn anew for
each seed, are held out. The class is the sum, the sum after a random renaming of the
sums, or the distance of the two. Each adder is trained on all its pairs at once, with
AdamW. Such a network first memorizes its pairs and may generalize much later, if weight
decay is strong ("grokking": Power et al. 2022, arXiv:2201.02177; Liu et al. 2022,
arXiv:2205.10343; Gromov 2023, arXiv:2301.02679).
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
from mnistsum.app.program import Parser
from mnistsum.models.adders import ADDS_UP, FLOOR

OUTPUT = Path(__file__).with_name("known_digits.jsonl")
SEEDS = 10
LEARNING_RATE, B2 = 1e-3, 0.98
INTRODUCTION = """\
`python -m experiments.studies.unseen_pairs.known_digits`.
Held-out pairs of a known digit and a number that are added right, in
percent, after 30,000 steps with weight decay 0 or 1: means ± standard deviations over ten seeds, each with other pairs
held out. A guess is right in 5 to 10 %. All targets are the same for a pair and its mirror image, (d, n) and (n, d).
"""
# steps after which accuracies are noted
STOPS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
DIGIT, NUMBER = np.divmod(np.arange(100), 10)  # of each pair
TARGETS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "sum": lambda random: DIGIT + NUMBER,
    "renamed sum": lambda random: random.permutation(19)[DIGIT + NUMBER],
    "distance": lambda random: abs(DIGIT - NUMBER),
}


class Trial(NamedTuple):
    """What is trained, for each seed."""

    adder: str
    target: str
    held_out: int  # of the hundred pairs
    weight_decay: float
    steps: int
    rank: int = 64  # width of the embeddings and of the hidden layer
    scale: float = 1.0  # of the initial parameters


def product(params: Any) -> Any:
    """Return the logits of all pairs from the product of two embeddings."""
    return (params["digit"][DIGIT] * params["number"][NUMBER]) @ params["output"]


def hidden(params: Any) -> Any:
    """Return the logits from a hidden layer on the digit and the number, as `concat` does."""
    return (
        jax.nn.relu(params["digit"][DIGIT] + params["number"][NUMBER] + params["bias"])
        @ params["output"]
    )


def embeddings(params: Any, number: str = "number") -> Any:
    """Return the logits from a hidden layer on the sum of two embeddings."""
    joined = params["digit"][DIGIT] + params[number][NUMBER]
    return jax.nn.relu(joined @ params["hidden"] + params["bias"]) @ params["output"]


def bilinear(params: Any) -> Any:
    """Return the logits from a weight for each digit, number and class."""
    return params["weights"][DIGIT, NUMBER]


def learned_shift(params: Any) -> Any:
    """Return the log-probabilities of digit + shift, with a distribution over shifts for each number."""
    shift = jax.nn.log_softmax(params["shifts"])
    return FLOOR + jnp.einsum("nk,kds->dns", shift - FLOOR, ADDS_UP).reshape(100, 19)


def initial(adder: str, rank: int, key: Any) -> Any:
    """Return an adder's parameters before training."""
    if adder == "bilinear":
        return {"weights": jax.random.normal(key, (10, 10, 19)) / 10}
    if adder == "learned_shift":
        return {"shifts": 0.1 * jax.random.normal(key, (10, 10))}
    keys = jax.random.split(key, 4)
    return {
        "digit": jax.random.normal(keys[0], (10, rank)),
        "number": jax.random.normal(keys[1], (10, rank)),
        "output": jax.random.normal(keys[2], (rank, 19)) / np.sqrt(rank),
        "hidden": jax.random.normal(keys[3], (rank, rank)) / np.sqrt(rank),
        "bias": jnp.zeros(rank),
    }


ADDERS: dict[str, Callable[[Any], Any]] = {
    "product": product,
    "embeddings": embeddings,
    "embeddings, one table": partial(embeddings, number="digit"),
    "concat": hidden,
    "concat, classes of this number": hidden,
    "bilinear": bilinear,
    "learned_shift": learned_shift,
}


@cache
def compiled(adder: str, rank: int) -> Any:
    """Return functions, over all seeds, that initialize an adder's state and that train it for some steps."""
    is_limited = adder.endswith("of this number")

    def logits_of(params, target, pairs):
        logits = ADDERS[adder](params)
        # only classes that occur with this number, in these pairs, take part
        if is_limited:
            occurs = jnp.zeros((10, 19)).at[NUMBER, target].max(pairs)
            logits = jnp.where(occurs[NUMBER] > 0, logits, FLOOR)
        return logits

    def loss(params, target, trained):
        logits = logits_of(params, target, trained)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
        return (losses * trained).sum() / trained.sum()

    def begin(seed, scale):
        params = jax.tree.map(
            lambda leaf: scale * leaf, initial(adder, rank, jax.random.key(seed))
        )
        return params, optax.adamw(LEARNING_RATE, b2=B2).init(params)

    def train(state, target, trained, weight_decay, steps):
        rule = optax.adamw(LEARNING_RATE, b2=B2, weight_decay=weight_decay)

        def step(_, state):
            params, opt_state = state
            updates, opt_state = rule.update(
                jax.grad(loss)(params, target, trained), opt_state, params
            )
            return optax.apply_updates(params, updates), opt_state

        state = jax.lax.fori_loop(0, steps, step, state)
        return state, logits_of(state[0], target, jnp.ones(100)).argmax(-1) == target

    return jax.jit(jax.vmap(begin, (0, None))), jax.jit(
        jax.vmap(train, (0, 0, 0, None, None))
    )


def run(trial: Trial) -> Iterator[dict[str, Any]]:
    """Train a trial's adder for each seed, and yield what it has reached at each stop."""
    randoms = [np.random.default_rng(seed) for seed in range(SEEDS)]
    target = np.stack([TARGETS[trial.target](random) for random in randoms])
    held_out = np.stack(
        [random.permutation(100) < trial.held_out for random in randoms]
    )
    begin, train = compiled(trial.adder, trial.rank)
    state, step = begin(np.arange(SEEDS), trial.scale), 0
    for stop in (each for each in STOPS if each <= trial.steps):
        state, right = train(
            state, target, np.float32(~held_out), trial.weight_decay, stop - step
        )
        step = stop
        mirrored = ~held_out.reshape(-1, 10, 10).swapaxes(1, 2).reshape(-1, 100)
        trained_targets = [
            np.isin(target[i], target[i][~held_out[i]]) for i in range(SEEDS)
        ]
        yield trial._asdict() | {
            "steps": stop,
            "trained_accuracy": _mean_where(right, ~held_out),
            "held_out_accuracy": _mean_where(right, held_out),
            "mirror_trained": _mean_where(mirrored, held_out),
            "target_trained": _mean_where(trained_targets, held_out),
        }


def _mean_where(values: Any, where: np.ndarray) -> list[float]:
    """Return the mean of the chosen pairs for each seed."""
    return [
        float(np.mean(value[chosen]))
        for value, chosen in zip(np.asarray(values), where, strict=True)
    ]


def trials() -> Iterator[Trial]:
    """Yield all trials: every adder, then the product's decay, rank, initial scale and steps as curves."""
    for adder in ADDERS:
        for target in TARGETS:
            for held_out in (30, 50, 80):
                for weight_decay in (0.0, 1.0):
                    yield Trial(adder, target, held_out, weight_decay, 30_000)
    for target in TARGETS:
        for held_out in (30, 50):
            usual = Trial("product", target, held_out, 1.0, 30_000)
            for weight_decay in (0.03, 0.1, 0.3, 3.0):
                yield usual._replace(weight_decay=weight_decay)
            for rank in (4, 8, 16, 32, 128, 256):
                yield usual._replace(rank=rank)
            for scale in (0.1, 0.3, 3.0):
                yield usual._replace(scale=scale)
            yield usual._replace(steps=1_000_000)


def _trial(line: dict[str, Any]) -> Trial:
    """Return the trial that ends where a line of results was noted."""
    return Trial(*(line[name] for name in Trial._fields))


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Return the accuracies on held-out pairs of every adder, and of what each design allows, in Markdown."""
    columns = [(target, held_out) for target in TARGETS for held_out in (30, 50, 80)]
    rows = []
    for adder in ADDERS:
        for weight_decay in (0.0, 1.0):
            cells = []
            for target, held_out in columns:
                trial = Trial(adder, target, held_out, weight_decay, 30_000)
                found = [
                    line
                    for line in lines
                    if all(
                        line[name] == value for name, value in trial._asdict().items()
                    )
                ]
                cells.append(format_spread(spread(found[0]["held_out_accuracy"]), "%"))
            rows.append([adder, f"{weight_decay:g}", *cells])
    for name, meaning in (
        ("mirror_trained", "pairs whose mirror was trained"),
        ("target_trained", "... whose class was"),
    ):
        shares = [
            next(
                line[name]
                for line in lines
                if (line["target"], line["held_out"]) == column
            )
            for column in columns
        ]
        rows.append(
            [meaning, "", *(format_spread(spread(values), "%") for values in shares)]
        )
    return markdown(
        [
            "adder",
            "decay",
            *(f"{target}, {held_out} held out" for target, held_out in columns),
        ],
        rows,
    )


def curves(lines: Sequence[dict[str, Any]]) -> Figure:
    """Return the product's accuracy on held-out pairs by steps, weight decay, rank and initial scale."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    grid = figure.subplots(2, 4, sharey=True, sharex="col")
    labels = {
        "steps": "steps",
        "weight_decay": "weight decay",
        "rank": "rank",
        "scale": "initial scale",
    }
    for held_out, panels in zip((30, 50), grid, strict=True):
        for axes, name in zip(panels, labels, strict=True):
            for target in TARGETS:
                usual = Trial("product", target, held_out, 1.0, 30_000)._asdict()
                fixed = {key: value for key, value in usual.items() if key != name}
                points = {
                    line[name]: 100 * np.mean(line["held_out_accuracy"])
                    for line in lines
                    if all(line[key] == value for key, value in fixed.items())
                }
                axes.plot(
                    *zip(*sorted(points.items()), strict=True), marker=".", label=target
                )
            axes.set_xscale("log")
            axes.grid(axis="y", alpha=0.3)
        panels[0].set_ylabel(f"{held_out} held out: right, %")
    for axes, label in zip(grid[1], labels.values(), strict=True):
        axes.set_xlabel(label)
    grid[1, 1].set_xscale("symlog", linthresh=0.03)
    grid[1, 1].set_xticks([0, 0.1, 1], ["0", "0.1", "1"])
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    return figure


def command(words: list[str]) -> int:
    """Run all trials that are missing in the file of results, then write the table and the curves."""
    Parser(
        prog="python -m experiments.studies.unseen_pairs.known_digits",
        description=__doc__,
    ).parse_args(words)
    lines = (
        [json.loads(line) for line in OUTPUT.read_text().splitlines()]
        if OUTPUT.exists()
        else []
    )
    done = {_trial(line) for line in lines}
    with OUTPUT.open("a") as file:
        for trial in trials():
            if trial not in done:
                # a shorter trial's are known
                stops = [stop for stop in run(trial) if _trial(stop) not in done]
                done |= {_trial(stop) for stop in stops}
                lines += stops
                file.write("".join(json.dumps(line) + "\n" for line in stops))
                file.flush()
                print(
                    *trial, f"{np.mean(stops[-1]['held_out_accuracy']):.1%}", flush=True
                )
    OUTPUT.with_suffix(".md").write_text(f"{INTRODUCTION}\n{table(lines)}\n")
    curves(lines).savefig(OUTPUT.with_suffix(".png"), dpi=120)
    return 0


if __name__ == "__main__":
    cli.main(command)
