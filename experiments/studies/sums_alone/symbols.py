"""In which tables can symbols be read from their classes alone?

    python -m experiments.studies.sums_alone.symbols

Ten symbols take the place of images, and each has ten logits of its own. A table has a
class for each symbol and number, or `HELD_OUT`. Only the class is a label. `read_first`
can read if the table is commutative, which includes the pairs that are held out, and if
no two numbers have the same classes equally often.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.studies.sums_alone.adders import ReadFirst, TwoTables
from mnistsum.config import ModelConfig, ObjectiveConfig
from mnistsum.models import in_training
from mnistsum.models.adders import TiedProduct
from mnistsum.objective import held_out_cells, negative_log_likelihood
from mnistsum.types import Array, Key

OUTPUT = Path(__file__).with_name("symbols.md")
SEEDS = 20
STEPS, BATCH, LEARNING_RATE = 2_000, 256, 3e-3
SYMBOL, NUMBER = np.indices((10, 10))
HELD_OUT = -1
INTRODUCTION = f"""\
`python -m experiments.studies.sums_alone.symbols`

Symbols read and classes right after {STEPS:,} steps of Adam: means ± standard
deviations over {SEEDS} seeds, in percent. A random table is another one for each seed.
In |d - n|, d and 9 - d have the same classes equally often; in d + n modulo 10, all
numbers do. If 30 pairs are held out, each symbol and each number has three of them.
They are the pairs of the studies with images, of which 20 have a trained mirror image,
or other pairs, all held out with their mirror images. Classes are of trained pairs.
"""


def random(generator: np.random.Generator) -> np.ndarray:
    """Return a table of nineteen random classes."""
    return generator.integers(19, size=(10, 10))


def random_commutative(generator: np.random.Generator) -> np.ndarray:
    """Return a symmetric table of nineteen random classes."""
    table = np.triu(random(generator))
    return table + np.triu(table, 1).T


def held_out(_: np.random.Generator) -> np.ndarray:
    """Return the table of sums without the pairs that studies with images hold out."""
    cells = held_out_cells(ObjectiveConfig(held_out=3))
    return np.where(cells, HELD_OUT, SYMBOL + NUMBER)


def held_out_mirrored(_: np.random.Generator) -> np.ndarray:
    """Return the table of sums without 30 pairs, mirror images of each other."""
    cells = np.isin((SYMBOL - NUMBER) % 10, (1, 5, 9))
    return np.where(cells, HELD_OUT, SYMBOL + NUMBER)


TABLES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "d + n": lambda generator: SYMBOL + NUMBER,
    "max(d, n)": lambda generator: np.maximum(SYMBOL, NUMBER),
    "random, commutative": random_commutative,
    "random": random,
    "|d - n|": lambda generator: abs(SYMBOL - NUMBER),
    "d + n modulo 10": lambda generator: (SYMBOL + NUMBER) % 10,
    "d + n, 30 held out": held_out,
    "d + n, 30 held out, with mirror images": held_out_mirrored,
}
ADDERS = {
    "read_first": ReadFirst,
    "read_first, two tables": TwoTables,
    "tied_product": TiedProduct,
}


class Reader(nnx.Module):
    """An adder whose digit is a symbol with logits of its own."""

    def __init__(self, adder: type[TiedProduct], rngs: nnx.Rngs):
        self.logits = nnx.Param(0.1 * jax.random.normal(rngs.params(), (10, 10)))
        self.adder = adder(ModelConfig(), 0, rngs)

    def __call__(self, symbol: Array, number: Array) -> Array:
        features = jnp.zeros((len(symbol), 0))
        return self.adder(features, self.logits[symbol], jax.nn.one_hot(number, 10))


def loss_of_trained(logits: Array, label: Array) -> Array:
    """Return the mean negative log-likelihood of the pairs that are not held out."""
    return negative_log_likelihood(logits, label).mean(where=label != HELD_OUT)


def learn(adder: type[TiedProduct], table: Array, seed: Array) -> tuple[Array, Array]:
    """Train an adder and the symbols' logits, with classes alone.

    Args:
        adder: what is trained.
        table: the class of each symbol and number, [10, 10].
        seed: of parameters and examples.

    Returns:
        The shares of symbols that are read and of trained classes that are right.
    """
    init_key, train_key = jax.random.split(jax.random.key(seed))
    graph, start, others = nnx.split(Reader(adder, nnx.Rngs(init_key)), nnx.Param, ...)
    optimizer = optax.adam(LEARNING_RATE)

    def loss(trained: nnx.State, key: Key[Array, ""]) -> Array:
        model = in_training(nnx.merge(graph, trained, others), key)
        symbol, number = jax.random.randint(key, (2, BATCH), 0, 10)
        return loss_of_trained(model(symbol, number), table[symbol, number])

    def step(carry: Any, key: Key[Array, ""]) -> tuple[Any, None]:
        trained, state = carry
        gradient = jax.grad(loss)(trained, key)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(trained, updates), state), None

    (trained, _), _ = jax.lax.scan(
        step, (start, optimizer.init(start)), jax.random.split(train_key, STEPS)
    )
    model = nnx.merge(graph, trained, others)
    model.eval()
    found = model(*jnp.indices((10, 10)).reshape(2, 100)).argmax(-1)
    is_right = found.reshape(10, 10) == table
    is_read = model.logits.argmax(-1) == jnp.arange(10)
    return is_read.mean(), is_right.mean(where=table != HELD_OUT)


def draw(name: str) -> np.ndarray:
    """Return a table for each seed, [seed, 10, 10]."""
    generators = [np.random.default_rng(seed) for seed in range(SEEDS)]
    return np.stack([TABLES[name](generator) for generator in generators])


def command(words: list[str]) -> int:
    """Train all adders on all tables, and write the page."""
    cli.parser("studies.sums_alone.symbols", __doc__).parse_args(words)
    rows = []
    for adder, kind in ADDERS.items():
        train = jax.jit(jax.vmap(partial(learn, kind)))
        for name in TABLES:
            read, right = train(draw(name), np.arange(SEEDS))
            row = [
                name,
                adder,
                str((read == 1).sum()),
                format_spread(spread(read.tolist()), "%"),
                format_spread(spread(right.tolist()), "%"),
            ]
            rows.append(row)
            print(*row, sep=", ", flush=True)
    header = ["table", "adder", "seeds that read all", "symbols", "classes"]
    page = markdown(header, rows, texts=(0, 1))
    OUTPUT.write_text(f"{INTRODUCTION}\n{page}\n")
    return 0


if __name__ == "__main__":
    cli.main(command)
