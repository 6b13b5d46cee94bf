"""Learns digits from sums of numbers written in images: `python -m experiments.addition --digits 2 --seeds 10`."""

import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from experiments import cli
from experiments.comparison.measures import spread
from experiments.comparison.tables import format_spread, markdown
from experiments.training.job import Job, describe_run, prepare
from mnistsum.app.compiler import set_up_compiler
from mnistsum.app.program import Parser
from mnistsum.config import DataConfig
from mnistsum.data import augment, scale
from mnistsum.errors import InputError
from mnistsum.evaluation import in_chunks
from mnistsum.files import write_whole
from mnistsum.models import build, in_evaluation, in_training, parameters, rebuilt, with_parameters
from mnistsum.optimizer import optimizer
from mnistsum.train import split_keys
from mnistsum.types import Keys, Split

DESCRIPTION = """\
Train on the sum of two numbers of N digits, all as images, with no digit labeled (Manhaeve et al. 2018,
arXiv:1805.10872). Each training image is used in one example, so there are 60,000 / 2N; 10,000 / 2N test the sums.

Classifier, distortions and optimizer are those of the config; a step sees about training.batch_size images. The loss is
the negative log-likelihood of the sum, exact. A sum is read from the most likely digits.
"""
SCORES = ("digit_accuracy", "sum_accuracy")
READ = 0.9  # of digits: a seed below has not learned to read
IMPOSSIBLE = -1e30  # the logarithm of a probability of 0: finite, because -inf gives nan in a gradient


class State(NamedTuple):
    """What training carries."""

    step: Int[Array, ""]
    classifier: Any
    opt_state: Any
    average: Any  # moving average of the classifier


def log_likelihood(digits: Float[Array, "2 length 10"], total: Int[Array, " length+1"]) -> Float[Array, ""]:
    """Return the log-probability that two numbers have this sum, given each digit's log-probabilities.

    Place by place from the right, it carries the log-probability of all that was seen so far, for a carry of 0 and 1.

    Args:
        digits: of both numbers, the leftmost first.
        total: the digits of the sum, the leftmost first.
    """

    def place(carries: Float[Array, " 2"], at: tuple[Array, Array, Array]) -> tuple[Float[Array, " 2"], None]:
        left, right, wanted = at
        # log P(left + right = s), s from 0 to 18: the anti-diagonals of the joint distribution.
        joint = jnp.full((10, 19), IMPOSSIBLE)
        joint = jnp.stack([lax.dynamic_update_slice(joint[i], left[i] + right, (i,)) for i in range(10)])
        both = jnp.append(jax.nn.logsumexp(joint, 0), IMPOSSIBLE)
        # A carry of c and a sum of s end in this digit and the next carry d if s + c = wanted + 10 d.
        s = wanted + 10 * jnp.arange(2)[None] - jnp.arange(2)[:, None]  # [c, d]
        seen = jnp.where((s >= 0) & (s <= 18), both[jnp.clip(s, 0, 19)], IMPOSSIBLE)
        return jax.nn.logsumexp(carries[:, None] + seen, 0), None

    start = jnp.array([0.0, IMPOSSIBLE])
    carries, _ = lax.scan(place, start, (digits[0], digits[1], total[1:]), reverse=True)
    return carries[total[0]]


def digits_of_sum(labels: Int[np.ndarray, "examples 2 length"]) -> Int[np.ndarray, "examples length+1"]:
    """Return the digits of each sum, the leftmost first; Python's integers, as sums of fifteen digits are large."""
    sums = [sum(int("".join(map(str, number))) for number in example) for example in labels.tolist()]
    return np.array([[int(digit) for digit in f"{total:0{labels.shape[-1] + 1}d}"] for total in sums], np.int32)


def train(job: Job, length: int, seed: int) -> Any:
    """Return the trained classifier, in evaluation mode."""
    config, images = job.config, job.data.train
    keys = split_keys(seed)
    chosen = np.asarray(jax.random.permutation(keys.number, len(images.labels)))
    examples = chosen[: len(chosen) // (2 * length) * 2 * length].reshape(-1, 2, length)
    totals = digits_of_sum(np.asarray(images.labels)[examples])
    size = max(1, config.training.batch_size // (2 * length))
    per_epoch = len(examples) // size
    steps = round(config.training.epochs * per_epoch)
    rule = optimizer(config.optimizer, steps)
    classifier = build(config.model, keys.init).classifier
    state = State(jnp.int32(0), classifier, rule.init(parameters(classifier)), jax.tree.map(jnp.copy, classifier))
    advance = jax.jit(partial(train_epoch, job, rule, size), donate_argnums=1)
    for epoch in range(math.ceil(steps / per_epoch)):
        end = jnp.int32(min((epoch + 1) * per_epoch, steps))
        state = advance(keys, state, (images, jnp.asarray(examples), jnp.asarray(totals)), end)
    return in_evaluation(state.average if config.optimizer.average else state.classifier)


def train_epoch(job: Job, rule: optax.GradientTransformation, size: int, keys: Keys, state: State, *rest: Any) -> State:
    """Return the state at step `end`, within the epoch that it is in; `rest` is the data, and that step."""
    (images, examples, totals), end = rest
    per_epoch = len(examples) // size
    order = jax.random.permutation(jax.random.fold_in(keys.order, state.step // per_epoch), len(examples))

    def step(_: Any, state: State) -> State:
        batch = lax.dynamic_slice(order, (state.step % per_epoch * size,), (size,))
        drawn = images.images[examples[batch].ravel()]
        pixels = augment(job.config.augment, jax.random.fold_in(keys.augment, state.step), drawn)
        return train_step(job, rule, keys, state, scale(job.config.data, pixels), totals[batch])

    return lax.fori_loop(state.step, end, step, state)


def train_step(job: Job, rule: Any, keys: Keys, state: State, pixels: Array, totals: Array) -> State:
    """Return the state after a step on the images of some examples, whose sums are known."""

    def loss_and_classifier(params: Any) -> tuple[Float[Array, ""], Any]:
        key = jax.random.fold_in(keys.dropout, state.step)
        classifier = in_training(with_parameters(state.classifier, params), key)
        _, logits = classifier(pixels)
        digits = jax.nn.log_softmax(logits).reshape(len(totals), 2, -1, 10)
        return -jax.vmap(log_likelihood)(digits, totals).mean(), in_evaluation(classifier)

    params = parameters(state.classifier)
    gradient, classifier = jax.grad(loss_and_classifier, has_aux=True)(params)
    updates, opt_state = rule.update(gradient, state.opt_state, params)
    classifier = with_parameters(classifier, optax.apply_updates(params, updates))
    decay = jnp.minimum(job.config.optimizer.average, (1 + state.step) / (10 + state.step))
    average = optax.incremental_update(classifier, state.average, 1 - decay)
    return State(state.step + 1, classifier, opt_state, average)


def evaluate(config: DataConfig, classifier: Any, test: Split, length: int, seed: int) -> dict[str, Any]:
    """Return the shares of digits and of sums that are read right; each test image is used in one sum."""
    answer = jax.jit(lambda classifier, images: rebuilt(classifier)(scale(config, images))[1].argmax(-1))
    read = in_chunks(partial(answer, classifier), (test.images,), 500)
    labels = np.asarray(test.labels)
    chosen = np.random.RandomState(seed).permutation(len(labels))
    examples = chosen[: len(labels) // (2 * length) * 2 * length].reshape(-1, 2, length)
    right = (digits_of_sum(read[examples]) == digits_of_sum(labels[examples])).all(-1)
    return {SCORES[0]: float((read == labels).mean()), SCORES[1]: float(right.mean()), "sums": len(examples)}


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
    parser.add_argument("--output", type=Path, help="a .jsonl file for a line per seed; a table is put beside it")
    return parser


def command(arguments: list[str]) -> int:
    """Run the program and return its exit status."""
    overrides, words = cli.split_overrides(arguments)
    options = parser().parse_args(words)
    if options.digits < 1 or options.seeds < 1:
        raise InputError("--digits and --seeds: expected 1 or more")
    config = cli.load_config(options.config, ["data.validation=0", "devices=1", *overrides])
    set_up_compiler()
    job = prepare(config, cli.format_command("addition", arguments))
    run = describe_run(job, "seeds one by one")
    about = {name: run[name] for name in ("command", "commit", "versions", "settings", "cores")}
    for seed in range(options.seeds):
        start = time.perf_counter()
        scores = evaluate(config.data, train(job, options.digits, seed), job.data.test, options.digits, seed)
        print(
            f"N = {options.digits}, seed {seed}: digits {scores['digit_accuracy']:.2%}, "
            f"sums {scores['sum_accuracy']:.2%} of {scores['sums']:,} ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        if options.output is not None:
            line = {"config": config.name, "digits": options.digits, "seed": seed, **scores, **about}
            with options.output.open("a") as file:
                file.write(json.dumps(line) + "\n")
            lines = [json.loads(text) for text in options.output.read_text().splitlines()]
            write_whole(options.output.with_suffix(".md"), table(lines))
    return 0


if __name__ == "__main__":
    cli.main(command)
