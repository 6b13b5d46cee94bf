"""This project's side of the benchmark, trained by the loop that all programs share."""

import dataclasses

import jax.numpy as jnp

from experiments.benchmark.cases import Implementation
from experiments.training import loop
from mnistsum.config import Config
from mnistsum.data import load, pair, scale
from mnistsum.evaluation import evaluate
from mnistsum.train import make_recipe


def ours(config: Config, dtype: str, steps: int, images: int) -> Implementation:
    """Return this project's side of a case."""
    config = dataclasses.replace(
        config,
        devices=1,
        model=dataclasses.replace(config.model, dtype=dtype),
        training=dataclasses.replace(config.training, epochs=1e6),  # no round reaches the run's end
    )
    data = load(config.data)
    compiling = loop.in_background(loop.compile_program, config, len(data.train.labels))
    run = loop.train(config, [0], data.train, loop.every(steps), program=compiling)
    recipe = make_recipe(config, len(data.train.labels))
    model = loop.first_state(recipe, 0).model  # from the program that the run compiles in any case
    evaluated = data.train._replace(images=data.train.images[:images], labels=data.train.labels[:images])
    pixels, labels = (jnp.asarray(part[:64]) for part in data.train)
    batch = pair(scale(config.data, pixels), labels, jnp.arange(64) % 10)
    return Implementation(
        train=lambda: next(run),
        evaluate=lambda: evaluate(config.data, model, evaluated),
        answer=lambda: model(batch.image, batch.number),
        model=model,
    )
