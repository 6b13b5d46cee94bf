"""Distillation from a committee of networks of `base`, not shown to help: see results/search-distilled.md.

The teachers are the runs in runs/teachers, from `python -m experiments.search training.epochs=8 --seeds 5 --runs
runs/teachers --output FILE`. They see the image as the network that is trained does, distorted. A run's mark does not
depend on their weights: with other teachers, use another --runs and another --output.
"""

import dataclasses
import functools
from pathlib import Path

import jax
import optax

import mnistsum
from experiments.configs.base import config as base
from mnistsum.models import rebuilt
from mnistsum.objective import negative_log_likelihood, weighted

TEACHERS = Path("runs/teachers")


@functools.cache
def teachers():
    """Return the trained networks."""
    with jax.ensure_compile_time_eval():
        return [mnistsum.load_run(folder)[1] for folder in sorted(TEACHERS.glob("[!.]*"))]


def distilled(config, logits, batch, share):
    """Return `base`'s loss, with this share of the digit's label replaced by the teachers' mean probabilities."""
    answers = [jax.nn.softmax(rebuilt(teacher).classify(batch.image)[1]) for teacher in teachers()]
    lesson = optax.softmax_cross_entropy(logits.digit, sum(answers) / len(answers)).mean()
    label = negative_log_likelihood(logits.digit, batch.label).mean()
    return weighted(config, logits, batch) + config.digit_weight * share * (lesson - label)


OBJECTIVES = {f"distilled_{share}": functools.partial(distilled, share=share / 100) for share in (50, 90)}
config = dataclasses.replace(base, name="distilled", objective=mnistsum.ObjectiveConfig(name="distilled_50"))
